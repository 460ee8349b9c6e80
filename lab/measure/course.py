"""The blocks of a run, one after the other: how many, of which statements, and when to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

import msgspec
import psycopg

from lab.core.errors import ExternalError, LabError
from lab.core.progress import Progress, Stage
from lab.measure.block import Bench, BlockOrder, run_block
from lab.measure.cells import MOST_EXCLUDED
from lab.measure.foresight import Outlook, Paced, costs_foreseen, run_text
from lab.measure.plan import (
    BLOCK_BYTES,
    COST_TURNS,
    FRAME_BYTES,
    ROUNDS_PER_BLOCK,
    SAMPLE_BYTES,
    opening_blocks,
)
from lab.measure.record import (
    COST,
    EVIDENCE_BYTES,
    IDLE,
    LATENCY,
    Block,
    Passport,
    Plan,
    Stop,
    counted,
)
from lab.metrics.reading import Reading
from lab.targets.base import ObjectCounts, Workload


class _LostError(Exception):
    """The server cannot be measured any more; says why."""


class _ChangedError(Exception):
    """The object count is not that of the run any more; says why."""


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What stays the same during a run.

    ``telling`` names the series that costs are made of; ``began_s`` is ``time.monotonic``.
    """

    bench: Bench
    plan: Plan
    workload: Workload
    build: str
    boot: str
    objects: ObjectCounts
    passport: Passport
    outlook: Outlook
    telling: frozenset[str]
    began_s: float
    timeout_s: float


class Course:
    """The blocks of a run as they are taken, and what the next one follows from.

    ``stopped`` says why sampling ended, ``loss`` why the run broke off, empty where it did not.
    """

    def __init__(
        self,
        scene: Scene,
        progress: Progress,
        is_precise: Callable[[Sequence[int], float], bool],
    ) -> None:
        self._scene = scene
        self._progress = progress
        self._is_precise = is_precise
        self.blocks: list[Block] = []
        self.stopped: Stop | None = None
        self.loss = ""
        self._cycles = scene.workload.cycles
        # The round of each cycle's next turn. A rename takes turns with the rename back, so that no
        # turn of a cycle may be left out or taken twice.
        self._next = [0] * len(self._cycles)
        self._sampled = 0
        self._bytes = FRAME_BYTES
        self._measuring_s = scene.began_s
        self._frame = 0  # the longest of a block as it was taken, its samples left out

    def run(self) -> None:
        """Take all blocks, or as many as can be taken.

        Raises
        ------
        ExternalError
            Not one block could be begun.

        """
        try:
            self._first()
            self._until_precise()
            self._idle()
            self._costs()
        except _ChangedError as change:
            # What was measured before counts; what could come now would be another cell's.
            self._progress.say(f"The run ends early: {change}.")
            self.stopped = self.stopped or Stop.CHANGED
        except _LostError as loss:
            if not self.blocks:
                raise not_one_block(str(loss)) from loss
            self.stopped = self.stopped or Stop.LOST
            self.loss = str(loss)

    def _first(self) -> None:
        plan = self._scene.plan
        self._measuring_s = time.monotonic()
        count = plan.warmups + plan.samples
        total = count * sum(len(cycle.templates) for cycle in self._cycles)
        with self._progress.stage("Measuring", total=total, unit="statements") as stage:
            warmups = plan.warmups
            paced = Paced(stage, warmups, self._foretell)
            for rounds in opening_blocks(plan.samples):
                self._latency(paced, range(len(self._cycles)), warmups + rounds, warmups=warmups)
                warmups = 0

    def _foretell(self, round_s: float) -> None:
        scene = self._scene
        taken_s = self._measuring_s - scene.began_s
        text = run_text(scene.plan, self._cycles, scene.outlook, round_s=round_s, taken_s=taken_s)
        if text:
            self._progress.say(text)

    def _until_precise(self) -> None:
        """Add blocks until each statement asked for is known well enough, or may take no more."""
        wanted = self._imprecise()
        self.stopped = self._why_stop(wanted)
        if self.stopped is not None:
            return
        left = self._scene.plan.most_samples - self._sampled
        total = left * sum(len(self._cycles[index].templates) for index in wanted)
        title = "Measuring until precise, at most"
        with self._progress.stage(title, total=total, unit="statements") as stage:
            while self.stopped is None:
                left = self._scene.plan.most_samples - self._sampled
                self._latency(stage, wanted, min(ROUNDS_PER_BLOCK, left))
                wanted = self._imprecise()
                self.stopped = self._why_stop(wanted)

    def _why_stop(self, wanted: Sequence[int]) -> Stop | None:
        """Return why no more blocks are added for the cycles ``wanted``; None where one is."""
        plan = self._scene.plan
        if not wanted:
            return Stop.PRECISE
        if self._sampled >= plan.most_samples:
            return Stop.MOST
        if time.monotonic() - self._scene.began_s > plan.budget_s:
            self._progress.say(f"No more samples: the run has taken {plan.budget_s:g} s.")
            return Stop.BUDGET
        if not self._room(wanted):
            self._progress.say("No more samples: the run's file would reach 1 MiB.")
            return Stop.SIZE
        return None

    def _idle(self) -> None:
        """Watch the counters while nothing is asked, where they do not stand still then."""
        idle_s = self._scene.outlook.idle_s
        if not idle_s:
            return
        self._progress.say(f"The counters are watched at rest for {idle_s:g} s.")
        order = self._order(IDLE, [], 0, 0)
        self._take(None, msgspec.structs.replace(order, idle_s=idle_s))

    def _costs(self) -> None:
        total = COST_TURNS * sum(len(cycle.templates) for cycle in self._cycles)
        with self._progress.stage("Costs", total=total, unit="statements") as stage:
            for index, cycle in enumerate(self._cycles):
                for position in range(len(cycle.templates)):
                    order = self._order(COST, [index], self._next[index], COST_TURNS)
                    self._take(stage, msgspec.structs.replace(order, position=position))

    def _latency(
        self, stage: Stage, chosen: Sequence[int], count: int, *, warmups: int = 0
    ) -> None:
        # Cycles drop out and never come back, so those that are left have made the same turns.
        first = self._next[chosen[0]]
        for index in chosen:
            self._next[index] = first + count
        self._sampled += count - warmups
        order = self._order(LATENCY, chosen, first, count)
        self._take(stage, msgspec.structs.replace(order, warmups=warmups))

    def _order(self, purpose: str, chosen: Sequence[int], first: int, count: int) -> BlockOrder:
        scene = self._scene
        return BlockOrder(
            build=scene.build,
            state=scene.bench.environment.state,
            boot=scene.boot,
            index=len(self.blocks) + 1,
            purpose=purpose,
            cycles=tuple(self._cycles[index] for index in chosen),
            seed=scene.plan.seed,
            first=first,
            rounds=count,
            mode=scene.plan.mode,
            objects=scene.objects,
            timeout_s=scene.timeout_s,
        )

    def _take(self, stage: Stage | None, order: BlockOrder) -> None:
        try:
            block = run_block(self._scene.bench, order, stage.advance if stage else _alone)
        except (psycopg.Error, LabError) as error:
            raise _LostError(f"block {order.index} could not be begun: {error}") from error
        block = self._kept(block)
        self.blocks.append(block)
        self._bytes += len(msgspec.json.encode(block))
        if block.after is None or block.objects_after is None:
            raise _LostError(f"block {block.index} broke off: {block.void}")
        if block.objects_after.by_type != self._scene.objects.by_type:
            raise _ChangedError(f"in block {block.index} {block.void}")

    def _kept(self, block: Block) -> Block:
        """Return what is kept of ``block``: not all counters around latencies, if there are many.

        Nothing is made of these but whether the block is void, which is known by now.
        """
        frame = _frame_bytes(block)
        self._frame = max(self._frame, frame)
        if block.purpose != LATENCY or frame < BLOCK_BYTES:
            return block
        telling = self._scene.telling
        return msgspec.structs.replace(
            block,
            before=shortened(block.before, telling),
            after=shortened(block.after, telling) if block.after else None,
        )

    def _imprecise(self) -> list[int]:
        """Return the cycles in which a statement asked for is not yet known well enough."""
        asked = self._scene.plan.statements
        return [
            index
            for index, cycle in enumerate(self._cycles)
            if any(kind in asked and self._wants_more(kind) for kind in cycle.statements)
        ]

    def _wants_more(self, kind: str) -> bool:
        plan = self._scene.plan
        if _failed(self.blocks, kind) > MOST_EXCLUDED:
            return False  # the cell is void, and more of the same would not mend it
        durations = counted(self.blocks, kind)
        return len(durations) < plan.samples or not self._is_precise(durations, plan.precision)

    def _room(self, chosen: Sequence[int]) -> bool:
        """Say whether one more block leaves room for the costs in the evidence."""
        costs = costs_foreseen(self._cycles, self._frame, idle=bool(self._scene.outlook.idle_s))
        width = sum(len(self._cycles[index].templates) for index in chosen)
        frame = max(_frame_bytes(block) for block in self.blocks)
        block = frame + width * ROUNDS_PER_BLOCK * _SAMPLE_BYTES
        return self._bytes + block + costs < EVIDENCE_BYTES


_SAMPLE_BYTES = SAMPLE_BYTES + 40  # with the kind's name


def _frame_bytes(block: Block) -> int:
    return len(msgspec.json.encode(msgspec.structs.replace(block, samples=())))


def _failed(blocks: Sequence[Block], kind: str) -> float:
    """Return the share of the samples of ``kind`` that failed."""
    samples = [
        sample
        for block in blocks
        for sample in block.samples
        if block.purpose == LATENCY and sample.statement == kind and not sample.warmup
    ]
    return sum(1 for sample in samples if sample.error) / max(1, len(samples))


def _alone(count: int) -> None:
    """Take note of nothing: the block belongs to no stage."""


def shortened(reading: Reading, telling: Collection[str]) -> Reading:
    """Return ``reading`` with the series of the names ``telling`` alone."""
    series = tuple(each for each in reading.series if each.name in telling)
    return msgspec.structs.replace(reading, series=series)


def not_one_block(why: str) -> ExternalError:
    """Return the failure of a run that has no block."""
    return ExternalError(
        "No block could be measured.",
        code="measure.no-block",
        why=why,
        remedy="Look at the server's log (env.logs), then measure again.",
    )
