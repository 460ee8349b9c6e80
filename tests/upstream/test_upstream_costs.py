"""The upstream's part of a cost tree: on made figures, and on a real server that is far away."""

import contextlib
import statistics
import time

import msgspec
import pytest
from delay_proxy import DelayProxy
from watched_support import (
    as_role,
    by_shape,
    import_table,
    moved,
    point_at,
    reader,
    watched_upstream,
    workspace,
)

from lab.metrics.attribute import attribute
from lab.metrics.reading import Change, Delta, difference
from lab.metrics.tree import CostSheet
from lab.upstream.activity import SHAPES, Activity
from lab.upstream.costs import roots, with_round_trips
from lab.upstream.probe import probe

MS = 1_000_000
ROUND_TRIPS = "round trips (from the probe)"
WITHOUT_SESSIONS = "upstream (queries and round trips)"
DELAY_S = 0.02


def made(statements=10, **per_statement):
    """A delta with each shape's (calls, ms) and rows of none; the rest is zero."""
    extra = per_statement.pop("extra", {})
    shapes = {name.replace("_", "-"): found for name, found in per_statement.items()}
    changes = []
    for shape in SHAPES:
        calls, ms = shapes.get(shape, (0, 0))
        changes.append(Change(f"upstream.{shape}.time", "ns", ms * MS * statements))
        changes.append(Change(f"upstream.{shape}.calls", "count", calls * statements))
        changes.append(Change(f"upstream.{shape}.rows", "count", 0))
    changes += [
        Change(name, "ns" if "time" in name else "count", each * statements)
        for name, each in extra.items()
    ]
    return Delta(duration_ns=10**9, changes=tuple(changes))


PURIFICATION = {"connection_checks": (4, 1), "publication": (2, 50), "columns": (1, 16)}


def attributed(delta, *, sessions, client_ms, statements=10):
    sheet = CostSheet(roots=roots(sessions=sessions), quantities=())
    return attribute(sheet, delta, statements=statements, client_mean_ns=client_ms * MS)


def nodes(tree):
    for node in tree:
        yield node
        yield from nodes(node.children)


def test_sessions_hold_their_queries_and_round_trips():
    delta = made(
        **PURIFICATION,
        extra={"upstream.connections": 1, "upstream.session_time": 90 * MS},
    )
    found = attributed(with_round_trips(delta, 0.5 * MS), sessions=True, client_ms=140)
    (root,) = found.tree
    assert (root.ns, root.calls, root.nested) == (90 * MS, 1, True)
    children = {node.label: node for node in root.children}
    assert children[ROUND_TRIPS].ns == 7 * 0.5 * MS
    assert children[ROUND_TRIPS].calls == 7
    assert children["publication"].ns == 50 * MS
    assert root.self_ns == (90 - 1 - 50 - 16 - 3.5) * MS
    assert found.unattributed_ns == 50 * MS


def test_without_sessions_the_root_is_the_sum_of_its_parts():
    delta = made(**PURIFICATION, snapshot=(30, 40))
    found = attributed(with_round_trips(delta, MS), sessions=False, client_ms=100)
    root, beside = found.tree
    assert (root.label, root.overlaps, root.nested) == (WITHOUT_SESSIONS, False, True)
    assert {node.label for node in root.children} == {*SHAPES, ROUND_TRIPS} - {"snapshot"}
    assert (root.ns, root.calls) == ((1 + 50 + 16 + 7) * MS, 7)
    assert root.self_ns == 0
    assert (beside.label, beside.overlaps) == ("snapshot", True)
    assert found.unattributed_ns == (100 - 1 - 50 - 16 - 7) * MS


@pytest.mark.parametrize("sessions", [True, False])
def test_what_runs_beside_the_statements_is_in_no_sum(sessions):
    extra = {"upstream.connections": 1, "upstream.session_time": 90 * MS}
    alone = made(**PURIFICATION, extra=extra)
    beside = made(**PURIFICATION, snapshot=(30, 400), extra=extra)
    found = [
        attributed(with_round_trips(delta, MS), sessions=sessions, client_ms=140)
        for delta in (alone, beside)
    ]
    assert found[0].unattributed_ns == found[1].unattributed_ns
    trips = [[node.ns for node in nodes(each.tree) if node.label == ROUND_TRIPS] for each in found]
    assert trips[0] == trips[1] == [7 * MS]
    (copies,) = (node for node in nodes(found[1].tree) if node.label == "snapshot")
    assert (copies.ns, copies.overlaps) == (400 * MS, True)


def test_all_that_can_be_filled_in_is():
    found = attributed(with_round_trips(made(**PURIFICATION), MS), sessions=False, client_ms=75)
    assert found.warnings == ()


def test_void_stays_void():
    void = Delta(duration_ns=1, void="the server was restarted")
    assert with_round_trips(void, MS) == void


@pytest.fixture(scope="module")
def pair():
    """An upstream, and a connection to another server that reads it by postgres_fdw."""
    with (
        workspace() as place,
        watched_upstream(place) as upstream,
        reader(place) as server,
        server.connect("postgres", "test") as connection,
    ):
        yield upstream, connection


class Imported:
    """A transaction of eight imports, by way of a proxy that adds ``delay_s``."""

    def __init__(self, pair, delay_s):
        upstream, connection = pair
        link = upstream.link()
        with (
            DelayProxy(link.host, link.port, delay_s) as proxy,
            contextlib.closing(Activity(upstream, link.database)) as activity,
        ):
            point_at(connection, link, proxy.port)
            connection.execute(import_table(999))  # opens the connection that is kept
            _, round_trip_ns = probe(msgspec.structs.replace(link, port=proxy.port), times=5)
            assert activity.settle(10) == ""
            before = activity.read()
            with connection.transaction(force_rollback=True):
                taken_ns = [self.timed(connection, import_table(n)) for n in range(2, 10)]
                self.delta = difference(before, activity.read())
            self.unknown = activity.unknown()
            connection.execute("SELECT postgres_fdw_disconnect_all()")
        self.client_ns = statistics.mean(taken_ns)
        self.found = attribute(
            CostSheet(roots=roots(sessions=False), quantities=(), rest="the server itself"),
            with_round_trips(self.delta, statistics.median(round_trip_ns)),
            statements=len(taken_ns),
            client_mean_ns=self.client_ns,
        )
        self.by_label = {node.label: node for node in nodes(self.found.tree)}

    @staticmethod
    def timed(connection, sql):
        started = time.perf_counter_ns()
        connection.execute(sql)
        return time.perf_counter_ns() - started


def test_a_delay_on_the_way_is_shown_as_round_trips_and_nowhere_else(pair):
    near, far = Imported(pair, 0.0), Imported(pair, DELAY_S)
    for each in (near, far):
        assert each.unknown == ()
        assert by_shape(moved(each.delta), "calls") == {"imported-catalog": 16, "session": 1}
        assert by_shape(moved(each.delta), "rows") == {"imported-catalog": 8 * 4}
        assert each.found.warnings == ()
    there_and_back_ns = 2 * DELAY_S * 1e9
    added_ns = far.client_ns - near.client_ns
    # Two questions for each import, and one START TRANSACTION for all.
    assert added_ns == pytest.approx(there_and_back_ns * 17 / 8, rel=0.35)
    trips = [each.by_label[ROUND_TRIPS].ns for each in (near, far)]
    assert trips[1] - trips[0] == pytest.approx(added_ns, rel=0.35)
    for label in far.by_label.keys() - {ROUND_TRIPS, WITHOUT_SESSIONS}:
        assert far.by_label[label].ns - near.by_label[label].ns < 0.1 * added_ns
    assert abs(far.found.unattributed_ns) < 0.2 * added_ns


def test_sessions_of_each_statement_are_joined_with_its_latency(pair):
    """What a target does that opens a session for each statement."""
    upstream, _ = pair
    link = upstream.link()
    with contextlib.closing(Activity(upstream, link.database)) as activity:
        activity.settle(10)
        before = activity.read()
        started = time.perf_counter_ns()
        for _ in range(4):
            with as_role(link) as connection:
                connection.execute("SHOW wal_level")
                connection.execute("SELECT oid FROM pg_publication WHERE pubname = 'ddl_lab'")
            time.sleep(0.05)  # what it does itself
        client_ns = (time.perf_counter_ns() - started) / 4
        delta = difference(before, activity.read())
    sheet = CostSheet(roots=roots(sessions=True), quantities=(), rest="the coordinator")
    found = attribute(
        sheet, with_round_trips(delta, 50_000), statements=4, client_mean_ns=client_ns
    )
    (root,) = found.tree
    assert root.calls == 1
    assert root.nested
    assert 0 < root.self_ns < root.ns
    assert found.unattributed_ns > 0.03e9
    assert found.warnings == ()
