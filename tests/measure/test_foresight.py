"""What a run is going to take is said before it takes it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from measured_postgres import Altered, MeasuredPostgres

from lab.core.config import MeasureConfig
from lab.core.errors import UsageError
from lab.core.progress import Progress, SilentProgress, Stage
from lab.measure.analysis import analyse
from lab.measure.findings import ReadingCost
from lab.measure.foresight import (
    Outlook,
    Paced,
    foreseen_readings,
    readings_text,
    require_room,
    run_text,
)
from lab.measure.plan import make_plan
from lab.measure.record import EVIDENCE_BYTES, Plan, Run
from lab.measure.runner import measure
from lab.metrics.reading import Kind, Reading, Series
from lab.servers.connection import Connection
from lab.targets.base import Cycle, Operation

PAIR = Cycle((Operation("create-table", "CREATE x_{i}"), Operation("drop-table", "DROP x_{i}")))
CYCLES = (PAIR,) * 5


class Heard:
    """Progress that keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    @contextmanager
    def stage(self, title: str, *, total: int, unit: str, growing: bool = False) -> Iterator[Stage]:
        with SilentProgress().stage(title, total=total, unit=unit) as stage:
            yield stage


def reading(*, cost_ns: int = 0, size: int = 0, series: int = 0) -> Reading:
    made = tuple(Series(f"a_{i:03}", Kind.COUNTER, "ns", 12345678901.0) for i in range(series))
    return Reading(boot="b", taken_ns=1, cost_ns=cost_ns, series=made, bytes=size)


def outlook(*, count_ns: int = 0, idle_s: float = 0.0, **of_reading: int) -> Outlook:
    return Outlook(reading=reading(**of_reading), count_ns=count_ns, idle_s=idle_s)


def plan_of(**settings: Any) -> Plan:
    return make_plan(MeasureConfig(**settings), seed=1)


def measured(environment: Any, plan: Plan, progress: Progress) -> Run:
    return measure(environment, plan, session=3, progress=progress)


def test_readings_are_foreseen_with_their_time_and_bytes() -> None:
    # Three blocks for latency and ten for costs, and one at rest.
    cost = foreseen_readings(
        plan_of(), CYCLES, reading(cost_ns=200_000_000, size=3_900_000), idle=True
    )
    assert cost == ReadingCost(times=28, each_ns=2e8, bytes=3.9e6)
    assert cost.dear
    assert readings_text(cost) == (
        "Counters are read at least 28 times at 0.2 s (3.9 MB) each: about 5.6 s."
    )


@pytest.mark.parametrize(
    ("each_ns", "size", "dear"), [(5e7, 1e6, False), (6e7, 0, True), (1e6, 2e6, True)]
)
def test_what_readings_cost_is_worth_a_word_from_50_ms_or_1_mb(
    each_ns: float, size: float, dear: bool
) -> None:
    assert ReadingCost(times=2, each_ns=each_ns, bytes=size).dear is dear


def test_a_short_run_is_not_foretold() -> None:
    assert run_text(plan_of(), CYCLES, outlook(), round_s=0.05, taken_s=1) == ""


def test_a_run_that_stays_within_its_budget_may_become_longer() -> None:
    said = run_text(plan_of(), CYCLES, outlook(idle_s=5), round_s=0.5, taken_s=1)
    # 33 rounds and 20 for costs, and the idle block.
    assert said == (
        "The run is going to take 32 s or more: 30 samples of each statement, and their costs."
    )


def test_a_run_over_its_budget_says_so_and_keeps_its_least_samples() -> None:
    looks = outlook(cost_ns=200_000_000, count_ns=800_000_000)
    said = run_text(plan_of(), CYCLES, looks, round_s=4.0, taken_s=2)
    assert said.startswith("The run is going to take about 4 min 00 s: 30 samples of each")
    assert "over its budget of 40 s, so no samples are added" in said
    longer = plan_of(budget_s=300)
    assert longer.budget_s == 300
    assert "or more" in run_text(longer, CYCLES, looks, round_s=4.0, taken_s=2)


def test_the_pace_is_that_of_the_rounds_after_the_first() -> None:
    told: list[float] = []
    with SilentProgress().stage("", total=1, unit="") as stage:
        paced = Paced(stage, 3, told.append)
        time.sleep(0.1)  # whatever comes before the first round ends
        for _ in range(5):
            paced.advance(2)
            assert len(told) <= 1
            time.sleep(0.02)
    (round_s,) = told
    assert 0.02 <= round_s < 0.1


def read_at(server: MeasuredPostgres, cost_ns: int, size: int) -> Any:
    def read(connection: Connection, subject: int) -> Reading:
        found = server.read_metrics(connection, subject)
        return msgspec.structs.replace(found, cost_ns=cost_ns, bytes=size)

    return Altered(server, read_metrics=read)


def test_dear_readings_are_announced_before_the_run_and_told_by_it(
    server: MeasuredPostgres,
) -> None:
    progress = Heard()
    plan = plan_of(statements=("create-view",), samples=6, most_samples=6)
    run = measured(read_at(server, 80_000_000, 3_900_000), plan, progress)
    assert progress.said[0] == (
        "Counters are read at least 6 times at 80 ms (3.9 MB) each: about 0.5 s."
    )
    assert analyse(run, None).readings == ReadingCost(times=6, each_ns=8e7, bytes=3.9e6)
    cheap = Heard()
    measured(read_at(server, 4_000_000, 0), plan, cheap)
    assert not any("Counters" in line for line in cheap.said)


class EnoughError(Exception):
    """Something was said."""


class Stopping(Heard):
    """Ends the run as soon as it says how long it is going to take."""

    def say(self, text: str) -> None:
        super().say(text)
        if "going to take" in text:
            raise EnoughError


def test_a_long_run_is_foretold_while_its_first_block_runs(server: MeasuredPostgres) -> None:
    nap = Cycle((Operation("nap", "SELECT pg_sleep(0.02)"),))
    workload = msgspec.structs.replace(server.workload(()), cycles=(nap,))
    environment = Altered(server, workload=lambda statements: workload, idle_s=11.0)
    progress = Stopping()
    began = time.monotonic()
    with pytest.raises(EnoughError):
        measured(environment, plan_of(statements=("nap",), samples=10), progress)
    assert time.monotonic() - began < 5
    said = progress.said[-1]
    assert said.startswith("The run is going to take 1")
    assert "10 samples of each statement" in said


def many_counters(server: MeasuredPostgres, count: int) -> Any:
    def read(connection: Connection, subject: int) -> Reading:
        found = server.read_metrics(connection, subject)
        others = tuple(
            Series(f"some.other.counter.of.the.server.{i:04}", Kind.COUNTER, "count", 123456.0)
            for i in range(count)
        )
        return msgspec.structs.replace(found, series=(*found.series, *others))

    return Altered(server, read_metrics=read)


def test_around_latencies_only_the_counters_that_costs_are_made_of_are_kept_if_they_are_many(
    server: MeasuredPostgres,
) -> None:
    plan = plan_of(statements=("create-view",), samples=60, most_samples=60)
    run = measured(many_counters(server, 400), plan, SilentProgress())
    assert run.void == ""
    assert len(msgspec.json.encode(run)) < EVIDENCE_BYTES
    kept = {block.purpose: len(block.before.series) for block in run.blocks}
    assert kept["latency"] < 100 < 400 < kept["cost"]
    assert all(len(b.before.series) == len(b.after.series) for b in run.blocks if b.after)
    assert analyse(run, None).costs[0].tree
    few = plan_of(statements=("create-view",), samples=6, most_samples=6)
    whole = measured(server, few, SilentProgress())
    assert len({len(block.before.series) for block in whole.blocks}) == 1


def test_counters_that_leave_no_room_are_refused_before_anything_is_measured(
    server: MeasuredPostgres,
) -> None:
    progress = Heard()
    with pytest.raises(UsageError) as refusal:
        measured(many_counters(server, 5000), plan_of(statements=("create-view",)), progress)
    assert refusal.value.code == "measure.too-many-samples"
    assert progress.said == []
    require_room(plan_of(), CYCLES, outlook(series=300), reading(series=40))
    with pytest.raises(UsageError):
        require_room(plan_of(), CYCLES, outlook(series=1500), reading(series=40))
