"""PostgreSQL as a target: a real server, and each fault that can really be made."""

import contextlib
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import psycopg
import pytest

from lab.core.checks import disk_space
from lab.core.config import Config, PostgresConfig
from lab.core.errors import PreconditionError, UsageError
from lab.core.progress import SilentProgress
from lab.core.workspace import Workspace
from lab.servers import launch
from lab.servers.postgres import EmbeddedServer
from lab.targets import registry
from lab.targets.base import Phase, Trouble
from lab.targets.counting import FIXTURE_SCHEMA
from lab.targets.postgres import checks, objects
from lab.targets.postgres.environment import PostgresEnvironment
from lab.targets.statements import STATEMENTS, workload

QUIET = SilentProgress()
SETTINGS = {
    "max_prepared_transactions": "5",
    # A vacuum that dawdles, so that one can be caught at work.
    "autovacuum_naptime": "1s",
    "autovacuum_vacuum_cost_delay": "100ms",
    "autovacuum_vacuum_cost_limit": "1",
}
ALL = [
    "create-table",
    "create-view",
    "create-index",
    "create-materialized-view",
    "alter-rename",
]


def make_environment(root: Path) -> PostgresEnvironment:
    config = Config(postgres=PostgresConfig(settings=SETTINGS))
    environment = registry.target("postgres").environment(Workspace(root), config)
    assert isinstance(environment, PostgresEnvironment)
    return environment


@pytest.fixture(scope="module")
def environment():
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1e9
    root = Path(tempfile.mkdtemp(prefix="ddl-lab-test-", dir=memory if roomy else None))
    root.chmod(0o755)
    environment = make_environment(root)
    assert environment.inspect().phase is Phase.ABSENT
    steps = environment.start(QUIET)
    assert [step.name for step in steps] == ["state", "server", "database"]
    yield environment
    environment.start(QUIET)
    environment.reset(QUIET)
    shutil.rmtree(root)


@pytest.fixture
def connection(environment):
    with contextlib.closing(environment.connect("test")) as connection:
        yield connection
    with contextlib.closing(environment.connect("test")) as connection:
        connection.execute("DROP SCHEMA IF EXISTS s, lab, ddl_lab_fixture CASCADE")


def run(connection, statements) -> None:
    for statement in statements:
        connection.execute(statement.encode())


def failed(environment, objects=None) -> dict[str, str]:
    return {check.name: check.found for check in environment.verify(objects) if not check.passed}


def test_the_registry_names_the_nearest():
    assert "postgres" in registry.names()
    with pytest.raises(UsageError) as caught:
        registry.target("postgresql")
    assert "postgres" in caught.value.remedy


def test_a_situation(environment):
    situation = environment.inspect()
    assert situation.phase is Phase.RUNNING
    assert situation.build.startswith("PostgreSQL 18")
    assert situation.address.startswith("127.0.0.1:")
    assert situation.started.endswith("+00:00")
    assert Path(situation.directory, "data").is_dir()


def test_a_connection_is_named(environment, connection):
    assert connection.autocommit
    row = connection.execute(
        "SELECT application_name, current_database() FROM pg_stat_activity"
        " WHERE pid = pg_backend_pid()"
    ).fetchone()
    assert row == ("ddl-lab test", "lab")


def test_counts_are_exact(environment, connection):
    assert environment.count_objects(connection).total == 0
    run(
        connection,
        [
            "CREATE SCHEMA s",
            "CREATE SCHEMA ddl_lab_fixture",
            "CREATE TABLE s.plain (a int PRIMARY KEY, b text)",
            "CREATE TABLE s.parts (a int) PARTITION BY LIST (a)",
            "CREATE TABLE s.part PARTITION OF s.parts FOR VALUES IN (1)",
            "CREATE INDEX ON s.parts (a)",
            "CREATE VIEW s.v AS SELECT 1",
            "CREATE MATERIALIZED VIEW s.m AS SELECT 1",
            "CREATE SEQUENCE s.q",
            "CREATE TYPE s.pair AS (a int, b int)",
            "CREATE TEMPORARY TABLE passing (a int)",
            "CREATE TABLE ddl_lab_fixture.base (a int)",
        ],
    )
    counts = environment.count_objects(connection)
    assert counts.by_type == {
        "table": 3,
        "index": 3,
        "view": 1,
        "materialized-view": 1,
        "sequence": 1,
    }
    assert counts.total == 9
    assert counts.fixtures == 1


def test_cycles_leave_the_count_as_it_was(environment, connection):
    chosen = environment.workload(ALL)
    run(connection, chosen.setup)
    before = environment.count_objects(connection)
    assert before.total == 0
    assert before.fixtures == chosen.fixtures
    for i in range(4):
        for cycle in chosen.cycles:
            run(connection, [each.sql for each in cycle.operations(i)])
        assert environment.count_objects(connection) == before
    # An interrupted run leaves objects behind: the next setup takes them away.
    run(connection, [chosen.cycles[0].operations(9)[0].sql])
    run(connection, chosen.setup)
    assert environment.count_objects(connection) == before
    run(connection, chosen.teardown)
    assert environment.count_objects(connection).fixtures == 0


@pytest.mark.parametrize("statement", STATEMENTS)
def test_each_statement_brings_its_cycle_once(statement):
    (cycle,) = workload("PostgreSQL", FIXTURE_SCHEMA, [statement, statement]).cycles
    assert statement in cycle.statements
    assert workload("PostgreSQL", FIXTURE_SCHEMA, cycle.statements).cycles == (cycle,)


def test_an_unknown_statement_names_the_nearest():
    with pytest.raises(UsageError) as caught:
        workload("PostgreSQL", FIXTURE_SCHEMA, ["create-tabel"])
    assert "create-table" in caught.value.remedy


@pytest.mark.parametrize(
    ("kind", "bases"), [("table", 0), ("view", 1), ("materialized-view", 1), ("index", 1)]
)
def test_a_population_is_named_found_and_dropped(environment, connection, kind, bases):
    scheme = environment.population(kind, "lab")
    assert scheme.existing(connection) == frozenset()
    assert scheme.prepare(connection) == bases
    assert scheme.prepare(connection) == 0
    connection.execute(";".join(map(scheme.create, [1, 2, 10])).encode())
    connection.execute("CREATE TABLE lab.table_of_somebody (a int)")
    connection.execute("CREATE TABLE lab.table_007 (a int)")
    assert scheme.existing(connection) == frozenset({1, 2, 10})
    counts = environment.count_objects(connection)
    assert counts.total == 3 + bases + 2
    connection.execute(scheme.drop(2).encode())
    assert scheme.existing(connection) == frozenset({1, 10})


def test_a_schema_may_be_a_word_of_sql(environment, connection):
    scheme = environment.population("table", "select")
    scheme.prepare(connection)
    connection.execute(scheme.create(1).encode())
    assert scheme.existing(connection) == frozenset({1})
    connection.execute('DROP SCHEMA "select" CASCADE')


@pytest.mark.parametrize("schema", ["ddl_lab_fixture", "pg_catalog", "pg_mine"])
def test_a_population_stays_out_of_other_schemas(environment, schema):
    with pytest.raises(UsageError):
        environment.population("table", schema)


def test_an_unknown_kind_names_the_nearest(environment):
    with pytest.raises(UsageError) as caught:
        environment.population("materialised-view", "lab")
    assert "materialized-view" in caught.value.remedy


def test_one_transaction_holds_thousands_of_statements(environment, connection):
    scheme = environment.population("table", "lab")
    scheme.prepare(connection)
    connection.execute(";".join(map(scheme.create, range(1, 3001))).encode())
    assert environment.count_objects(connection).total == 3000
    run(connection, ["DROP SCHEMA lab CASCADE"])


def test_facts_are_those_that_must_be_alike(environment, connection):
    facts = environment.facts(connection)
    assert facts == environment.facts(connection)
    assert facts["server.version"].startswith("18")
    assert facts["setting.fsync"] == "on"
    assert facts["setting.max_prepared_transactions"] == "5"
    assert facts["state.id"].startswith("main/")
    assert facts["setting.data_checksums"] == "on"
    assert "setting.port" not in facts
    changed = facts["settings.changed"].split()
    # What the lab or somebody set to something else; not what is set as it is shipped anyway.
    assert {"shared_buffers", "max_connections", "max_prepared_transactions"} <= set(changed)
    assert not {"full_page_writes", "log_checkpoints", "wal_level", "jit"} & set(changed)
    assert {f"setting.{name}" for name in changed} <= facts.keys()
    # The build, said so that it can be read.
    name, version = facts["build.compiler"].rsplit(" ", 1)
    assert name in facts["build.compiled"]
    assert version in facts["build.compiled"]
    assert facts["build.optimisation"] in facts["build.cflags"]
    assert facts["build.optimisation"].startswith("-O")
    text = " ".join(facts.values())
    assert environment.inspect().address.partition(":")[2] not in text
    assert str(environment.server.folder) not in text

    connection.execute("ALTER DATABASE lab SET synchronous_commit = off")
    with contextlib.closing(environment.connect("test")) as later:
        facts = environment.facts(later)
        assert facts["setting.synchronous_commit"] == "off"
        assert "synchronous_commit" in facts["settings.changed"].split()
    connection.execute("ALTER DATABASE lab RESET synchronous_commit")


def test_a_sound_environment_passes(environment, connection):
    assert failed(environment, objects=0) == {}


def test_a_wrong_count_is_found(environment, connection):
    run(connection, ["CREATE SCHEMA s", "CREATE TABLE s.t (a int)"])
    assert failed(environment, objects=2) == {"objects": "1 (1 table)"}
    assert failed(environment, objects=1) == {}


def test_the_remedy_for_a_wrong_count_works(environment, connection):
    run(connection, ["CREATE SCHEMA s", "CREATE TABLE s.t (a int)", "CREATE TABLE s.u (a int)"])
    fewer, more = (checks.counted(objects.count(connection), expected) for expected in (3, 1))
    assert "`lab.seed --count 3`" in fewer.remedy
    assert "--drop-surplus" not in fewer.remedy
    assert "--objects 2" in more.remedy
    assert "lab.seed --count" not in more.remedy  # it would refuse
    assert "--drop-surplus" in more.remedy
    assert checks.counted(objects.count(connection), 2).passed


def test_an_invalid_index_is_found(environment, connection):
    run(
        connection,
        ["CREATE SCHEMA s", "CREATE TABLE s.t AS SELECT 1 AS a FROM generate_series(1, 2)"],
    )
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON s.t (a)")
    assert failed(environment) == {"no invalid indexes": "s.broken"}


def test_others_and_open_transactions_are_found(environment, connection):
    server = environment.server
    with contextlib.closing(server.connect("postgres", "pgAdmin")) as other:
        other.execute("BEGIN")
        other.execute("SELECT 1")
        found = failed(environment)
        assert "pgAdmin" in found["no other sessions"]
        assert "idle in transaction" in found["no open transactions"]


def test_a_prepared_transaction_is_found(environment, connection):
    run(connection, ["CREATE SCHEMA s", "BEGIN", "CREATE TABLE s.t (a int)"])
    run(connection, ["PREPARE TRANSACTION 'left over'"])
    try:
        assert "left over" in failed(environment)["no open transactions"]
    finally:
        connection.execute("ROLLBACK PREPARED 'left over'")


def test_an_overridden_setting_is_found(environment, connection):
    connection.execute("ALTER DATABASE lab SET work_mem = '1MB'")
    connection.execute("ALTER DATABASE lab SET track_io_timing = off")
    connection.execute("ALTER SYSTEM SET max_wal_size = '1GB'")
    connection.execute("ALTER SYSTEM SET shared_buffers = '128MB'")
    connection.execute("SELECT pg_reload_conf()")
    try:
        assert launch.wait_until(lambda: "max_wal_size" in str(failed(environment)), 5)
        found = failed(environment)["settings as declared"]
        for name in ("track_io_timing", "max_wal_size", "shared_buffers"):
            assert name in found
        assert "work_mem" not in found  # not declared: the passport tells it
    finally:
        connection.execute("ALTER DATABASE lab RESET ALL")
        connection.execute("ALTER SYSTEM RESET ALL")
        connection.execute("SELECT pg_reload_conf()")


def test_settings_declared_since_are_found(environment, connection):
    changed = PostgresEnvironment(
        EmbeddedServer(
            states=environment.server.link.parent,
            environments=environment.server.log.parent,
            name="main",
            user_settings=SETTINGS | {"work_mem": "9MB"},
        )
    )
    assert "work_mem" in failed(changed)["settings as declared"]
    assert "other settings" in changed.inspect().detail


def test_a_long_autovacuum_is_found(environment, connection):
    run(
        connection,
        [
            "CREATE SCHEMA s",
            "CREATE TABLE s.t AS SELECT repeat('x', 500) AS a FROM generate_series(1, 20000)",
            "DELETE FROM s.t",
        ],
    )
    # One that analyses a catalog may be found first.
    assert launch.wait_until(lambda: "VACUUM" in checks.autovacuum(connection, 0.2).found, 30)
    assert not checks.autovacuum(connection, 0.2).passed
    assert checks.autovacuum(connection).passed


def test_too_little_disk_space_is_found(environment):
    data = environment.server.data
    assert disk_space(data).passed
    assert not disk_space(data, least=1 << 60).passed


def test_recovery_is_found(environment):
    environment.stop(QUIET)
    signal_file = environment.server.data / "standby.signal"
    signal_file.touch()
    try:
        environment.start(QUIET)
        assert failed(environment)["not in recovery"] == "in recovery"
    finally:
        environment.stop(QUIET)
        signal_file.unlink()
        environment.start(QUIET)


def test_a_stopped_server_fails_the_first_check(environment):
    environment.stop(QUIET)
    try:
        (check,) = environment.verify(None)
        assert not check.passed
        assert check.remedy
        with pytest.raises(PreconditionError):
            environment.connect("test")
    finally:
        environment.start(QUIET)


def troubles(environment, connection, *statements) -> list[Trouble]:
    found = []
    for statement in statements:
        with pytest.raises(psycopg.Error) as caught:
            connection.execute(statement.encode())
        found.append(environment.trouble(caught.value))
    return found


def test_errors_are_told_apart(environment, connection):
    run(connection, ["CREATE SCHEMA s", "CREATE TABLE s.t (a int)"])
    assert (
        troubles(
            environment,
            connection,
            "CREATE TABLE s.t (a int)",
            "DROP TABLE s.gone",
            "DROP VIEW s.gone",
            "SELECT 1 / 0",
            "no SQL",
            "SELECT pg_terminate_backend(pg_backend_pid())",
            "SELECT 1",
        )
        == [Trouble.OVERTAKEN] * 3 + [Trouble.REFUSED] * 2 + [Trouble.GONE] * 2
    )
    with pytest.raises(psycopg.Error) as caught:
        connection.execute("SELECT 1")
    died = 'PANIC:  could not write to file "pg_wal/1": No space left on device'
    assert environment.trouble(caught.value, died) is Trouble.NO_SPACE
    assert environment.trouble(psycopg.errors.DiskFull()) is Trouble.NO_SPACE


def test_a_boot_is_known_again(environment):
    def boot() -> str:
        with contextlib.closing(environment.connect("test")) as connection:
            return environment.boot(connection)

    first = boot()
    assert boot() == first
    # The server starts anew within itself when a backend is killed.
    with contextlib.closing(environment.connect("test")) as victim:
        os.kill(victim.info.backend_pid, signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            victim.execute("SELECT 1")
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(Exception):
            second = boot()
            break
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert second != first
    environment.stop(QUIET)
    environment.start(QUIET)
    assert boot() not in (first, second)


def test_a_database_that_is_missing_is_made(environment):
    with contextlib.closing(environment.server.connect("postgres", "ddl-lab test")) as connection:
        connection.execute("DROP DATABASE lab WITH (FORCE)")
    with contextlib.closing(environment.connect("test")) as connection:
        assert environment.count_objects(connection).total == 0
    assert [step.name for step in environment.start(QUIET)] == ["server"]


def test_metrics_and_costs_are_those_of_the_target(environment, connection):
    with contextlib.closing(environment.connect("measured")) as measured:
        environment.settle(measured)
        reading = environment.read_metrics(connection, measured.info.backend_pid)
    assert reading.boot == environment.boot(connection)
    assert reading.series
    sheet = registry.target("postgres").cost_sheet("create-table", "autocommit")
    names = {series.name for series in reading.series}
    for quantity in sheet.quantities:
        assert names.issuperset(quantity.series)
