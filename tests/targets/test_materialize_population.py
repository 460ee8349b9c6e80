"""Seeding, counting, limits and system variables in the dialect of Materialize."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab_on_materialize import lab_on_materialize

from lab.core.errors import UsageError
from lab.core.progress import SilentProgress
from lab.servers.connection import Connection
from lab.targets.base import Environment, Trouble
from lab.targets.changes import ChangeRecord
from lab.targets.materialize import objects, population, sql, troubles
from lab.targets.materialize.environment import MaterializeEnvironment
from lab.targets.materialize.variables import SystemVariables
from lab.targets.parts import Variable

KINDS = ("table", "view", "materialized-view", "index")
# As a real environmentd worded it.
LIMIT = "creating table would violate max_tables limit (desired: 201, limit: 200, current: 200)"
MEANT = [
    ("XX000", 'table "materialize.public.cap_t1" already exists', Trouble.OVERTAKEN),
    ("XX000", "catalog item 'bt_1' already exists", Trouble.OVERTAKEN),
    ("XX000", "schema 'lab' already exists", Trouble.OVERTAKEN),
    ("XX000", "unknown catalog item 'cap_nosuch'", Trouble.OVERTAKEN),
    ("XX000", "unknown schema 'nosuch'", Trouble.OVERTAKEN),
    ("XX000", 'cannot drop table "t": still depended upon by view "v"', Trouble.REFUSED),
    ("53000", LIMIT, Trouble.LIMIT),
    ("53000", "something else is short", Trouble.REFUSED),
    ("57P01", "terminating connection due to administrator command", Trouble.GONE),
    ("57P03", "the server is starting up", Trouble.GONE),
    ("42601", "Expected identifier, found EOF", Trouble.REFUSED),
    ("XX000", "internal error: No space left on device (os error 28)", Trouble.NO_SPACE),
    ("57014", "canceling statement due to statement timeout", Trouble.REFUSED),
]


class Answered(psycopg.Error):
    """An error as a server answered it; libpq's own are made only with its results."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.sqlstate = code


@pytest.mark.parametrize(("code", "message", "meant"), MEANT)
def test_what_an_error_means(code: str, message: str, meant: Trouble) -> None:
    assert troubles.classify(Answered(code, message), "") is meant


def test_a_lost_connection_is_told_from_a_full_disk_by_the_log() -> None:
    lost = psycopg.OperationalError("server closed the connection unexpectedly")
    assert troubles.classify(lost, "") is Trouble.GONE
    assert troubles.classify(lost, "panicked: No space left on device") is Trouble.NO_SPACE


@given(st.from_regex(r"max_[a-z_]{1,20}", fullmatch=True), st.integers(0, 2**40))
def test_a_limit_is_read_from_its_message(name: str, desired: int) -> None:
    text = f"creating thing would violate {name} limit (desired: {desired}, limit: 1, current: 1)"
    assert troubles.limit_of(Answered("53000", text)) == (name, desired)
    assert troubles.limit_of(Answered("XX000", text)) is None


@pytest.mark.parametrize("schema", ["ddl_lab_fixture", "mz_catalog", "pg_temp", 'a"b'])
def test_schemas_that_are_not_the_labs_to_fill_are_refused(schema: str) -> None:
    with pytest.raises(UsageError):
        population.scheme("table", schema)


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError) as refused:
        population.scheme("tabel", "lab")
    assert "table" in refused.value.remedy


@pytest.fixture(scope="module")
def running() -> Iterator[Environment]:
    with lab_on_materialize() as lab:
        lab.environment.start(SilentProgress())
        yield lab.environment


@pytest.fixture
def connection(running: Environment) -> Iterator[Connection]:
    with contextlib.closing(running.connect("test")) as opened:
        yield opened


@pytest.fixture
def system_connect(running: Environment) -> Callable[[str], Connection]:
    assert isinstance(running, MaterializeEnvironment)
    ports = running.server.ports
    return lambda purpose: sql.connect(ports, purpose, role=sql.SYSTEM)


@pytest.fixture
def system(system_connect: Callable[[str], Connection], tmp_path: Path) -> SystemVariables:
    return SystemVariables(system_connect, {"max_sources": "250"}, tmp_path / "v.json")


def total(connection: Connection) -> int:
    return objects.count(connection).total


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_made_found_counted_and_dropped(connection: Connection, kind: str) -> None:
    schema = f'order {kind} "'.replace('"', "")  # with a word of SQL and a blank in it
    scheme = population.scheme(kind, schema)
    before = objects.count(connection)
    added = scheme.prepare(connection)
    assert scheme.prepare(connection) == 0
    for number in (1, 2, 10):
        connection.execute(scheme.create(number).encode())
    connection.execute(f'CREATE TABLE "{schema}".{kind.replace("-", "_")}_x (a int)'.encode())
    assert scheme.existing(connection) == {1, 2, 10}
    assert total(connection) == before.total + added + 4
    connection.execute(scheme.drop(10).encode())
    assert scheme.existing(connection) == {1, 2}
    made = objects.count(connection).by_type[kind] - before.by_type.get(kind, 0)
    assert made == (4 if kind == "table" else 2) - (kind == "table")
    with pytest.raises(psycopg.Error) as again:
        connection.execute(scheme.create(1).encode())
    assert troubles.classify(again.value, "") is Trouble.OVERTAKEN
    with pytest.raises(psycopg.Error) as gone:
        connection.execute(scheme.drop(10).encode())
    assert troubles.classify(gone.value, "") is Trouble.OVERTAKEN


def test_fixtures_and_objects_of_other_databases_are_told_apart(connection: Connection) -> None:
    before = objects.count(connection)
    connection.execute("CREATE SCHEMA ddl_lab_fixture")
    connection.execute("CREATE TABLE ddl_lab_fixture.f (a int)")
    connection.execute("CREATE DATABASE other")
    connection.execute("CREATE SCHEMA other.twin")
    connection.execute("CREATE TABLE other.twin.table_7 (a int)")
    connection.execute("CREATE SCHEMA twin")
    connection.execute("CREATE TEMPORARY TABLE passing (a int)")
    after = objects.count(connection)
    assert (after.total, after.fixtures) == (before.total + 1, before.fixtures + 1)
    assert population.scheme("table", "twin").existing(connection) == frozenset()


def test_a_variable_is_shown_before_and_after_and_recorded(
    system: SystemVariables, tmp_path: Path
) -> None:
    set_to = system.set("max_secrets", "321", by="env.set", session="S")
    assert set_to == (Variable("max_secrets", "100"), Variable("max_secrets", "321"))
    assert system.read(("max_secrets",)) == (Variable("max_secrets", "321"),)
    back = system.set("max_secrets", None, by="session.finish")
    assert back[1] == Variable("max_secrets", "100")
    recorded = json.loads((tmp_path / "v.json").read_text())
    assert [(each["given"], each["after"], each["session"]) for each in recorded] == [
        ("321", "321", "S"),
        (None, "100", ""),
    ]


def test_the_servers_spelling_is_what_is_expected(system: SystemVariables) -> None:
    system.set("enable_create_table_from_source", "true", by="env.set")
    assert system.expected() == {"max_sources": "250", "enable_create_table_from_source": "on"}
    system.set("enable_create_table_from_source", None, by="env.set")


@pytest.mark.parametrize(
    ("name", "value", "code", "says"),
    [
        ("max_tabels", "1", "variables.unknown", "max_tables"),
        ("max_tables; DROP TABLE t", "1", "variables.name", "env.get"),
        ("max_tables", "many", "variables.value", "env.get max_tables"),
        ("max_tables", "1'; DROP TABLE t --", "variables.value", "env.get max_tables"),
    ],
)
def test_what_cannot_be_set_is_refused_and_not_recorded(
    system: SystemVariables, name: str, value: str, code: str, says: str
) -> None:
    with pytest.raises(UsageError) as refused:
        system.set(name, value, by="env.set")
    assert refused.value.code == code
    assert says in refused.value.remedy
    assert system.changes() == ()


def test_a_value_with_quotes_arrives_as_it_is(system: SystemVariables) -> None:
    _, after = system.set("allowed_cluster_replica_sizes", "it's 'one', \"two\"", by="env.set")
    assert after.value == "it's 'one', \"two\""


def test_what_is_interrupted_between_record_and_server_is_expected_all_the_same(
    system: SystemVariables, system_connect: Callable[[str], Connection], tmp_path: Path
) -> None:
    class Killed(BaseException):
        pass

    def connect(purpose: str) -> Connection:
        if purpose == "env.set":
            raise Killed
        return system_connect(purpose)

    path = tmp_path / "v.json"
    with pytest.raises(Killed):
        SystemVariables(connect, {}, path).set("max_roles", "77", by="env.set")
    assert [change.after for change in ChangeRecord(path).read()] == ["77"]
    assert system.expected()["max_roles"] == "77"
    assert system.read(("max_roles",))[0].value != "77"


@pytest.mark.parametrize(
    ("kind", "name"), [("table", "max_tables"), ("view", "max_objects_per_schema")]
)
def test_the_limit_that_an_error_names_is_raised_with_room_to_spare(
    connection: Connection,
    system: SystemVariables,
    kind: str,
    name: str,
) -> None:
    scheme = population.scheme(kind, f"room_{kind}")
    scheme.prepare(connection)
    system.set(name, "0", by="env.set")
    try:
        with pytest.raises(psycopg.Error) as full:
            connection.execute(scheme.create(1).encode())
        assert troubles.classify(full.value, "") is Trouble.LIMIT
        raised = system.make_room(full.value, 10_000)
        assert raised is not None
        assert raised[1] == Variable(name, "13000")
        connection.execute(scheme.create(9).encode())
        assert system.changes()[-1].by == "lab.seed"
    finally:
        system.set(name, None, by="env.set")


def test_no_room_is_made_for_what_is_no_limit(system: SystemVariables) -> None:
    assert system.make_room(Answered("53000", "short of something"), 10) is None
    assert system.make_room(Answered("53000", LIMIT.replace("201", str(2**33))), 10) is None
    assert system.changes() == ()
