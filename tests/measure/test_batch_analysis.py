"""What a batch benchmark says, from records made by hand."""

import random

import msgspec
import pytest
from made_batches import (
    SHAPE,
    batch,
    failed,
    run_of,
    server_delta,
    upstream_delta,
)
from made_runs import MS, QUIET, around, in_blocks
from made_runs import run as ordinary_run

from lab.measure.analysis import analyse
from lab.measure.comparison import compare, find_comparable
from lab.measure.noise import noise_warnings, was_noisy
from lab.stats.positions import Shape
from lab.stats.summary import Verdict


def finding(*batches, **changes):
    return analyse(run_of(*batches, **changes), None).batch


def test_cost_by_size_is_that_of_whole_transactions():
    found = finding(
        batch(1, 4, commit_ms=6),
        batch(10, 4, commit_ms=10, index=2),
        batch(10, 6, commit_ms=10, index=3),
        repetitions=2,
    )
    one, ten = found.sizes
    assert (one.size, one.cost.n, one.cost.ns) == (1, 1, pytest.approx(10 * MS))
    assert one.cost.low_ns is None
    assert (ten.cost.min_ns, ten.cost.max_ns) == (5 * MS, 7 * MS)
    assert (ten.total_ns, ten.commit_ns) == (60 * MS, 10 * MS)
    assert (found.planned, found.carried_out) == (4, 3)


def test_a_failed_repetition_is_no_sample():
    whole = [batch(10, 4, index=index) for index in (1, 2)]
    broken = failed(10, 11, "COMMIT answered ROLLBACK", index=3)
    dropped = batch(10, 400, index=4, void="the upstream was restarted")
    alone, among = finding(*whole), finding(*whole, broken, dropped)
    assert among.sizes[0].cost == alone.sizes[0].cost
    assert (alone.sizes[0].failed, among.sizes[0].failed) == (0, 2)
    assert among.bins == alone.bins
    assert among.shapes == alone.shapes
    (failure,) = among.failures
    assert (failure.size, failure.failed_at) == (10, 11)
    assert failure.error == "COMMIT answered ROLLBACK"
    assert among.void == ("1 × the upstream was restarted",)


def test_a_size_of_which_nothing_counts_has_no_figure():
    found = finding(batch(1), failed(10, 3, index=2), failed(10, 0, index=3))
    size = found.sizes[1]
    assert (size.size, size.cost, size.total_ns, size.failed) == (10, None, None, 2)


def test_nothing_at_all_counts():
    found = analyse(run_of(failed(10, 1), void="no transaction counts; transaction 1: x"), None)
    assert found.batch.sizes[0].cost is None
    assert found.batch.bins == ()
    assert found.batch.first_ns is None
    assert found.batch.fit is None
    assert found.costs == ()
    assert found.void


def noisy(law):
    """Return what a statement takes by position, in ms: ``law`` with 3% noise."""
    generator = random.Random(7)
    return lambda at: law(at) * (1 + 0.03 * (2 * generator.random() - 1))


@pytest.mark.parametrize(
    ("law", "shape"), [(lambda _: 4.0, Shape.CONSTANT), (lambda at: 4 + 0.1 * at, Shape.LINEAR)]
)
def test_the_curve_by_position(law, shape):
    curve = noisy(law)
    sizes = (1, 25, 50, 100) * 3
    batches = [
        batch(size, by_position=curve, first=9, index=index) for index, size in enumerate(sizes, 1)
    ]
    found = finding(*batches)
    assert found.first_ns == 9 * MS
    assert found.fit.shape is shape
    assert found.fit.floor_ns == pytest.approx(4 * MS, rel=0.1)
    if shape is Shape.LINEAR:
        assert found.fit.slope_ns == pytest.approx(0.1 * MS, rel=0.1)
    assert (found.bins[0].first, found.bins[0].last, found.bins[0].n) == (1, 1, 12)


def test_what_the_upstream_was_asked_is_per_statement():
    found = finding(batch(4), batch(6, index=2))
    (shape,) = found.shapes
    assert shape.label == SHAPE
    # Two a statement, and one for each of the two transactions.
    assert shape.calls == pytest.approx(22 / 10)
    assert shape.ns == pytest.approx(2.2 * MS)
    assert shape.rows == pytest.approx(5)
    assert found.connections == 0
    assert (found.connect_ns, found.round_trip_ns) == (6 * MS, MS // 10)


def test_counters_that_are_not_known_are_left_out():
    known = batch(4)
    unknown = batch(6, index=2, server=None, purified=None, committed=None)
    void = batch(6, index=3, purified=upstream_delta(1, void="the counter fell"))
    both = analyse(run_of(known, unknown, void), None)
    assert both.costs[0].samples == 4
    assert both.batch.shapes == finding(known).shapes
    assert both.batch.sizes[1].cost.n == 2


def test_the_cost_of_a_statement_is_the_target_s_and_the_upstream_s():
    found = analyse(run_of(batch(4, 4, commit_ms=4)), None)
    (cost,) = found.costs
    assert (cost.samples, cost.client_ns) == (4, 5 * MS)
    by_label = {node.label: node for node in cost.tree}
    flush = by_label["WAL flush (fsync)"]
    assert (flush.ns, flush.calls) == (pytest.approx(0.5 * MS), pytest.approx(0.25))
    upstream = by_label["upstream (queries and round trips)"]
    assert (upstream.ns, upstream.self_ns) == (pytest.approx(2.475 * MS), pytest.approx(0))
    inner = {node.label: node for node in upstream.children}
    assert inner[SHAPE].ns == pytest.approx(2.25 * MS)
    assert inner["round trips (from the probe)"].ns == pytest.approx(0.225 * MS)
    # What the upstream was never asked is not shown.
    assert "privileges" not in inner
    parts = sum(node.ns for node in cost.tree if node.nested and not node.overlaps)
    assert cost.unattributed_ns == pytest.approx(cost.client_ns - parts)
    wal = next(each for each in cost.amounts if each.label == "WAL")
    assert wal.per_statement == 1000
    # One flush for four statements is as it should be.
    assert not any("whole number" in text for text in cost.warnings)


def test_sessions_that_end_with_each_statement_hold_what_was_asked_in_them():
    purified = upstream_delta(20, connections=10, session_ms=30)
    # What copies the new tables runs beside COMMIT.
    committed = upstream_delta(50, connections=7, session_ms=900)
    found = analyse(run_of(batch(10, purified=purified, committed=committed)), None)
    assert [each.calls for each in found.batch.shapes] == [2]
    root = next(node for node in found.costs[0].tree if node.children)
    assert root.ns == pytest.approx(3 * MS)
    assert root.calls == pytest.approx(1)
    assert found.batch.connections == 1


def test_a_debug_build_shows_shapes_alone():
    swollen = server_delta(10, fsync_ms=100)
    alike = {"build.shapes-only": "debug build"}
    run = run_of(batch(10, 4, server=swollen), alike=alike)
    found = analyse(run, None)
    assert found.shapes_only == "debug build"
    warnings = found.costs[0].warnings
    assert not any("%" in text for text in warnings)


def test_the_sweep_is_apart_from_the_sizes():
    swept = [
        batch(
            5,
            4 + published / 100,
            index=index,
            swept=True,
            published=published,
            purified=upstream_delta(10, ms_a_call=published / 100, rows=published * 5),
        )
        for index, published in enumerate((100, 300, 300), 2)
    ]
    found = finding(batch(1), *swept)
    assert [each.size for each in found.sizes] == [1]
    assert found.carried_out == 1
    few, many = found.sweep
    assert (few.published, few.statements, many.statements) == (100, 5, 10)
    assert (few.client_ns, many.client_ns) == (pytest.approx(5 * MS), pytest.approx(7 * MS))
    assert (few.upstream_ns, many.upstream_ns) == (pytest.approx(2 * MS), pytest.approx(6 * MS))
    assert (few.rows, many.rows) == (100, 300)


def series_of(ms, seed, boot="boot-1"):
    """Return three repetitions of three sizes, 2% noise from one to another."""
    generator = random.Random(seed)
    return [
        batch(size, ms * (1 + 0.02 * generator.gauss(0, 1)), index=index, boot=boot)
        for index, size in enumerate((1, 5, 10) * 3, 1)
    ]


def test_comparison_by_size_and_by_position():
    before = run_of(*series_of(4, 1), name="then")
    now = run_of(*series_of(8, 2, boot="boot-2"), name="now")
    found = analyse(now, (3, before)).comparison
    assert list(found.cells) == [
        *("transaction of 1", "transaction of 5", "transaction of 10"),
        *("position 1", "positions 2 to 10"),
    ]
    assert not found.same_boot
    for name in ("transaction of 10", "position 1", "positions 2 to 10"):
        assert found.cells[name].verdict is Verdict.REGRESSED, name
    again = compare(run_of(*series_of(4, 3, boot="boot-2"), name="now"), (3, before))
    verdicts = {cell.verdict for cell in again.cells.values()}
    assert not verdicts & {Verdict.REGRESSED, Verdict.IMPROVED}


def test_a_slope_by_position_is_not_taken_for_a_drift():
    def piled(seed, boot):
        # Tables pile up, too: each transaction is 1% slower than the one before it.
        curve = noisy(lambda at: 4 + 0.2 * at)
        return [
            batch(100, by_position=lambda at, n=n: curve(at) * 1.01**n, index=n, boot=boot)
            for n in range(1, 10)
        ]

    before = run_of(*piled(1, "boot-1"), name="then")
    found = compare(run_of(*piled(2, "boot-2"), name="now"), (1, before))
    assert {reason for cell in found.cells.values() for reason in cell.reasons} == set()


def test_very_many_samples_are_compared_by_some_of_each_transaction():
    long = [batch(500, 4, index=index, by_position=noisy(lambda _: 4)) for index in range(1, 41)]
    found = compare(run_of(*long, name="now"), (1, run_of(*long, name="then")))
    cell = found.cells["positions 301 to 500"]
    assert cell.after.n == 3_000
    assert cell.verdict is Verdict.NO_MEASURABLE_CHANGE


def test_unlike_passports_are_not_compared():
    before = run_of(*series_of(4, 1), name="then")
    now = run_of(*series_of(8, 2), name="now", alike={"upstream.tables": "3000"})
    found = compare(now, (3, before))
    assert found.cells == {}
    assert [each.field for each in found.differences] == ["upstream.tables"]


def test_a_statement_with_other_sql_is_not_compared():
    before = run_of(*series_of(4, 1), name="then", sql="IMPORT …")
    found = compare(run_of(*series_of(4, 2), name="now"), (3, before))
    assert found.cells == {}
    assert found.reworded == ("import-foreign-table",)


def test_batches_are_compared_with_batches_alone():
    ordinary = ordinary_run(*in_blocks(create_table=around(1)), name="ordinary")
    other = ordinary_run(*in_blocks(create_table=around(1)), name="other")
    before = run_of(*series_of(4, 1), name="then")
    now = run_of(*series_of(4, 2), name="now")
    assert find_comparable(now, [(3, ordinary), (2, before)]) == (2, before)
    assert find_comparable(now, [(3, ordinary)]) is None
    assert find_comparable(other, [(3, before), (2, ordinary)]) == (2, ordinary)
    assert find_comparable(other, [(3, before)]) is None


def test_of_a_run_in_which_nothing_counts_there_is_nothing_to_compare():
    nothing = run_of(failed(10, 1), name="then")
    now = run_of(*series_of(4, 2), name="now")
    assert find_comparable(now, [(3, nothing)]) is None


def test_a_disturbed_host_is_told_and_prevents_verdicts():
    stolen = msgspec.structs.replace(QUIET, steal=0.3)
    calm = run_of(*series_of(4, 1), name="then")
    disturbed = run_of(
        *(msgspec.structs.replace(each, noise=stolen) for each in series_of(8, 2)), name="now"
    )
    assert not was_noisy(calm)
    assert was_noisy(disturbed)
    assert list(noise_warnings(calm)) == []
    assert "in every transaction" in next(noise_warnings(disturbed))
    verdicts = {each.verdict for each in compare(disturbed, (1, calm)).cells.values()}
    assert verdicts == {Verdict.INCONCLUSIVE}
    # A transaction that does not count disturbs nothing.
    long = batch(100, index=10, noise=stolen, void="x")
    assert not was_noisy(run_of(*series_of(4, 1), long))


def test_notes_are_told():
    run = run_of(batch(1))
    record = msgspec.structs.replace(run.batch, notes=("max_tables was raised.",))
    found = analyse(msgspec.structs.replace(run, batch=record), None)
    assert "max_tables was raised" in found.warnings
