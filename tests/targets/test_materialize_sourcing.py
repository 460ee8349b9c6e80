"""A source on the stand-in that reads a real upstream, and what can go wrong between them."""

import contextlib

import msgspec
import pytest
from lab_on_materialize import lab_on_materialize
from source_support import (
    COLUMNS,
    QUIET,
    TABLES,
    another_password,
    failure_of,
    meaning,
    statuses,
    unpublished,
    upstream_in,
)

from lab.core.errors import ExternalError, LabTimeoutError, PreconditionError, StateMismatchError
from lab.core.workspace import Workspace
from lab.targets.base import Trouble
from lab.targets.changes import aims
from lab.targets.materialize import sourcing as source_module
from lab.upstream.base import ROLE

CLUSTER = "quickstart"
FLAG = "enable_create_table_from_source"


@pytest.fixture(scope="module")
def both():
    """A target and an upstream in one workspace."""
    with (
        lab_on_materialize() as (driver, environment),
        upstream_in(Workspace(driver.directory)) as upstream,
    ):
        environment.start(QUIET)
        yield driver, environment, upstream


@pytest.fixture
def driver(both):
    return both[0]


@pytest.fixture
def environment(both):
    return both[1]


@pytest.fixture
def upstream(both):
    return both[2]


@pytest.fixture
def connection(environment):
    with contextlib.closing(environment.connect("test")) as connection:
        yield connection


@pytest.fixture
def unconnected(environment, upstream, connection):
    """A sourcing of which nothing is there."""
    sourcing = environment.sourcing(upstream.link(), CLUSTER)
    yield sourcing
    sourcing.disconnect(connection, QUIET)


@pytest.fixture
def sourcing(unconnected, connection):
    unconnected.connect(connection, QUIET)
    return unconnected


def batch(connection, sourcing, *numbers) -> str:
    connection.execute("BEGIN")
    for number in numbers:
        connection.execute(sourcing.create(number).encode())
    return connection.execute("COMMIT").statusmessage


def test_it_is_made_once(environment, unconnected, connection):
    environment.variables.set(FLAG, None, by="test")
    assert f"+ {FLAG} = on" in unconnected.look(connection)
    assert unconnected.state(connection).name == "missing"
    with pytest.raises(PreconditionError) as failure:
        unconnected.references(connection)
    assert failure.value.code == "source.missing"

    first = unconnected.connect(connection, QUIET)
    again = unconnected.connect(connection, QUIET)

    assert statuses(first) == {"variables": "changed", "source": "changed", "references": "ok"}
    assert statuses(again) == {"variables": "ok", "source": "ok", "references": "ok"}
    assert unconnected.look(connection) == ()
    assert unconnected.state(connection).name == "created"
    assert unconnected.references(connection) == frozenset(range(1, TABLES + 1))


def test_what_it_needs_is_set_and_stays(environment, unconnected, connection):
    environment.variables.set(FLAG, None, by="test")
    unconnected.connect(connection, QUIET)

    change = environment.variables.changes()[-1]
    assert (change.name, change.by, change.session) == (FLAG, "upstream.connect", "")
    assert aims(environment.variables.changes(), {FLAG: "off"}) == {FLAG: "on"}
    (now,) = environment.variables.read((FLAG,))
    assert now.value == "on"


def test_a_transaction_makes_tables_that_count_apart(environment, sourcing, connection):
    before = environment.count_objects(connection)
    with contextlib.closing(environment.connect("measured")) as measured:
        for statement in sourcing.warm_up:
            measured.execute(statement.encode())
        assert batch(measured, sourcing, *range(1, 11)) == "COMMIT"

    after = environment.count_objects(connection)
    assert sourcing.made(connection) == frozenset(range(1, 11))
    # Secret, connection and source were there.
    assert (before.upstream, after.upstream) == (3, 13)
    assert after.by_type == before.by_type
    checks = environment.verify(before.total)
    (left,) = [check for check in checks if not check.passed]
    assert left.name == "nothing left by batches"
    assert "items by the gauge" in [check.name for check in checks]


def test_room_for_tables_counts_those_of_the_source(environment, sourcing, connection):
    batch(connection, sourcing, *range(1, 11))
    for limit in (10, None):
        environment.variables.set("max_tables", limit and str(limit), by="test")
        room = next(check for check in environment.verify(None) if check.name.startswith("room"))
        assert room.passed is (limit is None)


def test_limits_are_raised_once(environment, unconnected):
    raised = unconnected.make_room(3573)

    assert {after.name: after.value for _, after in raised} == {
        "max_tables": "5000",
        "max_objects_per_schema": "5000",
    }
    assert unconnected.make_room(3573) == ()
    for before, _ in raised:
        environment.variables.set(before.name, None, by="test")


def test_more_tables_are_published(upstream, environment, sourcing, connection):
    batch(connection, sourcing, 1)
    upstream.provision(TABLES + 5, COLUMNS, QUIET)
    link = upstream.link()
    try:
        grown = environment.sourcing(link, CLUSTER)
        line = "+ 5 tables (21 to 25) of 1 to 25, not to be seen"
        assert line in grown.look(connection)

        steps = grown.connect(connection, QUIET)

        assert statuses(steps) == {"variables": "ok", "source": "ok", "references": "changed"}
        assert grown.references(connection) == frozenset(range(1, TABLES + 6))
        assert grown.made(connection) == {1}
    finally:
        with contextlib.closing(upstream.connect("test")) as administrator:
            for number in range(TABLES + 1, TABLES + 6):
                administrator.execute(f"DROP TABLE public.bench_table_{number}".encode())


def test_a_publication_that_lacks_a_table(environment, upstream, sourcing, connection):
    with unpublished(upstream, 7):
        fewer = environment.sourcing(upstream.link(), CLUSTER)
        with pytest.raises(StateMismatchError) as failure:
            fewer.connect(connection, QUIET)
    assert failure.value.code == "source.references"
    assert "upstream.up" in failure.value.remedy
    assert "1 table (7)" in failure.value.why

    assert statuses(sourcing.connect(connection, QUIET))["references"] == "changed"


def test_a_source_that_sees_nothing_is_given_up(monkeypatch, upstream, sourcing, connection):
    monkeypatch.setattr(source_module, "REFERENCES_S", 0.3)
    numbers = ", ".join(f"public.bench_table_{number}" for number in range(1, TABLES + 1))
    with contextlib.closing(upstream.connect("test")) as administrator:
        administrator.execute(f"ALTER PUBLICATION ddl_lab DROP TABLE {numbers}".encode())
        connection.execute("ALTER SOURCE ddl_lab_upstream.source REFRESH REFERENCES")
        administrator.execute(f"ALTER PUBLICATION ddl_lab ADD TABLE {numbers}".encode())

    with pytest.raises(LabTimeoutError) as failure:
        sourcing.connect(connection, QUIET)
    assert failure.value.code == "source.references"


def test_an_older_port_is_replaced_where_no_tables_hang_on_it(
    environment, upstream, sourcing, connection
):
    link = upstream.link()
    batch(connection, sourcing, 1)
    other = environment.sourcing(msgspec.structs.replace(link, host="localhost"), CLUSTER)
    assert other.look(connection) == ("- host 127.0.0.1", "+ host localhost")

    with pytest.raises(StateMismatchError) as failure:
        other.connect(connection, QUIET)
    assert failure.value.code == "source.in-use"
    assert "upstream.clean" in failure.value.remedy
    assert sourcing.look(connection) == ()

    assert other.drop_tables(connection, QUIET) == 1
    assert other.drop_tables(connection, QUIET) == 0
    assert statuses(other.connect(connection, QUIET))["source"] == "changed"
    assert other.look(connection) == ()
    assert sourcing.look(connection) == ("- host localhost", "+ host 127.0.0.1")


def test_another_cluster(environment, upstream, sourcing, connection):
    elsewhere = environment.sourcing(upstream.link(), "elsewhere")
    assert elsewhere.look(connection) == (f"- cluster {CLUSTER}", "+ cluster elsewhere")
    with pytest.raises(PreconditionError) as failure:
        elsewhere.connect(connection, QUIET)
    assert failure.value.code == "source.cluster"

    assert statuses(sourcing.connect(connection, QUIET))["source"] == "changed"


def test_a_new_password_is_taken_over(environment, upstream, sourcing, connection):
    link = upstream.link()
    with another_password(upstream, link, "renewed"):
        error = failure_of(connection, sourcing.create(1))
        assert environment.trouble(error) is Trouble.UPSTREAM
        assert meaning(sourcing, error).code == "upstream.refused"

        renewed = environment.sourcing(msgspec.structs.replace(link, password="renewed"), CLUSTER)
        made = renewed.connect(connection, QUIET)[1]
        assert "+ password of the upstream" in made.diff
        assert batch(connection, renewed, 1) == "COMMIT"


def test_the_password_is_in_no_log_and_no_error(
    environment, driver, upstream, unconnected, connection
):
    wrong = msgspec.structs.replace(upstream.link(), password="a wrong 'one'")
    with pytest.raises(ExternalError) as failure:
        environment.sourcing(wrong, CLUSTER).connect(connection, QUIET)
    assert failure.value.code == "upstream.refused"
    said = f"{failure.value.what} {failure.value.why} {failure.value.remedy} {failure.value!r}"
    # What was begun with a wrong one is not gone on with.
    unconnected.connect(connection, QUIET)
    files = [path for path in driver.environments.glob("*") if path.is_file()]
    said += "".join(path.read_text(errors="replace") for path in files)
    assert upstream.link().password not in said
    assert "a wrong" not in said + repr(wrong)


def test_the_upstream_stops_in_the_middle(environment, upstream, sourcing, connection):
    connection.execute("BEGIN")
    connection.execute(sourcing.create(1).encode())
    upstream.stop(QUIET)
    try:
        error = failure_of(connection, sourcing.create(2))
        assert connection.execute("COMMIT").statusmessage == "ROLLBACK"
        with pytest.raises(PreconditionError) as failure:
            sourcing.connect(connection, QUIET)
    finally:
        upstream.start(QUIET)

    assert environment.trouble(error) is Trouble.UPSTREAM
    assert meaning(sourcing, error).code == failure.value.code == "upstream.not-running"
    assert sourcing.made(connection) == frozenset()
    assert batch(connection, sourcing, 1, 2) == "COMMIT"


def test_how_it_fares(upstream, sourcing, connection):
    assert sourcing.state(connection).name == "created"
    batch(connection, sourcing, 1)
    assert sourcing.state(connection).name == "running"
    upstream.stop(QUIET)
    try:
        state = sourcing.state(connection)
    finally:
        upstream.start(QUIET)
    assert state.name == "stalled"
    assert "refused" in state.error
    assert sourcing.state(connection).name == "running"


def test_a_source_that_stays_stalled(monkeypatch, driver, sourcing, connection):
    monkeypatch.setattr(source_module, "RECOVERY_S", 0.2)
    batch(connection, sourcing, 1)
    driver.faults(source_error="postgres: slot overtaken")
    try:
        with pytest.raises(ExternalError) as failure:
            sourcing.connect(connection, QUIET)
        assert (failure.value.code, failure.value.why) == (
            "source.stalled",
            "postgres: slot overtaken",
        )
        assert "upstream.clean" in failure.value.remedy
        assert sourcing.made(connection) == {1}

        sourcing.drop_tables(connection, QUIET)
        made = sourcing.connect(connection, QUIET)[1]
    finally:
        driver.faults()
    assert "- source stalled: postgres: slot overtaken" in made.diff


def test_another_session_changes_the_catalog(environment, sourcing, connection):
    connection.execute("BEGIN")
    connection.execute(sourcing.create(1).encode())
    with contextlib.closing(environment.connect("other")) as other:
        other.execute("CREATE SCHEMA theirs")
        other.execute("DROP SCHEMA theirs")
    error = failure_of(connection, sourcing.create(2))

    assert environment.trouble(error) is Trouble.CONFLICT
    assert meaning(sourcing, error).code == "batch.conflict"
    assert connection.execute("COMMIT").statusmessage == "ROLLBACK"


def test_a_limit_within_a_transaction(environment, sourcing, connection):
    environment.variables.set("max_tables", "2", by="test")
    connection.execute("BEGIN")
    for number in (1, 2):
        connection.execute(sourcing.create(number).encode())
    error = failure_of(connection, sourcing.create(3))
    connection.execute("ROLLBACK")

    assert environment.trouble(error) is Trouble.LIMIT
    assert meaning(sourcing, error).code == "batch.limit"
    assert [after.name for _, after in sourcing.make_room(3)] == ["max_tables"]
    assert batch(connection, sourcing, 1, 2, 3) == "COMMIT"


def test_a_table_that_is_not_published(environment, sourcing, connection):
    error = failure_of(connection, sourcing.create(TABLES + 100))
    assert environment.trouble(error) is Trouble.UPSTREAM
    assert meaning(sourcing, error).code == "upstream.publication"


def test_a_source_that_was_dropped(sourcing, connection):
    connection.execute("DROP SOURCE ddl_lab_upstream.source")
    error = failure_of(connection, sourcing.create(1))
    assert meaning(sourcing, error).code == "source.missing"
    assert sourcing.look(connection) == (f"+ source ddl_lab_upstream.source in {CLUSTER}",)


@pytest.mark.parametrize(
    "lost",
    [
        ("SOURCE ddl_lab_upstream.source",),
        ("SOURCE ddl_lab_upstream.source", "CONNECTION ddl_lab_upstream.upstream"),
        ("SCHEMA ddl_lab_upstream CASCADE",),
        ("SCHEMA ddl_lab_batch",),
    ],
)
def test_what_is_lost_is_made_anew(sourcing, connection, lost):
    for what in lost:
        connection.execute(f"DROP {what}".encode())
    assert sourcing.look(connection)

    assert statuses(sourcing.connect(connection, QUIET))["source"] == "changed"
    assert sourcing.look(connection) == ()


def test_a_table_of_somebody_elses_is_not_dropped(environment, sourcing, connection):
    connection.execute(
        "CREATE TABLE public.theirs FROM SOURCE ddl_lab_upstream.source"
        " (REFERENCE public.bench_table_1)"
    )
    try:
        with pytest.raises(ExternalError) as failure:
            sourcing.disconnect(connection, QUIET)
        assert "theirs" in failure.value.why
        assert environment.count_objects(connection).by_type["table"] == 1
    finally:
        connection.execute("DROP TABLE public.theirs")


def test_nothing_is_left(environment, sourcing, connection):
    batch(connection, sourcing, 1, 2)

    first = sourcing.disconnect(connection, QUIET)
    again = sourcing.disconnect(connection, QUIET)

    assert statuses(first) == {"tables": "changed", "source": "changed"}
    assert statuses(again) == {"tables": "ok", "source": "ok"}
    assert environment.count_objects(connection).upstream == 0
    schemas = connection.execute("SELECT name FROM mz_schemas").fetchall()
    assert not [name for (name,) in schemas if name.startswith("ddl_lab_")]


def test_a_copy_is_read_beside_it(environment, upstream, sourcing, connection):
    upstream.provision(5, COLUMNS, QUIET, database="upstream_5")
    link = upstream.link(database="upstream_5", name="5")
    copy = environment.sourcing(link, CLUSTER)
    copy.connect(connection, QUIET)
    try:
        batch(connection, copy, 5)
        assert copy.references(connection) == frozenset(range(1, 6))
        assert (copy.made(connection), sourcing.made(connection)) == ({5}, frozenset())
        assert environment.count_objects(connection).by_type == {}
        assert ROLE in repr(link)
    finally:
        copy.disconnect(connection, QUIET)
    assert sourcing.look(connection) == ()
