"""What a real upstream was asked is seen: by whom, how often, for how long, and in what shape."""

import contextlib
import threading
import time

import psycopg
import pytest
from watched_support import QUIET, as_role, by_shape, moved, watched_upstream, workspace

from lab.core.errors import LabError, PreconditionError
from lab.metrics.reading import Kind, difference
from lab.upstream.activity import SHAPES, Activity
from lab.upstream.base import MAINTENANCE
from lab.upstream.embedded import SETTINGS

DATABASE = "upstream"


@pytest.fixture(scope="module")
def upstream():
    with workspace() as place, watched_upstream(place) as made:
        yield made


@pytest.fixture(scope="module")
def link(upstream):
    return upstream.link()


@pytest.fixture
def activity(upstream):
    with contextlib.closing(Activity(upstream, DATABASE)) as made:
        assert made.settle(10) == ""
        yield made


@pytest.fixture
def administrator(upstream):
    with upstream.connect("test", MAINTENANCE) as connection:
        yield connection


def replicating(link):
    return as_role(link, replication="database")


class Unlike:
    """An upstream but for what is said."""

    def __init__(self, upstream, **changes):
        self.upstream = upstream
        self.changes = changes

    def __getattr__(self, name):
        return self.changes.get(name, getattr(self.upstream, name))


def test_all_series_are_there_from_the_start_and_only_grow(activity):
    series = activity.read().series
    expected = {"upstream.connections", "upstream.session_time"}
    expected |= {
        f"upstream.{shape}.{what}" for shape in SHAPES for what in ("time", "calls", "rows")
    }
    assert {each.name for each in series} == expected
    assert {each.kind for each in series} == {Kind.COUNTER}
    assert all((each.unit == "ns") == each.name.endswith("time") for each in series)


def test_the_source_and_nobody_else_is_seen(upstream, link, activity, administrator):
    before = activity.read()
    with upstream.connect("somebody", DATABASE) as other:
        other.execute("SELECT oid FROM pg_publication WHERE pubname = 'x'")
    with as_role(link, dbname=MAINTENANCE) as elsewhere:
        elsewhere.execute("SHOW wal_level")
    with replicating(link) as replication:
        replication.pgconn.exec_(b"IDENTIFY_SYSTEM")
    assert not any(moved(difference(before, activity.read())).values())


def test_connections_queries_rows_and_times(link, activity):
    before = activity.read()
    for _ in range(3):
        with as_role(link) as connection:
            connection.execute("SHOW wal_level")
            connection.execute(
                "SELECT tablename FROM pg_publication_tables WHERE pubname = %s", ("ddl_lab",)
            )
            connection.execute("SELECT pg_sleep(0.05)")
    amounts = moved(difference(before, activity.read()))
    assert amounts["upstream.connections"] == 3
    assert 3 * 0.05e9 < amounts["upstream.session_time"] < 3 * 1e9
    assert by_shape(amounts, "calls") == {"connection-checks": 3, "publication": 3, "other": 3}
    assert by_shape(amounts, "rows") == {"publication": 36, "other": 3}
    times = by_shape(amounts, "time")
    assert times["other"] >= 3 * 0.05e9
    assert sum(times.values()) < amounts["upstream.session_time"]


def test_planning_is_part_of_the_time(link, activity, administrator):
    wide = "SELECT " + ", ".join(f"(SELECT max(a) FROM bench_table_{n})" for n in range(1, 13))
    before = activity.read()
    with as_role(link) as connection:
        connection.execute(wide)
    amounts = moved(difference(before, activity.read()))
    row = administrator.execute(
        "SELECT sum(total_plan_time), sum(total_exec_time) FROM pg_stat_statements"
        " WHERE query LIKE '%max(a) FROM bench_table_12%' AND query NOT LIKE '%pg_stat%'"
    ).fetchone()
    assert row[0] > 0
    assert amounts["upstream.other.time"] == pytest.approx(1e6 * (row[0] + row[1]), abs=2)


def test_what_was_asked_is_shown_and_what_is_unknown_is_not_dropped(upstream, link, activity):
    with as_role(link) as connection:
        connection.execute("SELECT oid FROM pg_publication WHERE pubname = 'ddl_lab'")
        connection.execute("SELECT 7 AS strange, 'secret'")
    activity.read()
    assert activity.shapes_seen() == {
        "publication": "SELECT oid FROM pg_publication WHERE pubname = $1",
        "other": "SELECT $1 AS strange, $2",
    }
    assert activity.unknown() == ("SELECT $1 AS strange, $2",)
    # Somebody who begins to watch now has not seen them.
    with contextlib.closing(Activity(upstream, DATABASE)) as later:
        later.read()
        assert (later.shapes_seen(), later.unknown()) == ({}, ())


def test_a_session_that_stays_is_no_delay_and_its_end_is_no_statements(link, activity):
    lasting = as_role(link)
    lasting.execute("SHOW wal_level")
    activity.settle(10)
    before = activity.read()
    assert before.cost_ns < 0.25e9
    lasting.close()
    assert moved(difference(before, activity.read()))["upstream.session_time"] == 0


def test_settle_waits_for_work_to_end(link, activity):
    with as_role(link) as connection:
        work = threading.Thread(target=connection.execute, args=("SELECT pg_sleep(1)",))
        work.start()
        time.sleep(0.2)
        assert "pg_sleep" in activity.settle(0.2)
        started = time.monotonic()
        assert activity.settle(10) == ""
        assert time.monotonic() - started > 0.4
        work.join()


def test_settle_says_what_is_in_the_way(link, activity):
    with as_role(link, autocommit=False) as connection:
        connection.execute("SELECT 1")
        assert "idle in transaction" in activity.settle(0.2)
        connection.rollback()
        assert activity.settle(10) == ""


def test_settle_outlasts_the_pauses_of_a_source_that_copies(link, activity, administrator):
    """It has a slot, and asks once in a while until it has copied all."""
    with replicating(link) as replication:
        replication.pgconn.exec_(b"CREATE_REPLICATION_SLOT copying TEMPORARY LOGICAL pgoutput")
        stop = threading.Event()

        def copy():
            for _ in range(4):
                time.sleep(0.5)
                with as_role(link) as connection:
                    connection.execute("SELECT relpages FROM pg_class WHERE oid = 1")
            stop.set()

        work = threading.Thread(target=copy)
        work.start()
        assert activity.settle(20) == ""
        assert stop.is_set()
        work.join()


def test_a_source_at_rest_may_ask_for_the_position_once_a_second(link, activity):
    with as_role(link) as connection, replicating(link) as replication:
        replication.pgconn.exec_(b"CREATE_REPLICATION_SLOT resting TEMPORARY LOGICAL pgoutput")
        connection.execute("SELECT 1")
        stop = threading.Event()

        def beat():
            while not stop.wait(0.3):
                connection.execute("SELECT pg_current_wal_lsn()")

        work = threading.Thread(target=beat)
        work.start()
        assert activity.settle(8) == ""
        stop.set()
        work.join()


def test_a_reset_makes_the_difference_void(link, activity, administrator):
    with as_role(link) as connection:
        before = activity.read()
        administrator.execute("SELECT pg_stat_statements_reset()")
        for _ in range(50):
            connection.execute("SHOW wal_level")
    after = activity.read()
    assert difference(before, after).void
    assert any("was reset" in note for note in after.notes)
    assert difference(after, activity.read()).void == ""


@pytest.fixture
def room_for_few(upstream, monkeypatch):
    """The server started anew, with a pg_stat_statements of hardly any room."""
    monkeypatch.setitem(SETTINGS, "pg_stat_statements.max", "100")
    upstream.start(QUIET)
    yield
    monkeypatch.undo()
    upstream.start(QUIET)


def test_entries_that_were_dropped_lower_no_sum(room_for_few, upstream, link):
    """A copy is asked for once for each table: no entry stays where there are many tables."""
    entries = "SELECT count(*) FROM pg_stat_statements WHERE query LIKE 'COPY bench_table_1 TO%'"
    with (
        contextlib.closing(Activity(upstream, DATABASE)) as activity,
        as_role(link) as connection,
        upstream.connect("test", MAINTENANCE) as administrator,
    ):
        with connection.cursor().copy("COPY bench_table_1 TO STDOUT") as copy:
            copy.read()
        before = activity.read()
        assert administrator.execute(entries).fetchone() == (1,)
        for turn in range(100):
            many = "; ".join(f"SET made.up_{turn}_{i} = 1" for i in range(5))
            connection.execute(f"SHOW wal_level; {many}")
        after = activity.read()
        assert administrator.execute(entries).fetchone() == (0,)
    assert any("dropped entries" in note for note in after.notes)
    amounts = moved(difference(before, after))
    assert amounts["upstream.snapshot.calls"] == 0
    assert amounts["upstream.connection-checks.calls"] == 100


def test_a_server_whose_log_is_unseen(upstream, link):
    class Unseen:
        def follow_log(self):
            return None

    with contextlib.closing(Activity(Unlike(upstream, provider=Unseen()), DATABASE)) as activity:
        before = activity.read()
        with as_role(link) as connection:
            connection.execute("SHOW wal_level")
        deadline = time.monotonic() + 10
        while True:
            after = activity.read()
            amounts = moved(difference(before, after))
            if amounts["upstream.connections"] or time.monotonic() > deadline:
                break
    assert amounts["upstream.connections"] == 1
    assert "upstream.session_time" not in amounts
    assert by_shape(amounts, "calls") == {"connection-checks": 1}
    assert any("log cannot be seen" in note for note in after.notes)


def test_an_upstream_that_does_not_tell_what_it_is_asked(upstream):
    def connect(purpose, database):
        return upstream.connect(purpose, DATABASE)  # where the extension is not installed

    with pytest.raises(PreconditionError) as raised:
        Activity(Unlike(upstream, connect=connect), DATABASE)
    assert raised.value.code == "upstream.unfit"


def test_a_restart_voids_and_a_new_activity_goes_on(upstream, link, activity):
    before = activity.read()
    upstream.stop(QUIET)
    with pytest.raises((psycopg.OperationalError, LabError)):
        activity.read()
    with pytest.raises(PreconditionError):
        Activity(upstream, DATABASE)
    upstream.start(QUIET)
    with contextlib.closing(Activity(upstream, DATABASE)) as later:
        assert later.settle(10) == ""
        assert difference(before, later.read()).void == "the server was restarted"
