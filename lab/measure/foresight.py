"""What a run is going to take: readings of the counters, time, and room in its file."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec

from lab.core.errors import UsageError
from lab.core.progress import Stage, duration_text
from lab.measure.findings import ReadingCost
from lab.measure.plan import (
    BLOCK_BYTES,
    COST_TURNS,
    FRAME_BYTES,
    SAMPLE_BYTES,
    opening_blocks,
    rounds_foreseen,
)
from lab.measure.record import EVIDENCE_BYTES, Plan
from lab.metrics.reading import Reading
from lab.metrics.tree import CostSheet, Node
from lab.targets.base import Cycle

LEAST_TOLD_S = 10.0
"""How long a run has to take before that is told in advance."""

_FRAME_REST_BYTES = 2_048  # of a block without its samples and readings
_PER_BLOCK = 2  # readings, and counts of the objects


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What one look at the server took before the run.

    ``count_ns`` is what counting the objects took, ``idle_s`` how long the counters are watched at
    rest, 0 where they are not.
    """

    reading: Reading
    count_ns: int
    idle_s: float


def foreseen_readings(
    plan: Plan, cycles: Sequence[Cycle], reading: Reading, *, idle: bool
) -> ReadingCost:
    """Return how often a run of ``plan`` reads the counters at least, and what each may cost."""
    blocks = len(opening_blocks(plan.samples)) + len(_kinds(cycles)) + idle
    return ReadingCost(
        times=_PER_BLOCK * blocks, each_ns=float(reading.cost_ns), bytes=float(reading.bytes)
    )


def readings_text(cost: ReadingCost) -> str:
    """Say in one line what reading the counters is going to cost."""
    page = f" ({cost.bytes / 1e6:.1f} MB)" if cost.bytes else ""
    total = _short(cost.times * cost.each_ns / 1e9)
    each = _short(cost.each_ns / 1e9)
    return f"Counters are read at least {cost.times} times at {each}{page} each: about {total}."


def run_text(
    plan: Plan, cycles: Sequence[Cycle], outlook: Outlook, *, round_s: float, taken_s: float
) -> str:
    """Say in one line how long a run is going to take; empty where that is not long.

    Parameters
    ----------
    round_s:
        What a round takes, in s.
    taken_s:
        What the run took when its first statement was sent, in s.

    """
    looks = foreseen_readings(plan, cycles, outlook.reading, idle=bool(outlook.idle_s)).times
    looking_s = looks * (outlook.reading.cost_ns + outlook.count_ns) / 1e9 + outlook.idle_s
    sampling_s = taken_s + round_s * (plan.warmups + plan.samples)
    total_s = taken_s + round_s * rounds_foreseen(plan) + looking_s
    if total_s < LEAST_TOLD_S:
        return ""
    what = f"{plan.samples:,} samples of each statement, and their costs"
    if sampling_s > plan.budget_s:
        return (
            f"The run is going to take about {duration_text(total_s)}: {what}. That is over its"
            f" budget of {plan.budget_s:g} s, so no samples are added to these."
        )
    return f"The run is going to take {duration_text(total_s)} or more: {what}."


class Paced:
    """A stage that finds out, from the rounds that come first, what a round takes.

    ``tell`` is called once, with that in s, after ``rounds`` rounds; the first of them only begins
    the count.
    """

    def __init__(self, stage: Stage, rounds: int, tell: Callable[[float], None]) -> None:
        self._stage = stage
        self._rounds = max(2, rounds)
        self._tell = tell
        self._ended: list[float] = []

    def advance(self, count: int = 1) -> None:
        """Say that a round of ``count`` statements is done."""
        self._stage.advance(count)
        if len(self._ended) == self._rounds:
            return
        self._ended.append(time.monotonic())
        if len(self._ended) == self._rounds:
            self._tell((self._ended[-1] - self._ended[0]) / (self._rounds - 1))


def require_room(plan: Plan, cycles: Sequence[Cycle], outlook: Outlook, kept: Reading) -> None:
    """Refuse a run whose least blocks do not fit into its file.

    ``kept`` is what a latency block keeps of a reading that is long.

    Raises
    ------
    UsageError
        They do not fit.

    """
    kinds = _kinds(cycles)
    rounds = (plan.warmups + plan.samples) * sum(len(kind) + SAMPLE_BYTES for kind in kinds)
    frame = _frame_foreseen(outlook.reading)
    blocks = len(opening_blocks(plan.samples)) * min(frame, max(BLOCK_BYTES, _frame_foreseen(kept)))
    costs = costs_foreseen(cycles, frame, idle=bool(outlook.idle_s))
    if FRAME_BYTES + rounds + blocks + costs < EVIDENCE_BYTES:
        return
    raise UsageError(
        f"{plan.samples:,} samples of {len(kinds)} kinds of statement do not fit into one run.",
        code="measure.too-many-samples",
        why="The raw samples are kept as evidence in one file of less than 1 MiB, with what the "
        f"server's {len(outlook.reading.series):,} counters said around each block.",
        remedy="Measure fewer samples, or fewer kinds of statement at a time; a session may hold "
        "several runs.",
    )


def costs_foreseen(cycles: Sequence[Cycle], frame: int, *, idle: bool) -> int:
    """Return the bytes of all cost blocks, each of ``frame`` bytes without its samples."""
    kinds = _kinds(cycles)
    samples = COST_TURNS * sum(len(kind) + SAMPLE_BYTES for kind in kinds)
    return (len(kinds) + idle) * frame + samples


def series_of(sheets: Sequence[CostSheet]) -> frozenset[str]:
    """Return the names of all series that ``sheets`` are made of."""

    def below(nodes: Sequence[Node]) -> set[str]:
        return {name for node in nodes for name in (*node.time, *node.calls, *below(node.children))}

    amounts = [each for sheet in sheets for each in (*sheet.quantities, *sheet.disturbances)]
    names = {name for each in amounts for name in each.series}
    return frozenset(names.union(*(below(sheet.roots) for sheet in sheets)))


def _short(seconds: float) -> str:
    """Return a time that may be well below a second: ``4 ms``, ``0.2 s``, ``50 s``."""
    if seconds < 0.1:
        return f"{seconds * 1e3:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else duration_text(seconds)


def _frame_foreseen(reading: Reading) -> int:
    """Return the bytes of a block with readings such as ``reading``, its samples left out."""
    return _FRAME_REST_BYTES + _PER_BLOCK * len(msgspec.json.encode(reading))


def _kinds(cycles: Sequence[Cycle]) -> list[str]:
    return [kind for cycle in cycles for kind in cycle.statements]
