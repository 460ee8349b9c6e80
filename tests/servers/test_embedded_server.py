"""The embedded server, with real processes and real signals."""

import contextlib
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from lab.core.errors import ExternalError, LabTimeoutError, PreconditionError, UsageError
from lab.core.killpoints import VARIABLE
from lab.core.progress import SilentProgress
from lab.core.results import Status
from lab.servers import binaries, cluster, launch, postgres
from lab.servers.accounts import account_for
from lab.servers.postgres import EmbeddedServer
from lab.servers.records import KILL_POINTS, Condition

QUIET = SilentProgress()
START = """
import sys
from pathlib import Path
from lab.core.progress import SilentProgress
from lab.servers.postgres import EmbeddedServer
root = Path(sys.argv[1])
server = EmbeddedServer(
    states=root / "states", environments=root / "environments", name="main", user_settings={})
for step in server.start(SilentProgress()):
    print(step.name, step.status.value, step.why)
"""


def make_server(root: Path, **changes) -> EmbeddedServer:
    arguments = {
        "states": root / "states",
        "environments": root / "environments",
        "name": "main",
        "user_settings": {},
        "base": root / "base",
    }
    return EmbeddedServer(**(arguments | changes))


def start_elsewhere(root: Path, kill_at: str = "") -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", START, str(root)],
        env=os.environ | {VARIABLE: kill_at},
        capture_output=True,
        text=True,
        check=False,
    )


def postmasters(root: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            arguments = process.cmdline()
        except psutil.Error:
            continue
        if len(arguments) > 2 and arguments[1] == "-D" and arguments[2].startswith(f"{root}/"):
            found.append(process.pid)
    return found


def open_folder() -> Path:
    """Make a folder that every user may pass through, in memory where there is enough of it."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1e9
    root = Path(tempfile.mkdtemp(prefix="ddl-lab-test-", dir=memory if roomy else None))
    root.chmod(0o755)
    return root


def clean_up(root: Path) -> None:
    for pid in postmasters(root):
        # In order, where it can be: a killed server leaves its shared memory behind.
        for number in (signal.SIGCONT, signal.SIGINT, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            if number != signal.SIGCONT:
                launch.wait_until(lambda pid=pid: not psutil.pid_exists(pid), 10)
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def made_once():
    root = open_folder()
    server = make_server(root)
    server.start(QUIET)
    server.stop(QUIET)
    yield root
    clean_up(root)


@pytest.fixture
def empty_root():
    root = open_folder()
    yield root
    clean_up(root)


@pytest.fixture
def root(made_once, empty_root):
    """A workspace with a stopped state: a copy, which spares an initdb."""
    subprocess.run(["cp", "-a", str(made_once / "states"), str(empty_root)], check=True)
    return empty_root


def query(server: EmbeddedServer, sql: str):
    with server.connect("postgres", "ddl-lab test") as connection:
        cursor = connection.execute(sql)
        return cursor.fetchone() if cursor.description else None


def kill(server: EmbeddedServer) -> int:
    pid = server.inspect().process.pid
    os.kill(pid, signal.SIGKILL)
    assert launch.wait_until(lambda: server.inspect().condition is Condition.CRASHED, 10)
    return pid


def test_starts_adopts_and_stops(empty_root):
    server = make_server(empty_root)
    assert server.inspect().condition is Condition.ABSENT
    steps = server.start(QUIET)
    assert [(step.name, step.status) for step in steps] == [
        ("state", Status.CHANGED),
        ("server", Status.CHANGED),
    ]
    found = server.inspect()
    assert found.condition is Condition.RUNNING

    again = make_server(empty_root)
    (step,) = again.start(QUIET)
    assert step.status is Status.OK
    assert f"pid {found.process.pid}" in step.why
    assert again.inspect() == found

    (step,) = again.stop(QUIET)
    assert step.status is Status.CHANGED
    assert server.inspect().condition is Condition.STOPPED
    assert postmasters(empty_root) == []
    (step,) = server.stop(QUIET)
    assert step.status is Status.OK


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


def test_outlives_the_command_and_its_terminal(root):
    leader, terminal = pty.openpty()
    shell = '"$0" "$@"; echo done; read forever'
    command = subprocess.Popen(
        ["setsid", "--ctty", "sh", "-c", shell, sys.executable, "-c", START, str(root)],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    said = b""
    while b"done" not in said:
        said += os.read(leader, 1000)
    os.close(leader)
    assert command.wait(10) != 0  # hung up

    server = make_server(root)
    found = server.inspect()
    assert found.condition is Condition.RUNNING
    assert os.getsid(found.process.pid) == found.process.pid
    (step,) = server.start(QUIET)
    assert step.status is Status.OK


def test_recovers_after_a_kill_and_says_so(root):
    server = make_server(root)
    server.start(QUIET)
    query(server, "CREATE TABLE kept (a int)")
    kill(server)
    (step,) = server.start(QUIET)
    assert step.status is Status.CHANGED
    assert "recovered after a crash; redo took" in step.why
    assert query(server, "SELECT to_regclass('kept') IS NOT NULL") == (True,)

    server.stop(QUIET)
    (step,) = server.start(QUIET)
    assert "recovered" not in step.why


def test_waits_for_backends_that_outlive_a_killed_server(root, monkeypatch):
    server = make_server(root)
    server.start(QUIET)
    connection = server.connect("postgres", "ddl-lab test")
    backend = connection.info.backend_pid
    os.kill(backend, signal.SIGSTOP)
    try:
        kill(server)
        monkeypatch.setattr(postgres, "_SURVIVORS_S", 0.3)
        with pytest.raises(LabTimeoutError, match=str(backend)):
            server.start(QUIET)
    finally:
        os.kill(backend, signal.SIGCONT)
    connection.close()
    monkeypatch.undo()
    (step,) = server.start(QUIET)
    assert "recovered" in step.why


def test_kills_a_server_that_does_not_listen_to_signals(root, monkeypatch):
    server = make_server(root)
    server.start(QUIET)
    monkeypatch.setattr(
        postgres,
        "_STOP",
        ((signal.SIGINT, 0.2), (signal.SIGQUIT, 0.2), (signal.SIGKILL, 10.0)),
    )
    os.kill(server.inspect().process.pid, signal.SIGSTOP)
    (step,) = server.stop(QUIET)
    assert "SIGKILL" in step.why
    assert "recovers" in step.why
    assert postmasters(root) == []


def test_leaves_a_server_alone_that_it_did_not_start(root):
    server = make_server(root)
    server.start(QUIET)
    server.stop(QUIET)
    other = subprocess.Popen(
        [server.binaries.program("postgres"), "-D", server.data],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=cluster.environment(),
        **account_for(server.data).popen_arguments(),
    )
    try:
        assert launch.wait_until(lambda: cluster.is_ready(server.data), 20)
        found = server.inspect()
        assert found.condition is Condition.FOREIGN
        assert found.process.pid == other.pid
        for action in (server.start, server.stop, server.reset):
            with pytest.raises(PreconditionError) as caught:
                action(QUIET)
            assert caught.value.code == "server.foreign"
        assert other.poll() is None
    finally:
        other.send_signal(signal.SIGINT)
        other.wait(20)


def test_names_who_holds_the_port_and_keeps_the_port(root):
    server = make_server(root)
    server.start(QUIET)
    port = server.inspect().port
    server.stop(QUIET)
    with socket.create_server(("127.0.0.1", port)):
        with pytest.raises(PreconditionError) as caught:
            server.start(QUIET)
        assert caught.value.code == "port.taken"
        assert str(os.getpid()) in caught.value.why
    server.start(QUIET)
    assert server.inspect().port == port


def test_takes_the_port_that_is_declared(root):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = make_server(root, port=port)
    server.start(QUIET)
    assert server.inspect().port == port
    assert query(server, "SHOW port") == (str(port),)


def test_a_start_killed_anywhere_is_taken_up_again(empty_root):
    server = make_server(empty_root)
    ends_before_the_launch = KILL_POINTS[: KILL_POINTS.index("env.start.launch:after")]
    for point in KILL_POINTS:
        killed = start_elsewhere(empty_root, kill_at=point)
        assert killed.returncode == -signal.SIGKILL, (point, killed.stderr)
        if point in ends_before_the_launch:
            assert server.inspect().condition in (Condition.ABSENT, Condition.STOPPED)
            continue
        (step,) = server.start(QUIET)
        assert step.status is Status.OK, point  # adopted, not started again
        assert len(postmasters(empty_root)) == 1
        assert query(server, "SELECT 1") == (1,)
        server.stop(QUIET)
    server.start(QUIET)
    assert not list(server.folder.glob("new-*"))


def test_two_starts_at_once_make_one_server(root):
    commands = [
        subprocess.Popen(
            [sys.executable, "-c", START, str(root)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = sorted(command.communicate(timeout=60)[0].split()[1] for command in commands)
    assert said == ["changed", "ok"]
    assert len(postmasters(root)) == 1


def test_a_pid_that_went_to_another_process_is_no_server(root):
    server = make_server(root)
    server.start(QUIET)
    kill(server)
    bystander = subprocess.Popen(["sleep", "60"], **account_for(server.data).popen_arguments())
    try:
        file = server.data / "postmaster.pid"
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join([f"{bystander.pid}\n", *lines[1:]]))
        assert server.inspect().condition is Condition.CRASHED
        server.start(QUIET)
        assert server.inspect().condition is Condition.RUNNING
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_the_password_is_in_its_file_and_nowhere_else(root):
    server = make_server(root)
    server.start(QUIET)
    file = server.folder / cluster.PASSWORD
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


def test_a_reset_takes_what_the_lab_made_and_nothing_else(root):
    server = make_server(root)
    server.start(QUIET)
    port = server.inspect().port
    mine = server.folder / "mine.txt"
    mine.write_text("mine")
    server.reset(QUIET)
    assert server.inspect().condition is Condition.ABSENT
    assert [path.name for path in server.folder.iterdir()] == ["mine.txt"]
    assert postmasters(root) == []

    mine.unlink()
    steps = server.start(QUIET)
    assert steps[0].name == "state"
    assert server.inspect().port == port
    server.reset(QUIET)
    assert list((root / "states").iterdir()) == []


def test_data_of_another_major_version_are_refused(root):
    server = make_server(root)
    (server.data / "PG_VERSION").write_text("17\n")
    with pytest.raises((PreconditionError, ExternalError)) as caught:
        server.start(QUIET)
    assert caught.value.code == "state.version"


def test_nothing_runs(root):
    server = make_server(root)
    with pytest.raises(PreconditionError) as caught:
        server.connect("postgres", "ddl-lab test")
    assert caught.value.code == "environment.not-running"


def test_a_full_disk_is_named(empty_root):
    small = empty_root / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m,mode=755", "tmpfs", str(small)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        server = make_server(small)
        with pytest.raises(PreconditionError) as caught:
            server.start(QUIET)
        assert caught.value.code == "disk.full"
        assert server.inspect().condition is Condition.ABSENT
        assert not list(server.folder.glob("new-*"))
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_log_is_put_aside_when_it_has_grown(root, monkeypatch):
    server = make_server(root)
    server.log.parent.mkdir()
    server.log.write_bytes(b"old\n" * 100)
    monkeypatch.setattr(postgres.logs, "MAX_BYTES", 100)
    server.start(QUIET)
    assert server.log.with_name("main.log.1").read_bytes() == b"old\n" * 100
    assert "ready to accept connections" in server.log_tail(20)
    assert len(server.log_tail(2).splitlines()) == 2


def test_the_record_tells_the_process_by_more_than_its_pid(root):
    server = make_server(root)
    server.start(QUIET)
    record = json.loads((root / "environments" / "main.json").read_text())
    assert record["process"]["executable"] == str(binaries.shipped().program("postgres").resolve())
    record["process"]["since_boot"] -= 10
    (root / "environments" / "main.json").write_text(json.dumps(record))
    (server.folder / "launch.json").unlink()
    assert server.inspect().condition is Condition.FOREIGN
