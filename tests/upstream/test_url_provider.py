"""An upstream that somebody else runs: used, and never changed by looking at it."""

import os
import socket
import subprocess
from datetime import datetime

import pytest
from provider_support import COLUMNS, QUIET, ask, open_folder

from lab.core.config import Config, UpstreamConfig
from lab.core.errors import ExternalError, PreconditionError, UsageError
from lab.core.processes import ProcessIdentity
from lab.core.results import Status
from lab.core.workspace import Workspace
from lab.servers import binaries, ports
from lab.servers.postgres import EmbeddedServer
from lab.servers.records import Condition
from lab.upstream.assembly import open_upstream
from lab.upstream.base import ROLE
from lab.upstream.provisioning import login_failure
from lab.upstream.url import UrlProvider

DATABASE = "theirs"


class Theirs:
    """Somebody else's server, with a database and a password of its own."""

    def __init__(self, root):
        self.server = EmbeddedServer(
            states=root / "states",
            environments=root / "environments",
            name="theirs",
            # Nothing but the sessions of a test is to write.
            user_settings={"autovacuum": "off"},
            base=root / "base",
        )
        self.server.start(QUIET)
        self.port = self.server.inspect().port
        self.password = (self.server.folder / "password").read_text().strip()
        self.query(f"CREATE DATABASE {DATABASE}", "postgres")
        self.query("CREATE TABLE public.business (id int PRIMARY KEY, b text)")

    @property
    def url(self):
        return f"postgres://postgres@127.0.0.1:{self.port}/{DATABASE}"

    def query(self, sql, database=DATABASE):
        with self.server.connect(database, "owner") as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def content(self):
        """What pg_dumpall shows, and what it leaves out: settings, slots, schemas."""
        program = binaries.shipped().program("pg_dumpall")
        dumped = subprocess.run(
            [program, "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres"],
            env={"PGPASSWORD": self.password},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        # Each dump is guarded by a key of its own.
        lines = [each for each in dumped.splitlines() if "restrict " not in each]
        asked = (
            "SELECT name, setting FROM pg_file_settings",
            "SELECT slot_name FROM pg_replication_slots",
            "SELECT nspname FROM pg_namespace",
            "SELECT extname FROM pg_extension",
        )
        return lines, [sorted(self.query(sql)) for sql in asked]

    def transactions(self):
        """The number that the next transaction gets that writes."""
        return self.query("SELECT pg_snapshot_xmax(pg_current_snapshot())")


@pytest.fixture(scope="module")
def theirs():
    with open_folder() as root:
        made = Theirs(root)
        try:
            yield made
        finally:
            made.server.reset(QUIET)


@pytest.fixture
def provider(theirs, tmp_path, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", theirs.password)
    return UrlProvider(Workspace(tmp_path), UpstreamConfig(url=theirs.url))


def made_of(url):
    return UrlProvider(Workspace(None), UpstreamConfig(url=url))


def test_it_is_found_as_it_is(provider, theirs):
    found = provider.inspect()
    assert (found.provider, found.condition) == ("url", Condition.RUNNING)
    assert found.address == f"127.0.0.1:{theirs.port}"
    assert f"PostgreSQL {theirs.server.binaries.version()}" in found.detail
    assert DATABASE in found.detail
    started = ProcessIdentity.of(theirs.server.inspect().process.pid).started
    assert abs(datetime.fromisoformat(found.started).timestamp() - started) < 3
    assert provider.address() == ("127.0.0.1", theirs.port)
    assert (provider.database, provider.owned) == (DATABASE, False)


def test_it_is_connected_to_as_declared(provider, theirs):
    shown = "SELECT current_database(), current_user, current_setting('application_name')"
    assert ask(provider, shown, "") == [(DATABASE, "postgres", "ddl-lab test")]
    assert ask(provider, shown, "postgres")[0][0] == "postgres"


def test_no_variable_leads_to_another_server(provider, monkeypatch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setenv("PGHOST", "127.0.0.2")
        monkeypatch.setenv("PGHOSTADDR", "127.0.0.3")
        monkeypatch.setenv("PGPORT", str(other.getsockname()[1]))
        monkeypatch.setenv("PGDATABASE", "template1")
        monkeypatch.setenv("PGUSER", "nobody")
        monkeypatch.setenv("PGOPTIONS", "-c search_path=elsewhere")
        monkeypatch.setenv("PGTARGETSESSIONATTRS", "standby")
        service = tmp_path / "services"
        service.write_text(
            "[elsewhere]\nhost=127.0.0.2\nhostaddr=127.0.0.3\nport=1\ndbname=template1\n"
            "user=nobody\noptions=-c search_path=elsewhere\ntarget_session_attrs=standby\n"
        )
        monkeypatch.setenv("PGSERVICEFILE", str(service))
        monkeypatch.setenv("PGSERVICE", "elsewhere")
        rows = ask(provider, "SELECT current_database(), current_setting('search_path')", "")
        # The role is not there yet: that server itself says so.
        assert login_failure(provider, "guess") == (
            f'FATAL:  password authentication failed for user "{ROLE}"'
        )
        other.settimeout(0.1)
        with pytest.raises(TimeoutError):
            other.accept()
    assert rows == [(DATABASE, '"$user", public')]


def test_the_password_may_stand_in_a_file(provider, theirs, tmp_path, monkeypatch):
    monkeypatch.delenv("PGPASSWORD")
    file = tmp_path / "passwords"
    file.write_text(f"127.0.0.1:{theirs.port}:*:postgres:{theirs.password}\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    assert ask(provider, "SELECT 1") == [(1,)]


@pytest.mark.parametrize("password", ["", "guess"])
def test_a_wrong_password_is_said_with_where_it_is_looked_for(provider, monkeypatch, password):
    monkeypatch.setenv("PGPASSWORD", password)
    monkeypatch.setenv("PGPASSFILE", os.devnull)
    for act in (lambda: provider.connect("test"), lambda: provider.start(QUIET)):
        with pytest.raises(ExternalError) as caught:
            act()
        assert caught.value.code == "upstream.refused"
        assert "password" in caught.value.why
        assert "PGPASSWORD" in caught.value.remedy
    found = provider.inspect()
    assert found.condition is Condition.RUNNING
    assert "accepts no connection" in found.detail


def test_a_database_that_is_not_there(theirs, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", theirs.password)
    with pytest.raises(ExternalError) as caught:
        made_of(theirs.url.replace(DATABASE, "nowhere")).start(QUIET)
    assert caught.value.code == "upstream.refused"
    assert '"nowhere" does not exist' in caught.value.why


def test_a_server_that_is_down():
    port = ports.choose_free()
    provider = made_of(f"postgres://somebody@127.0.0.1:{port}/db")
    for act in (
        lambda: provider.start(QUIET),
        lambda: provider.connect("test"),
        provider.address,
    ):
        with pytest.raises(PreconditionError) as caught:
            act()
        assert caught.value.code == "upstream.not-running"
        assert f"127.0.0.1:{port}" in caught.value.why
        assert "[upstream]" in caught.value.remedy
    found = provider.inspect()
    assert found.condition is Condition.STOPPED
    assert str(port) in found.address
    assert "Connection refused" in found.detail
    assert provider.log_tail(5) == ""


def test_its_log_cannot_be_seen(provider):
    assert provider.follow_log() is None
    assert provider.log_tail(10) == ""


def test_it_is_neither_stopped_nor_destroyed(provider, theirs):
    before, written = theirs.server.inspect(), theirs.transactions()
    (started,) = provider.start(QUIET)
    assert started.status is Status.OK
    assert theirs.server.binaries.version() in started.why
    (stopped,) = provider.stop(QUIET)
    assert stopped.status is Status.SKIPPED
    assert "not the lab's" in stopped.why
    (destroyed,) = provider.destroy(QUIET)
    assert destroyed.status is Status.SKIPPED
    for word in ("DROP PUBLICATION", "DROP TABLE", "DROP ROLE", "ddl_lab_source", DATABASE):
        assert word in destroyed.why
    provider.inspect()
    assert theirs.server.inspect() == before
    assert theirs.transactions() == written


def test_looking_changes_nothing_there(provider, theirs, tmp_path):
    config = Config(upstream=UpstreamConfig(provider="url", url=theirs.url))
    upstream = open_upstream(Workspace(tmp_path), config)
    before = theirs.content()
    upstream.start(QUIET)
    upstream.found()
    missing = upstream.look(5, COLUMNS)
    assert any("wal_level" in line for line in missing)
    assert any("bench_table" in line or "table" in line for line in missing)
    said = "\n".join(upstream.missing_sql(5, COLUMNS))
    for word in ("wal_level", "CREATE TABLE", "CREATE PUBLICATION", "ddl_lab_source"):
        assert word in said
    upstream.verify(5)
    upstream.stop(QUIET)
    assert theirs.content() == before
    # Such a change would be seen.
    theirs.query("COMMENT ON TABLE public.business IS 'changed'")
    assert theirs.content() != before


@pytest.mark.parametrize(
    "url",
    [
        "postgres://somebody:secret-word@127.0.0.1:1/db",
        "postgresql://somebody:@127.0.0.1/db",
        "postgres://somebody@127.0.0.1:1/db?password=secret-word",
    ],
)
def test_a_url_with_a_password_is_refused_without_showing_it(url):
    with pytest.raises(UsageError) as caught:
        made_of(url)
    error = caught.value
    assert error.code == "upstream.password"
    assert "secret-word" not in f"{error.what} {error.why} {error.remedy}"
    assert "PGPASSFILE" in error.remedy


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1",
        "mysql://somebody@127.0.0.1/db",
        "postgres://127.0.0.1/db",
        "postgres://somebody@/db",
        "postgres://somebody@127.0.0.1",
        "postgres://somebody@127.0.0.1/",
        "postgres://somebody@127.0.0.1:0/db",
        "postgres://somebody@127.0.0.1:port/db",
        "postgres://somebody@127.0.0.1:1,127.0.0.2:2/db",
        "postgres://somebody@127.0.0.1,127.0.0.2/db",
        "postgres://somebody@%2Fvar%2Frun/db",
        "postgres://somebody@127.0.0.1/db?host=127.0.0.2",
        "postgres://somebody@127.0.0.1/db?hostaddr=127.0.0.2",
        "postgres://somebody@127.0.0.1/db#x",
        "postgres://somebody@127.0.0.1/db/other",
        "postgres://somebody@127.0.0.1/d b",
        "postgres://somebody@[::1/db",
    ],
)
def test_what_is_no_url_of_one_database_of_one_server_is_refused(url):
    with pytest.raises(UsageError) as caught:
        made_of(url)
    assert caught.value.code == "upstream.url"
    assert "postgres://USER@HOST:PORT/DATABASE" in caught.value.remedy


@pytest.mark.parametrize(
    ("url", "address", "database"),
    [
        ("postgres://u@some.host:5433/db", "some.host:5433", "db"),
        ("postgresql://u@some.host/db", "some.host:5432", "db"),
        ("postgres://u%40x@some.host/d%20b", "some.host:5432", "d b"),
        ("postgres://u@[::1]:5432/db", "[::1]:5432", "db"),
    ],
)
def test_what_a_url_names(url, address, database):
    """Nothing is contacted by naming it."""
    provider = made_of(url)
    assert provider.database == database
    assert f"{address}/{database}" in repr(provider)
