"""An upstream in a container, on a real engine: brought up, kept, followed, taken away."""

import time

import docker_images
import psycopg
import pytest
from docker_support import engine_or_skip, free_ports, take_away
from provider_support import COLUMNS, QUIET, ask

from lab.core.config import Config, UpstreamConfig
from lab.core.errors import PreconditionError
from lab.core.results import Status
from lab.core.workspace import Workspace
from lab.servers.records import Condition
from lab.upstream.assembly import open_upstream
from lab.upstream.container import ContainerProvider
from lab.upstream.embedded import SETTINGS


@pytest.fixture(scope="module")
def client():
    with engine_or_skip() as opened:
        yield opened


@pytest.fixture(scope="module")
def image(client):
    return docker_images.postgres(client)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def provider(client, image, root):
    """One that runs; a test that stops it starts it again."""
    made = ContainerProvider(Workspace(root), UpstreamConfig(image=image))
    try:
        made.start(QUIET)
        yield made
    finally:
        take_away(client, made.container)


@pytest.fixture
def fresh(client, image, tmp_path):
    """One that was never started."""
    made = ContainerProvider(Workspace(tmp_path), UpstreamConfig(image=image))
    yield made
    take_away(client, made.container)


def test_before_the_first_start_there_is_nothing(fresh, image):
    found = fresh.inspect()
    assert (found.provider, found.condition) == ("docker", Condition.ABSENT)
    assert (found.address, found.started, found.volatile) == ("", "", "")
    assert image in found.detail
    for look in (fresh.address, lambda: fresh.connect("test")):
        with pytest.raises(PreconditionError) as caught:
            look()
        assert caught.value.code == "upstream.not-running"
    assert fresh.log_tail(5) == ""
    assert [each.status for each in fresh.stop(QUIET)] == [Status.OK]


def test_it_is_set_as_a_source_needs_it(provider):
    wanted = SETTINGS | {"log_line_prefix": "%m [%p] %a "}
    rows = dict(ask(provider, "SELECT name, setting FROM pg_settings"))
    assert {name: rows[name] for name in wanted} == wanted
    assert rows["log_timezone"] == "UTC"
    assert ask(provider, "SELECT 1 FROM pg_available_extensions WHERE name = 'pg_stat_statements'")


def test_it_answers_on_loopback_alone_and_names_who_asks(client, provider):
    host, port = provider.address()
    assert provider.inspect().address == f"{host}:{port}"
    container = client.containers.get(provider.container.name)
    bindings = container.attrs["HostConfig"]["PortBindings"]
    assert [each["HostIp"] for each in bindings["5432/tcp"]] == [host] == ["127.0.0.1"]
    assert ask(provider, "SHOW application_name") == [("ddl-lab test",)]


def test_the_password_is_in_a_file_and_nowhere_else(client, provider, root):
    file = root / ".lab/upstream/container-password"
    password = file.read_text().strip()
    assert len(password) >= 24
    assert file.stat().st_mode & 0o777 == 0o600
    container = client.containers.get(provider.container.name)
    assert password not in str(container.attrs)
    assert password not in str(container.top())
    assert password not in str(provider.inspect()) + repr(provider)
    assert password not in provider.log_tail(1000)
    within = container.exec_run(["stat", "-c", "%a %u", "/etc/ddl-lab/password"])
    assert within.output.split() == [b"400", b"0"]
    kept = [each for each in file.parent.iterdir() if password in each.read_text()]
    assert kept == [file]


@pytest.mark.parametrize("password", ["", "guess"])
def test_nobody_gets_in_without_it(provider, password):
    host, port = provider.address()
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(host=host, port=port, user="postgres", password=password or None)
    methods = ask(provider, "SELECT DISTINCT auth_method FROM pg_hba_file_rules")
    assert methods == [("scram-sha-256",)]


def test_started_again_it_is_adopted(provider):
    before = provider.inspect()
    (step,) = provider.start(QUIET)
    assert (step.status, step.diff) == (Status.OK, ())
    assert provider.inspect() == before
    assert before.condition is Condition.RUNNING
    assert before.volatile == ""


def test_stopped_it_keeps_port_and_tables(provider):
    address = provider.address()
    ask(provider, "CREATE TABLE kept_when_stopped (a int)")
    assert [each.status for each in provider.stop(QUIET)] == [Status.CHANGED]
    assert provider.inspect().condition is Condition.STOPPED
    for look in (provider.address, lambda: provider.connect("test")):
        with pytest.raises(PreconditionError) as caught:
            look()
        assert caught.value.code == "upstream.not-running"
        assert "stopped" in caught.value.why
    assert [each.status for each in provider.start(QUIET)] == [Status.CHANGED]
    assert provider.address() == address
    assert ask(provider, "SELECT count(*) FROM kept_when_stopped") == [(0,)]


def test_another_declared_port_makes_it_anew_on_its_volume(provider, image, root):
    port = free_ports(1)
    other = ContainerProvider(Workspace(root), UpstreamConfig(image=image, port=port))
    ask(provider, "CREATE TABLE kept_when_moved (a int)")
    steps = other.start(QUIET)
    assert [each.status for each in steps] == [Status.CHANGED] * 2
    assert other.address() == ("127.0.0.1", port)
    assert ask(other, "SELECT count(*) FROM kept_when_moved") == [(0,)]
    # Where none is declared any more the last one is kept.
    provider.start(QUIET)
    assert provider.address() == ("127.0.0.1", port)


def follow(read, wanted):
    """What is read until ``wanted`` is in it: the engine takes a moment to write a line down."""
    said, deadline = "", time.monotonic() + 10
    while wanted not in said and time.monotonic() < deadline:
        said += read()
        time.sleep(0.02)
    return said


def test_its_log_is_followed_without_loss_or_repetition(provider):
    ask(provider, "DO $$BEGIN RAISE LOG 'before'; END$$")
    time.sleep(0.2)  # until the engine has written down what was said before
    read = provider.follow_log()
    said = ""
    for number in range(20):
        ask(provider, f"DO $$BEGIN RAISE LOG 'line {number}'; RAISE LOG 'same {number}'; END$$")
        said += read()
    if "same 19" not in said:
        said += follow(read, "same 19")
    lines = said.splitlines()
    assert "before" not in said
    for what in ("line", "same"):
        numbers = [int(each.rpartition(" ")[2]) for each in lines if f"LOG:  {what} " in each]
        assert numbers == list(range(20))
    assert said.endswith("\n")
    assert "disconnection: session time:" in said
    assert "] ddl-lab test LOG:" in said
    time.sleep(0.2)
    read()
    assert read() == ""


def test_its_log_is_followed_across_a_restart(provider):
    read = provider.follow_log()
    provider.stop(QUIET)
    provider.start(QUIET)
    said = follow(read, "ready to accept connections")
    assert said.count("database system is shut down") == 1
    assert said.count("ready to accept connections") == 1
    assert "ready to accept connections" in provider.log_tail(50)


def test_destroyed_it_leaves_nothing(client, fresh, tmp_path):
    fresh.start(QUIET)
    name = fresh.container.name
    ask(fresh, "CREATE TABLE gone (a int)")
    assert Status.CHANGED in {each.status for each in fresh.destroy(QUIET)}
    assert fresh.inspect().condition is Condition.ABSENT
    assert not client.containers.list(all=True, filters={"name": name})
    assert not client.volumes.list(filters={"name": name})
    left = {each.name for each in (tmp_path / ".lab/upstream").iterdir()}
    assert not left & {"container-password", "container.json"}
    assert {each.status for each in fresh.destroy(QUIET)} == {Status.OK}
    fresh.start(QUIET)
    assert ask(fresh, "SELECT to_regclass('gone')") == [(None,)]


def test_a_source_can_read_what_is_provisioned_there(provider, root, image):
    config = Config(upstream=UpstreamConfig(provider="docker", image=image))
    upstream = open_upstream(Workspace(root), config)
    upstream.start(QUIET)
    steps = upstream.provision(12, COLUMNS, QUIET)
    assert Status.CHANGED in {each.status for each in steps}
    assert {each.status for each in upstream.provision(12, COLUMNS, QUIET)} == {Status.OK}
    assert upstream.published() == frozenset(range(1, 13))
    assert [each for each in upstream.verify(12) if not each.passed] == []
    assert upstream.facts()["upstream.provider"] == "docker"
    assert inserted(upstream, rows=3) == 3


def inserted(upstream, rows):
    """How many of the rows that are inserted now the source's role sees by the publication."""
    link = upstream.link()
    with psycopg.connect(
        host=link.host,
        port=link.port,
        dbname=link.database,
        user=link.role,
        password=link.password,
        autocommit=True,
    ) as connection:
        connection.execute("SELECT pg_create_logical_replication_slot('s', 'pgoutput', true)")
        new = f"INSERT INTO bench_table_12 (id) SELECT generate_series(1, {rows})"
        ask(upstream.provider, new, link.database)
        changes = connection.execute(
            "SELECT data FROM pg_logical_slot_get_binary_changes("
            "'s', NULL, NULL, 'proto_version', '1', 'publication_names', %s)",
            (link.publication,),
        )
        return sum(data.startswith(b"I") for (data,) in changes)
