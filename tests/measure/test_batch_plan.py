"""What a batch benchmark sets out to do: sizes, tables, order, and room for its record."""

import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.core.config import BatchConfig
from lab.core.errors import StateMismatchError, UsageError
from lab.measure.batch_plan import (
    delta_bytes,
    kept_deltas,
    make_batch_plan,
    order,
    orders,
    require_tables,
    sweep_orders,
    transactions,
)
from lab.measure.batch_record import Batch
from lab.measure.host_noise import HostNoise
from lab.measure.record import EVIDENCE_BYTES
from lab.metrics.reading import Kind, Reading, Series, difference

STATEMENT = "import-foreign-table"
sizes = st.lists(st.integers(1, 40), min_size=1, max_size=6)


def plan_of(seed=7, **settings):
    return make_batch_plan(BatchConfig(**settings), STATEMENT, seed=seed)


def test_the_default_plan_needs_3573_tables():
    plan = plan_of()
    assert plan.tables_needed == 3573
    assert sum(size for size, _, _ in order(plan)) == 3573
    assert len(order(plan)) == 27


@given(sizes=sizes, repetitions=st.integers(1, 5), seed=st.integers(0, 2**32))
def test_every_size_once_a_repetition_and_no_table_twice(sizes, repetitions, seed):
    plan = plan_of(sizes=tuple(sizes), repetitions=repetitions, seed=seed)
    taken = order(plan)
    tables = [first + place for size, _, first in taken for place in range(size)]
    assert tables == [*range(1, plan.tables_needed + 1)]
    for repetition in range(1, repetitions + 1):
        tried = [size for size, number, _ in taken if number == repetition]
        assert sorted(tried) == sorted(set(sizes))
    assert [number for _, number, _ in taken] == sorted(number for _, number, _ in taken)


def test_the_order_follows_from_the_seed_alone():
    assert order(plan_of(seed=1)) == order(plan_of(seed=1))
    assert order(plan_of(seed=1)) != order(plan_of(seed=2))
    # Written down once: another version of Python has to give the same.
    assert [size for size, _, _ in order(plan_of(seed=1))[:9]] == [
        *(10, 200, 100, 300, 25),
        *(1, 500, 50, 5),
    ]
    by_repetition = [
        [size for size, number, _ in order(plan_of(seed=1)) if number == repetition]
        for repetition in (1, 2, 3)
    ]
    assert by_repetition[0] != by_repetition[1] != by_repetition[2]


def test_sizes_that_are_named_twice_are_tried_once():
    assert plan_of(sizes=(10, 1, 10, 1)).sizes == (10, 1)


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"sizes": ()}, "batch.sizes"),
        ({"sizes": (5, 0)}, "batch.sizes"),
        ({"repetitions": 0}, "batch.repetitions"),
        ({"sweep_size": 0}, "batch.repetitions"),
        ({"sweep": (29,), "sweep_size": 10}, "batch.sweep"),
        ({"sizes": (5000, 4000, 3000), "repetitions": 100}, "batch.too-large"),
    ],
)
def test_nonsense_is_refused(settings, code):
    with pytest.raises(UsageError) as refused:
        plan_of(**settings)
    assert refused.value.code == code
    assert refused.value.why
    assert refused.value.remedy


def test_what_fits_is_named_and_fits():
    with pytest.raises(UsageError, match="100 repetitions") as refused:
        plan_of(sizes=(1000,), repetitions=100)
    most = int(refused.value.remedy.split()[1])
    assert 1 < most < 100
    plan_of(sizes=(1000,), repetitions=most)
    with pytest.raises(UsageError):
        plan_of(sizes=(1000,), repetitions=most + 1)


def test_what_can_never_fit_is_refused_at_once():
    started = time.process_time()
    with pytest.raises(UsageError) as refused:
        plan_of(repetitions=30_000_000)
    assert time.process_time() - started < 0.1
    most = int(refused.value.remedy.split()[1])
    plan_of(repetitions=most)
    with pytest.raises(UsageError, match="do not fit"):
        plan_of(repetitions=most + 1)
    with pytest.raises(UsageError) as refused:
        plan_of(sizes=(100_000,), repetitions=1)
    assert refused.value.remedy.startswith("Take fewer or smaller sizes")


def test_a_sweep_follows_the_sizes_and_uses_its_own_tables():
    plan = plan_of(sizes=(1, 3), repetitions=2, sweep=(20, 30), sweep_size=10)
    assert transactions(plan) == 8
    assert plan.tables_needed == 8
    last = orders(plan)[-1].index
    swept = sweep_orders(plan, last + 1)
    assert [each.index for each in swept] == [5, 6]
    assert [(each.first, each.size) for each in swept] == [(1, 10), (11, 10)]


def test_too_few_tables():
    plan = plan_of()
    require_tables(plan, frozenset(range(1, 3574)))
    with pytest.raises(StateMismatchError) as refused:
        require_tables(plan, frozenset(range(1, 2502)))
    assert refused.value.code == "batch.too-few-tables"
    assert "3,573" in refused.value.what
    assert "2,501" in refused.value.what
    assert "upstream.up --tables 3573" in refused.value.remedy
    assert "--grow" in refused.value.remedy


def reading(count, *, value=0.0):
    series = [Series(f"a.rather.long.name.{i}", Kind.COUNTER, "bytes", value) for i in range(count)]
    return Reading(boot="1", taken_ns=0, cost_ns=0, series=tuple(series))


def test_counters_are_kept_of_as_many_transactions_as_there_is_room_for():
    plan = plan_of(sizes=(1, 2, 3, 4, 5), repetitions=100, sweep=(1000,), sweep_size=10)
    assert kept_deltas(plan, 100) == frozenset(range(1, 601))
    kept = kept_deltas(plan, 3_000)
    assert 100 < len(kept) < 600
    # The sweep is about nothing else.
    assert kept >= frozenset(range(501, 601))
    assert frozenset(range(1, len(kept) - 99)) <= kept
    assert kept_deltas(plan, EVIDENCE_BYTES) == frozenset()


def test_a_record_of_foreseen_size_stays_below_the_limit():
    plan = plan_of(sizes=(1, 500), repetitions=100)
    before, after = reading(40), reading(40, value=98_765_432_109.0)
    telling = frozenset(each.name for each in before.series)
    kept = kept_deltas(plan, delta_bytes(before, before, telling))
    assert 0 < len(kept) < 200
    delta = difference(before, after)
    batches = [
        Batch(
            index=each.index,
            repetition=each.repetition,
            size=each.size,
            first=each.first,
            published=60_000,
            boot="12345@1700000000.123456/1700000000.123456",
            started_at="2026-01-01T00:00:00.000+00:00",
            objects=123_456,
            begin_ns=1_234_567,
            statements_ns=(12_345_678_901,) * each.size,
            commit_ns=12_345_678_901,
            noise=HostNoise(
                load_1min=1.23,
                steal=0.0123456789012345,
                pressure=dict.fromkeys(("cpu", "io", "memory"), 0.123456789012345),
            ),
            server=delta if each.index in kept else None,
            purified=delta if each.index in kept else None,
            committed=delta if each.index in kept else None,
            error="XX000 " + "x" * 194,
            failed_at=1,
        )
        for each in orders(plan)
    ]
    assert EVIDENCE_BYTES // 2 < len(msgspec.json.encode(batches)) < EVIDENCE_BYTES
