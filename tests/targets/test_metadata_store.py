"""The metadata store that the lab brings, and one that is named by its URL."""

import contextlib
import os
import shutil
import signal
import socket
import tempfile
from pathlib import Path

import psutil
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.core.config import MaterializeConfig
from lab.core.errors import PreconditionError, UsageError
from lab.core.progress import SilentProgress
from lab.core.results import Status
from lab.core.workspace import Workspace
from lab.servers import ports
from lab.servers.records import Condition
from lab.targets.materialize.metadata import metadata_store
from lab.targets.materialize.metadata_url import UrlStore

QUIET = SilentProgress()
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789_", min_size=1, max_size=20)


def open_workspace(where):
    root = Path(tempfile.mkdtemp(prefix="ddl-lab-test-", dir=where))
    root.chmod(0o755)
    return Workspace(root)


def store_in(workspace, **settings):
    return metadata_store(workspace, MaterializeConfig(**settings), "main")


@contextlib.contextmanager
def workspace_with_store(where):
    workspace = open_workspace(where)
    store = store_in(workspace)
    try:
        store.start(QUIET)
        yield workspace
    finally:
        store.reset(QUIET)
        shutil.rmtree(workspace.root)


@pytest.fixture(scope="module")
def workspace():
    with workspace_with_store("/dev/shm") as made:
        yield made


@pytest.fixture
def store(workspace):
    made = store_in(workspace)
    made.start(QUIET)
    return made


@pytest.fixture
def connection(store):
    with store.connect("test") as opened:
        yield opened
    with store.connect("test") as opened:
        for schema in ("consensus", "tsoracle", "storage"):
            opened.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


def test_it_is_made_once_and_found_again(workspace, store):
    assert store.owned
    steps = store.start(QUIET)
    assert {each.status for each in steps} == {Status.OK}
    assert all(each.name.startswith("metadata ") for each in steps)
    found = store_in(workspace).inspect()
    assert (found.condition, found.kind) == (Condition.RUNNING, "embedded")
    assert psutil.Process(found.process.pid).name() == "postgres"
    assert found.url == store.url
    assert store.url.startswith("postgres://materialize@127.0.0.1:")
    assert store.url.endswith("/materialize")


def test_environmentd_gets_in_without_a_password_and_nobody_gets_in_elsewhere(store):
    with psycopg.connect(store.url) as connection:
        connection.execute("CREATE SCHEMA made_by_its_owner")
        connection.rollback()
    elsewhere = store.url.replace("/materialize", "/postgres").replace("materialize@", "{}@")
    for url in (
        elsewhere.format("materialize"),
        elsewhere.format("postgres"),
        store.url.replace("materialize@", "postgres@"),
    ):
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(url)


def test_it_is_durable_and_takes_many_connections(connection):
    for name, value in (("fsync", "on"), ("max_connections", "300"), ("full_page_writes", "on")):
        assert connection.execute(f"SHOW {name}").fetchone() == (value,)


def test_schemas_are_made_once(store, connection):
    assert store.ensure_schemas() == ("consensus", "tsoracle", "storage")
    assert store.ensure_schemas() == ()


def test_it_is_empty_until_a_schema_holds_a_row(store, connection):
    assert store.is_empty(connection)
    store.ensure_schemas()
    connection.execute("CREATE TABLE consensus.consensus (shard text)")
    connection.execute("CREATE TABLE public.other AS SELECT 1")
    assert store.is_empty(connection)
    connection.execute("INSERT INTO consensus.consensus VALUES ('s1')")
    assert not store.is_empty(connection)


def test_who_is_at_work_on_it_is_told(store, connection):
    assert store.sessions(connection) == ()
    with psycopg.connect(store.url, application_name="persist", autocommit=True) as other:
        (session,) = store.sessions(connection)
        assert session.id == str(other.info.backend_pid)
        assert session.application == "persist"
        assert str(session).startswith("persist from 127.0.0.1:")
        assert session.started.endswith("+00:00")
    with psycopg.connect(store.url) as other:
        assert "without a name" in str(store.sessions(connection)[0])
    assert store.sessions(connection) == ()
    with store.connect("test"):
        assert store.sessions(connection) == ()


def test_a_copy_has_another_identity(store, connection):
    here = store.identity(connection)
    connection.close()
    with store.server.connect("postgres", "test") as maintenance:
        maintenance.execute("CREATE DATABASE fork TEMPLATE materialize")
        with store.server.connect("fork", "test") as fork:
            assert store.identity(fork) != here
        maintenance.execute("DROP DATABASE fork")
    with store.connect("test") as connection, psycopg.connect(store.url) as as_environmentd:
        assert store.identity(connection) == here
        assert store.identity(as_environmentd) == here


def test_stopped_and_started_it_is_the_same(store, connection):
    url, identity = store.url, store.identity(connection)
    store.ensure_schemas()
    connection.close()
    store.stop(QUIET)
    assert store.inspect().condition is Condition.STOPPED
    assert store.url == url
    with pytest.raises(PreconditionError) as caught:
        store.connect("test")
    assert caught.value.code == "metadata.down"
    store.start(QUIET)
    with store.connect("test") as again:
        assert store.identity(again) == identity
        assert store.ensure_schemas() == ()
        for schema in ("consensus", "tsoracle", "storage"):
            again.execute(f"DROP SCHEMA {schema}")


def test_its_port_is_taken_while_it_is_stopped(store):
    port = store.server.inspect().port
    store.stop(QUIET)
    with socket.create_server(("127.0.0.1", port)), pytest.raises(PreconditionError) as caught:
        store.start(QUIET)
    assert caught.value.code == "port.taken"
    assert "metadata store" in caught.value.remedy
    store.start(QUIET)


def test_what_a_killed_start_left_is_made_up_for(store):
    with store.server.connect("postgres", "test") as connection:
        connection.execute("DROP DATABASE materialize")
    assert "metadata database" in {each.name for each in store.start(QUIET)}
    psycopg.connect(store.url).close()


def test_a_crash_is_recovered_from(store):
    os.kill(store.inspect().process.pid, signal.SIGKILL)
    store.start(QUIET)
    psycopg.connect(store.url).close()


def test_a_store_in_memory_is_volatile_and_one_on_disk_is_not(store):
    assert "lies in memory" in store.inspect().volatile
    with workspace_with_store("/var/tmp") as on_disk:
        assert store_in(on_disk).inspect().volatile == ""
        store_in(on_disk).reset(QUIET)
        assert store_in(on_disk).inspect().condition is Condition.ABSENT


def test_a_url_is_used_and_left_alone(store, connection):
    named = store_in(None, metadata=store.url)
    assert not named.owned
    assert named.url == store.url
    (step,) = named.start(QUIET)
    assert (step.status, "PostgreSQL 18" in step.why) == (Status.OK, True)
    assert named.inspect().condition is Condition.RUNNING
    assert named.stop(QUIET)[0].status is Status.SKIPPED
    assert named.reset(QUIET)[0].status is Status.OK

    named.ensure_schemas()
    connection.execute("CREATE TABLE tsoracle.timestamp_oracle AS SELECT 1 AS ts")
    connection.execute("GRANT SELECT ON tsoracle.timestamp_oracle TO materialize")
    with pytest.raises(PreconditionError) as caught:
        named.reset(QUIET)
    assert caught.value.code == "metadata.not-owned"
    assert not store.is_empty(connection)
    with named.connect("test") as other:
        assert named.identity(other) == store.identity(connection)


def test_a_server_that_wants_a_password(store, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", (store.server.folder / "password").read_text().strip())
    named = UrlStore(store.url.replace("materialize@", "postgres@"))
    with pytest.raises(PreconditionError) as caught:
        named.start(QUIET)
    assert caught.value.code == "metadata.password"
    assert named.inspect().condition is Condition.STOPPED


def test_a_server_that_is_down():
    named = UrlStore(f"postgres://root@127.0.0.1:{ports.choose_free()}/materialize")
    with pytest.raises(PreconditionError) as caught:
        named.start(QUIET)
    assert caught.value.code == "metadata.down"
    assert "refused" in caught.value.why
    found = named.inspect()
    assert found.condition is Condition.STOPPED
    assert "refused" in found.detail


def test_why_what_a_url_names_is_volatile(store):
    named = UrlStore(store.url)
    assert named.inspect().volatile == ""  # its user is not told where the data lie
    with store.server.connect("postgres", "test") as connection:
        connection.execute("GRANT pg_read_all_settings TO materialize")
        assert "lies in memory" in named.inspect().volatile
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("SELECT pg_sleep(0.3)")
        assert "fsync is off" in named.inspect().volatile
        connection.execute("ALTER SYSTEM RESET fsync")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("REVOKE pg_read_all_settings FROM materialize")


@given(user=NAMES, password=NAMES.map("Sesame-{}".format), database=NAMES)
def test_a_password_is_refused_and_never_repeated(user, password, database):
    with pytest.raises(UsageError) as caught:
        UrlStore(f"postgres://{user}:{password}@localhost/{database}")
    assert caught.value.code == "metadata.password"
    said = (caught.value.what, caught.value.why, caught.value.remedy)
    assert not any(password in each for each in said)


@given(user=NAMES, port=st.integers(1, 65535), database=NAMES)
def test_a_whole_url_is_taken_as_it_is(user, port, database):
    url = f"postgresql://{user}@db.example:{port}/{database}"
    assert UrlStore(url).url == url


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("postgres://root@localhost/materialize?sslmode=disable", "metadata.query-string"),
        ("postgres://root@localhost/materialize?", "metadata.query-string"),
        ("postgres://root@localhost/materialize#x", "metadata.query-string"),
        ("postgres://root@localhost", "metadata.url"),
        ("postgres://root@localhost/", "metadata.url"),
        ("postgres://localhost/materialize", "metadata.url"),
        ("postgres://root@localhost:port/materialize", "metadata.url"),
        ("postgres://root@localhost:99999/materialize", "metadata.url"),
        ("postgres://root@[::1/materialize", "metadata.url"),
        ("postgres://root@/materialize", "metadata.url"),
        ("postgres://root@local host/materialize", "metadata.url"),
        ("postgres://root@localhost/mate\nrialize", "metadata.url"),
        ("mysql://root:Sesame@localhost/materialize", "metadata.unknown"),
        ("image:", "metadata.unknown"),
        ("", "metadata.unknown"),
    ],
)
def test_what_is_no_store_is_refused(url, code):
    with pytest.raises(UsageError) as caught:
        store_in(None, metadata=url)
    assert caught.value.code == code
    assert "Sesame" not in f"{caught.value.what}{caught.value.why}{caught.value.remedy}"
