from __future__ import annotations

import re
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.core.config import MeasureConfig
from lab.core.errors import UsageError
from lab.measure.host_noise import HostNoise
from lab.measure.plan import (
    COST_TURNS,
    ROUNDS_PER_BLOCK,
    foreseen_statements,
    make_plan,
    opening_blocks,
    rounds,
)
from lab.measure.record import EVIDENCE_BYTES, Block, Passport, Plan, Run, Sample
from lab.metrics.reading import Kind, Reading, Series
from lab.targets.base import Cycle, ObjectCounts, Operation, Workload

KINDS = ("create-table", "create-view", "create-index", "alter-rename")
RENAME = Cycle((Operation("alter-rename", "RENAME a"),), (Operation("alter-rename", "RENAME b"),))
CYCLES = (
    *(
        Cycle(
            (
                Operation(f"create-{kind}", f"CREATE {kind} x_{{i}}"),
                Operation(f"drop-{kind}", f"DROP {kind} x_{{i}}"),
            )
        )
        for kind in ("table", "view", "index")
    ),
    RENAME,
)
seeds = st.integers(0, 2**32 - 1)


def test_the_default_plan_takes_what_the_configuration_says() -> None:
    plan = make_plan(MeasureConfig(), seed=7)
    assert (plan.samples, plan.most_samples, plan.warmups, plan.seed) == (30, 200, 3, 7)
    assert plan.statements == MeasureConfig().statements


@pytest.mark.parametrize(
    ("samples", "blocks"),
    [
        (1, (1,)),
        (6, (6,)),
        (10, (10,)),
        (11, (6, 5)),
        (30, (10, 10, 10)),
        (32, (8, 8, 8, 8)),
        (200, (10,) * 20),
        (2000, (100,) * 20),
    ],
)
def test_the_least_number_of_samples_is_taken_in_blocks_alike(
    samples: int, blocks: tuple[int, ...]
) -> None:
    assert opening_blocks(samples) == blocks


def test_the_least_number_of_samples_is_never_above_the_most() -> None:
    assert make_plan(MeasureConfig(samples=300, most_samples=200)).most_samples == 300


def test_without_a_seed_each_plan_has_its_own() -> None:
    assert make_plan(MeasureConfig()).seed != make_plan(MeasureConfig()).seed


def test_a_statement_named_twice_is_measured_once() -> None:
    plan = make_plan(MeasureConfig(statements=("create-view", "create-table", "create-view")))
    assert plan.statements == ("create-view", "create-table")


def test_no_statement_is_refused() -> None:
    with pytest.raises(UsageError) as refusal:
        make_plan(MeasureConfig(statements=()))
    assert refusal.value.code == "measure.no-statement"


def test_what_is_foreseen_counts_warmups_drops_and_costs() -> None:
    plan = make_plan(MeasureConfig(samples=30, warmups=3))
    assert foreseen_statements(plan, CYCLES) == (33 + COST_TURNS) * 7


@given(seeds, st.integers(0, 500), st.integers(1, 20))
def test_rounds_are_permutations_that_keep_pairs_together(seed: int, first: int, n: int) -> None:
    for number, taken in enumerate(rounds(CYCLES, seed, first, n), start=first):
        expected = [each for cycle in CYCLES for each in cycle.operations(number)]
        assert sorted(taken, key=str) == sorted(expected, key=str)
        followers = dict(pairwise(taken))
        for cycle in CYCLES:
            for create, drop in pairwise(cycle.operations(number)):
                assert followers[create] == drop


@given(seeds, st.integers(0, 100), st.integers(1, 20), st.integers(0, 20))
def test_rounds_follow_from_seed_and_number_alone(seed: int, first: int, n: int, cut: int) -> None:
    cut = min(cut, n)
    whole = rounds(CYCLES, seed, first, n)
    assert whole == rounds(CYCLES, seed, first, cut) + rounds(CYCLES, seed, first + cut, n - cut)


def test_every_order_occurs_and_seeds_differ() -> None:
    taken = rounds(CYCLES[:3], 1, 0, 300)
    orders = [tuple(each.statement for each in statements) for statements in taken]
    counts = {order: orders.count(order) for order in orders}
    assert len(counts) == 6
    assert min(counts.values()) > 25  # 50 are expected of each
    assert rounds(CYCLES, 1, 0, 20) != rounds(CYCLES, 2, 0, 20)


def test_a_rename_is_followed_by_the_rename_back() -> None:
    taken = [only.sql for (only,) in rounds([RENAME], 1, 0, 4)]
    assert taken == ["RENAME a", "RENAME b", "RENAME a", "RENAME b"]


numbers = st.integers(1, 2000)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 4), numbers, numbers, st.integers(0, 100))
def test_whatever_is_planned_fits_into_one_file(
    kinds: int, samples: int, most: int, warmups: int
) -> None:
    config = MeasureConfig(
        statements=KINDS[:kinds], samples=samples, most_samples=most, warmups=warmups
    )
    try:
        plan = make_plan(config, seed=2**32 - 1)
    except UsageError as refusal:
        plan = make_plan(msgspec.structs.replace(config, **named(refusal)), seed=2**32 - 1)
    run = largest(plan)
    encoded = msgspec.json.encode(run)
    assert len(encoded) < EVIDENCE_BYTES
    assert msgspec.json.decode(encoded, type=Run) == run


def test_the_most_samples_that_are_named_are_the_most() -> None:
    with pytest.raises(UsageError) as refusal:
        make_plan(MeasureConfig(samples=2000))
    assert refusal.value.code == "measure.too-many-samples"
    most = named(refusal.value)["samples"]
    assert make_plan(MeasureConfig(samples=most)).samples == most
    with pytest.raises(UsageError):
        make_plan(MeasureConfig(samples=most + 1))


def named(refusal: UsageError) -> dict[str, int]:
    """Return the settings that a refusal names, with the most that they may be."""
    said = re.search(r"Set (.*) to ([\d,]+) or less", refusal.remedy)
    assert said
    most = int(said[2].replace(",", ""))
    return {name.removeprefix("measure."): most for name in said[1].split(" and ")}


def largest(plan: Plan) -> Run:
    """Return a run of ``plan`` in which every statement is slow, fails, and is never precise."""
    # Whatever a kind brings with it is called something of about its length.
    kinds = (*plan.statements, *(f"unmake-{kind[7:]}" for kind in plan.statements))
    added = -(-(plan.most_samples - plan.samples) // ROUNDS_PER_BLOCK)
    sizes = [*opening_blocks(plan.samples), *[ROUNDS_PER_BLOCK] * added]
    sizes[-1] -= sum(sizes) - plan.most_samples
    sizes[0] += plan.warmups
    blocks = [block("latency", kinds, size) for size in sizes]
    blocks += [block("cost", (kind,), COST_TURNS) for kind in kinds]
    facts = {f"some.fact-{i}": "a value of usual length" for i in range(100)}
    return Run(
        schema_version=1,
        id="20260101T000000-00000000",
        session=1,
        created_at="2026-01-01T00:00:00+00:00",
        lab_version="0.1.0",
        target="postgres",
        passport=Passport(alike=facts, noted={}),
        plan=plan,
        blocks=tuple(blocks),
        workload=Workload(setup=("CREATE TABLE x",) * 4, cycles=CYCLES, teardown=(), fixtures=2),
    )


def block(purpose: str, kinds: tuple[str, ...], count: int) -> Block:
    series = tuple(
        Series(f"catalog.pg_description.bytes.{i:03}", Kind.COUNTER, "count", 123456789012.0)
        for i in range(100)
    )
    reading = Reading(boot="2026-01-01T00:00:00Z", taken_ns=10**15, cost_ns=10**7, series=series)
    message = "42P07 " + "x" * 194
    return Block(
        index=100,
        purpose=purpose,
        statements=kinds,
        seed=2**32 - 1,
        boot="2026-01-01T00:00:00Z",
        started_at="2026-01-01T00:00:00.000+00:00",
        duration_ns=10**13,
        connection_ns=10**9,
        objects_before=ObjectCounts({"table": 100_000}),
        objects_after=ObjectCounts({"table": 100_000}),
        samples=tuple(
            Sample(kind, 2000, 10**12, 59 * 10**9, False, "42P07" if turn else message)
            for turn in range(count)
            for kind in kinds
        ),
        noise=HostNoise(load_1min=1.23, steal=0.1234, pressure={"cpu": 0.1234, "io": 0.1234}),
        before=reading,
        after=reading,
    )
