"""Foreign tables of a real upstream, on a real PostgreSQL, and what can go wrong between them."""

import contextlib
import shutil
import tempfile
import time
from pathlib import Path

import msgspec
import pytest
from source_support import (
    COLUMNS,
    QUIET,
    TABLES,
    another_password,
    as_administrator,
    failure_of,
    meaning,
    sessions_of_the_role,
    statuses,
    unpublished,
    upstream_in,
)

from lab.core.config import Config, PostgresConfig
from lab.core.errors import ExternalError, LabError, PreconditionError, StateMismatchError
from lab.core.workspace import Workspace
from lab.targets import registry
from lab.targets.base import Trouble
from lab.upstream.base import ROLE

# Whatever this server does is in its log: the password must not be.
TALKATIVE = {"log_statement": "all", "log_min_duration_statement": "0"}
SERVER = "ddl_lab_upstream"


@pytest.fixture(scope="module")
def both():
    """A target and an upstream in one workspace."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1e9
    root = Path(tempfile.mkdtemp(prefix="ddl-lab-test-", dir=memory if roomy else None))
    root.chmod(0o755)
    workspace = Workspace(root)
    workspace.prepare()
    config = Config(postgres=PostgresConfig(settings=TALKATIVE))
    environment = registry.target("postgres").environment(workspace, config)
    try:
        with upstream_in(workspace) as upstream:
            environment.start(QUIET)
            yield environment, upstream
    finally:
        environment.reset(QUIET)
        shutil.rmtree(root)


@pytest.fixture
def environment(both):
    return both[0]


@pytest.fixture
def upstream(both):
    return both[1]


@pytest.fixture
def connection(environment):
    with contextlib.closing(environment.connect("test")) as connection:
        yield connection


@pytest.fixture
def unconnected(environment, upstream, connection):
    """A sourcing of which nothing is there."""
    sourcing = environment.sourcing(upstream.link(), "no cluster")
    yield sourcing
    sourcing.disconnect(connection, QUIET)


@pytest.fixture
def sourcing(unconnected, connection):
    unconnected.connect(connection, QUIET)
    return unconnected


def batch(connection, sourcing, *numbers) -> None:
    with connection.transaction():
        for number in numbers:
            connection.execute(sourcing.create(number).encode())


def test_it_is_made_once(unconnected, connection):
    assert unconnected.state(connection).name == "missing"
    assert any(line.startswith("+ foreign server") for line in unconnected.look(connection))
    with pytest.raises(PreconditionError) as failure:
        unconnected.references(connection)
    assert failure.value.code == "source.missing"

    first = unconnected.connect(connection, QUIET)
    again = unconnected.connect(connection, QUIET)

    assert statuses(first) == {"source": "changed", "references": "ok"}
    assert statuses(again) == {"source": "ok", "references": "ok"}
    assert unconnected.look(connection) == ()
    assert unconnected.state(connection).name == "running"
    assert unconnected.references(connection) == frozenset(range(1, TABLES + 1))


def test_a_transaction_makes_tables_that_count_apart(environment, sourcing, connection):
    before = environment.count_objects(connection)
    with contextlib.closing(environment.connect("measured")) as measured:
        for statement in sourcing.warm_up:
            measured.execute(statement.encode())
        batch(measured, sourcing, *range(1, 11))

    after = environment.count_objects(connection)
    assert sourcing.made(connection) == frozenset(range(1, 11))
    assert after.upstream == before.upstream + 10
    assert after.by_type == before.by_type
    assert after.fixtures == before.fixtures
    (left,) = [check for check in environment.verify(before.total) if not check.passed]
    assert left.name == "nothing left by batches"


def test_the_statement_asks_the_upstream_over_one_connection(
    environment, upstream, sourcing, connection
):
    with contextlib.closing(environment.connect("measured")) as measured:
        assert sessions_of_the_role(upstream) == 0
        measured.execute(sourcing.warm_up[0].encode())
        assert sessions_of_the_role(upstream) == 1
        batch(measured, sourcing, 1, 2, 3)
        assert sessions_of_the_role(upstream) == 1
    assert sourcing.made(connection) == {1, 2, 3}


def test_looking_leaves_no_connection_upstream(upstream, sourcing, connection):
    sourcing.references(connection)
    sourcing.state(connection)

    deadline = time.monotonic() + 5
    while sessions_of_the_role(upstream) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sessions_of_the_role(upstream) == 0


def test_the_password_is_in_no_log_and_no_error(environment, upstream, unconnected, connection):
    link = upstream.link()
    unconnected.connect(connection, QUIET)
    log = environment.server.log
    assert "CREATE SCHEMA" in log.read_text()
    assert link.password not in log.read_text()
    assert "USER MAPPING" not in log.read_text()

    wrong = msgspec.structs.replace(link, password="a wrong one")
    with pytest.raises(ExternalError) as failure:
        environment.sourcing(wrong, "").connect(connection, QUIET)
    said = f"{failure.value.what} {failure.value.why} {failure.value.remedy} {failure.value!r}"
    assert failure.value.code == "upstream.refused"
    assert "a wrong one" not in said + log.read_text() + repr(wrong)


def test_a_new_password_is_taken_over(environment, upstream, sourcing, connection):
    link = upstream.link()
    with another_password(upstream, link, "renewed"):
        with contextlib.closing(environment.connect("other")) as other:
            error = failure_of(other, sourcing.create(1))
        assert environment.trouble(error) is Trouble.UPSTREAM
        assert meaning(sourcing, error).code == "upstream.refused"
        assert sourcing.state(connection).name == "stalled"

        renewed = environment.sourcing(msgspec.structs.replace(link, password="renewed"), "")
        assert "+ password of the upstream" in renewed.look(connection)
        assert statuses(renewed.connect(connection, QUIET))["source"] == "changed"
        assert renewed.state(connection).name == "running"


def test_a_publication_that_lacks_a_table(upstream, sourcing, connection):
    with unpublished(upstream, 7), pytest.raises(StateMismatchError) as failure:
        sourcing.connect(connection, QUIET)
    assert failure.value.code == "source.references"
    assert "1 table (7)" in failure.value.why

    assert statuses(sourcing.connect(connection, QUIET))["references"] == "ok"


def test_a_table_that_is_gone_upstream_makes_nothing(upstream, sourcing, connection):
    as_administrator(upstream, "ALTER TABLE public.bench_table_9 RENAME TO other")
    try:
        batch(connection, sourcing, 8, 9)
    finally:
        as_administrator(upstream, "ALTER TABLE public.other RENAME TO bench_table_9")
    assert sourcing.made(connection) == {8}


def test_the_upstream_stops_in_the_middle(environment, upstream, sourcing, connection):
    with contextlib.closing(environment.connect("measured")) as measured:
        measured.execute("BEGIN")
        measured.execute(sourcing.create(1).encode())
        upstream.stop(QUIET)
        try:
            error = failure_of(measured, sourcing.create(2))
            assert measured.execute("COMMIT").statusmessage == "ROLLBACK"
            down = failure_of(measured, sourcing.create(2))
            stalled = sourcing.state(connection)
            with pytest.raises(PreconditionError) as failure:
                sourcing.connect(connection, QUIET)
        finally:
            upstream.start(QUIET)

        for each in (error, down):
            assert environment.trouble(each) is Trouble.UPSTREAM
            assert meaning(sourcing, each).code == "upstream.not-running"
        assert stalled.name == "stalled"
        assert "refused" in stalled.error
        assert failure.value.code == "upstream.not-running"
        assert sourcing.made(connection) == frozenset()
        batch(measured, sourcing, 1)
        assert sourcing.state(connection).name == "running"


@pytest.mark.parametrize(
    ("cause", "cure", "code"),
    [
        ("CONNECTION LIMIT 0", "CONNECTION LIMIT -1", "upstream.slots"),
        ("NOLOGIN", "LOGIN", "upstream.refused"),
    ],
)
def test_the_upstream_lets_nobody_in(environment, upstream, sourcing, cause, cure, code):
    as_administrator(upstream, f"ALTER ROLE {ROLE} {cause}")
    try:
        with contextlib.closing(environment.connect("other")) as other:
            error = failure_of(other, sourcing.create(1))
    finally:
        as_administrator(upstream, f"ALTER ROLE {ROLE} {cure}")
    assert environment.trouble(error) is Trouble.UPSTREAM
    assert meaning(sourcing, error).code == code


def test_reading_is_not_allowed(environment, upstream, sourcing, connection):
    batch(connection, sourcing, 1)
    as_administrator(upstream, f"REVOKE SELECT ON public.bench_table_1 FROM {ROLE}")
    try:
        error = failure_of(connection, "SELECT * FROM ddl_lab_batch.bench_table_1")
    finally:
        as_administrator(upstream, f"GRANT SELECT ON public.bench_table_1 TO {ROLE}")
    assert environment.trouble(error) is Trouble.UPSTREAM
    assert meaning(sourcing, error).code == "upstream.publication"


def test_a_name_that_is_taken_is_no_fault_of_the_upstream(environment, sourcing, connection):
    batch(connection, sourcing, 1)
    error = failure_of(connection, sourcing.create(1))
    assert environment.trouble(error) is Trouble.OVERTAKEN


def test_a_source_that_was_dropped(environment, upstream, unconnected, connection):
    error = failure_of(connection, unconnected.create(1))
    assert meaning(unconnected, error).code == "source.missing"


def test_an_older_address_is_replaced_where_no_tables_hang_on_it(
    environment, upstream, sourcing, connection
):
    batch(connection, sourcing, 1)
    connection.execute(f"ALTER SERVER {SERVER} OPTIONS (SET port '1')".encode())
    right = f"+ port {upstream.link().port}"
    assert sourcing.look(connection) == ("- port 1", right)

    with pytest.raises(StateMismatchError) as failure:
        sourcing.connect(connection, QUIET)
    assert failure.value.code == "source.in-use"
    assert "upstream.clean" in failure.value.remedy

    assert sourcing.drop_tables(connection, QUIET) == 1
    made, _ = sourcing.connect(connection, QUIET)
    assert right in made.diff
    assert sourcing.look(connection) == ()


@pytest.mark.parametrize(
    ("lost", "line"),
    [
        (f"DROP USER MAPPING FOR CURRENT_USER SERVER {SERVER}", f"+ role {ROLE}"),
        ("DROP SCHEMA ddl_lab_batch", "+ schema ddl_lab_batch"),
        (f"DROP SCHEMA {SERVER} CASCADE", f"+ schema {SERVER}"),
    ],
)
def test_what_is_lost_is_made_anew(sourcing, connection, lost, line):
    connection.execute(lost.encode())
    assert line in sourcing.look(connection)

    assert statuses(sourcing.connect(connection, QUIET))["source"] == "changed"
    assert sourcing.look(connection) == ()


def test_tables_are_dropped_in_portions(sourcing, connection):
    server = f"FOREIGN TABLE ddl_lab_batch.bench_table_{{}} (a int) SERVER {SERVER}"
    many = "; ".join(f"CREATE {server.format(number)}" for number in range(1, 1203))
    connection.execute(many.encode())

    assert sourcing.drop_tables(connection, QUIET) == 1202
    assert sourcing.drop_tables(connection, QUIET) == 0
    assert sourcing.made(connection) == frozenset()
    assert sourcing.look(connection) == ()


def test_nothing_is_left(environment, sourcing, connection):
    batch(connection, sourcing, 1, 2)

    first = sourcing.disconnect(connection, QUIET)
    again = sourcing.disconnect(connection, QUIET)

    assert statuses(first) == {"tables": "changed", "source": "changed"}
    assert statuses(again) == {"tables": "ok", "source": "ok"}
    assert environment.count_objects(connection).upstream == 0
    schemas = connection.execute("SELECT nspname FROM pg_namespace").fetchall()
    assert not [name for (name,) in schemas if name.startswith("ddl_lab_")]
    assert connection.execute("SELECT count(*) FROM pg_foreign_server").fetchone() == (0,)


def test_a_copy_is_read_beside_it(environment, upstream, sourcing, connection):
    upstream.provision(5, COLUMNS, QUIET, database="upstream_5")
    link = upstream.link(database="upstream_5", name="5")
    copy = environment.sourcing(link, "")
    copy.connect(connection, QUIET)
    try:
        batch(connection, copy, 5)
        assert copy.references(connection) == frozenset(range(1, 6))
        assert (copy.made(connection), sourcing.made(connection)) == ({5}, frozenset())
        assert environment.count_objects(connection).by_type == {}
    finally:
        copy.disconnect(connection, QUIET)
    assert sourcing.look(connection) == ()


def test_no_population_is_seeded_where_it_would_not_count(environment):
    with pytest.raises(LabError) as failure:
        environment.population("table", "ddl_lab_batch_100")
    assert failure.value.code == "population.schema"
