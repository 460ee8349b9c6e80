"""Who gets in, and with which settings the server runs."""

import psutil
import pytest
from server_support import QUIET, make_server, query

from lab.core.errors import ExternalError, PreconditionError, UsageError
from lab.core.results import Status
from lab.servers import folders, launch
from lab.servers.records import Condition


def test_listens_on_loopback_alone(root):
    server = make_server(root)
    server.start(QUIET)
    process = psutil.Process(server.inspect().process.pid)
    addresses = {
        each.laddr.ip for each in process.net_connections("all") if each.status == "LISTEN"
    }
    assert addresses == {"127.0.0.1"}
    assert query(server, "SHOW unix_socket_directories") == ("",)
    assert query(server, "SHOW fsync") == ("on",)


def test_the_password_is_in_its_file_and_nowhere_else(root):
    server = make_server(root)
    server.start(QUIET)
    file = server.folder / folders.PASSWORD
    assert file.stat().st_mode & 0o777 == 0o600
    password = file.read_text().strip()
    assert len(password) >= 32

    assert password not in repr(server)
    with server.connect("postgres", "ddl-lab test") as connection:
        assert password not in repr(connection)
    for process in psutil.process_iter():
        try:
            seen = " ".join([*process.cmdline(), *process.environ().values()])
        except psutil.Error:
            continue
        assert password not in seen
    server.stop(QUIET)
    holding = [
        path
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink() and password.encode() in path.read_bytes()
    ]
    assert holding == [file]


def test_refuses_another_password(root):
    server = make_server(root)
    server.start(QUIET)
    with pytest.raises(Exception, match="password authentication failed"):
        launch.connect(server.inspect().port, "postgres", "guessed", "ddl-lab test")
    query(server, "ALTER USER postgres PASSWORD 'another'")
    with pytest.raises(PreconditionError) as caught:
        server.start(QUIET)
    assert caught.value.code == "server.password"


def test_the_users_variables_do_not_reach_the_connection(root, monkeypatch):
    monkeypatch.setenv("PGOPTIONS", "-c synchronous_commit=off")
    monkeypatch.setenv("PGSSLMODE", "require")
    monkeypatch.setenv("PGHOSTADDR", "192.0.2.1")
    server = make_server(root)
    server.start(QUIET)
    assert query(server, "SHOW synchronous_commit") == ("on",)


def test_settings_take_effect_at_the_next_start(root):
    make_server(root).start(QUIET)
    changed = make_server(root, user_settings={"work_mem": "8MB", "log_min_messages": "ERROR"})
    (step,) = changed.start(QUIET)
    assert step.status is Status.OK
    assert "+ work_mem = 8MB" in step.diff
    assert query(changed, "SHOW work_mem") == ("4MB",)
    changed.stop(QUIET)
    changed.start(QUIET)
    assert changed.settings_differences() == ()
    assert query(changed, "SHOW work_mem") == ("8MB",)


def test_a_setting_that_postgresql_refuses_is_shown(root):
    server = make_server(root, user_settings={"shared_bufers": "1GB"})
    with pytest.raises(ExternalError) as caught:
        server.start(QUIET)
    assert "shared_bufers" in caught.value.why
    assert server.inspect().condition is Condition.STOPPED


def test_a_setting_of_the_labs_own_is_refused_before_anything_is_made(empty_root):
    server = make_server(empty_root, user_settings={"listen_addresses": "*"})
    with pytest.raises(UsageError, match="listen_addresses"):
        server.start(QUIET)
    assert server.inspect().condition is Condition.ABSENT
