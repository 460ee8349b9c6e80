"""Carry out a plan: connections, fixtures, and one block after the other."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psycopg
from psycopg.pq import TransactionStatus

from lab import __version__
from lab.core.errors import ExternalError, LabError, StateMismatchError
from lab.core.progress import Progress, Stage
from lab.measure.block import COST, LATENCY, Bench, BlockOrder, run_block
from lab.measure.cells import MOST_EXCLUDED
from lab.measure.host import host_facts
from lab.measure.passport import make_passport
from lab.measure.plan import (
    COST_TURNS,
    FRAME_BYTES,
    ROUNDS_PER_BLOCK,
    SAMPLE_BYTES,
    opening_blocks,
)
from lab.measure.record import (
    EVIDENCE_BYTES,
    SCHEMA_VERSION,
    Block,
    Passport,
    Plan,
    Run,
    Stop,
    counted,
)
from lab.measure.sampler import TIMEOUT_S, Sampler
from lab.targets.base import Connection, Environment, ObjectCounts, Workload

_CANCEL_S = 5.0
_FIXTURES_S = 15.0


class _LostError(Exception):
    """The server cannot be measured any more; says why."""


class _ChangedError(Exception):
    """The object count is not that of the run any more; says why."""


class _Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What stays the same during a run."""

    bench: Bench
    plan: Plan
    workload: Workload
    build: str
    boot: str
    objects: ObjectCounts
    passport: Passport
    began_s: float
    timeout_s: float


def measure(
    environment: Environment,
    plan: Plan,
    *,
    session: int,
    progress: Progress,
    timeout_s: float = TIMEOUT_S,
) -> Run:
    """Carry out ``plan`` on a running ``environment`` and return the record, not yet written.

    Fixtures are made before and removed afterwards, whatever happens. Where the server is lost on
    the way, or does not answer a statement within ``timeout_s``, the run says so in ``void`` and
    keeps what was measured.

    Raises
    ------
    UsageError
        The target does not know a statement.
    PreconditionError, StateMismatchError
        Nothing runs; or the fixtures are not those that the workload declares.
    ExternalError
        Not one block could be measured.

    """
    from lab.stats.cell import is_precise

    began_s = time.monotonic()
    created_at = datetime.now(UTC)
    workload = environment.workload(plan.statements)
    with _bench(environment) as bench, _fixtures(bench, workload, progress):
        try:
            scene = _look_around(bench, plan, workload, began_s, timeout_s)
        except psycopg.Error as error:
            raise _not_one_block(str(error)) from error
        course = _Course(scene, progress, is_precise)
        course.run()
    return Run(
        schema_version=SCHEMA_VERSION,
        id=f"{created_at:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}",
        session=session,
        created_at=created_at.isoformat(timespec="seconds"),
        lab_version=__version__,
        target=environment.target,
        passport=scene.passport,
        plan=plan,
        blocks=tuple(course.blocks),
        workload=workload,
        stopped=course.stopped,
        void=course.loss or _nothing_counts(course.blocks),
    )


class _Course:
    """The blocks of a run as they are taken, and what the next one follows from.

    ``stopped`` says why sampling ended, ``loss`` why the run broke off, empty where it did not.
    """

    def __init__(
        self,
        scene: _Scene,
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
            self._costs()
        except _ChangedError as change:
            # What was measured before counts; what could come now would be another cell's.
            self._progress.say(f"The run ends early: {change}.")
            self.stopped = self.stopped or Stop.CHANGED
        except _LostError as loss:
            if not self.blocks:
                raise _not_one_block(str(loss)) from loss
            self.stopped = self.stopped or Stop.LOST
            self.loss = str(loss)

    def _first(self) -> None:
        plan = self._scene.plan
        count = plan.warmups + plan.samples
        total = count * sum(len(cycle.templates) for cycle in self._cycles)
        with self._progress.stage("Measuring", total=total, unit="statements") as stage:
            warmups = plan.warmups
            for rounds in opening_blocks(plan.samples):
                self._latency(stage, range(len(self._cycles)), warmups + rounds, warmups=warmups)
                warmups = 0

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
            objects=scene.objects,
            timeout_s=scene.timeout_s,
        )

    def _take(self, stage: Stage, order: BlockOrder) -> None:
        try:
            block = run_block(self._scene.bench, order, stage.advance)
        except (psycopg.Error, LabError) as error:
            raise _LostError(f"block {order.index} could not be begun: {error}") from error
        self.blocks.append(block)
        self._bytes += len(msgspec.json.encode(block))
        if block.after is None or block.objects_after is None:
            raise _LostError(f"block {block.index} broke off: {block.void}")
        if block.objects_after.by_type != self._scene.objects.by_type:
            raise _ChangedError(f"in block {block.index} {block.void}")

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
        frame = max(_frame_bytes(block) for block in self.blocks)
        kinds = sum(len(cycle.templates) for cycle in self._cycles)
        costs = kinds * (frame + COST_TURNS * _SAMPLE_BYTES)
        width = sum(len(self._cycles[index].templates) for index in chosen)
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


def _nothing_counts(blocks: Sequence[Block]) -> str:
    latency = [block for block in blocks if block.purpose == LATENCY]
    if any(not block.void for block in latency):
        return ""
    return f"no block counts; block {latency[0].index}: {latency[0].void}"


def _not_one_block(why: str) -> ExternalError:
    return ExternalError(
        "No block could be measured.",
        code="measure.no-block",
        why=why,
        remedy="Look at the server's log (env.logs), then measure again.",
    )


def _look_around(
    bench: Bench, plan: Plan, workload: Workload, began_s: float, timeout_s: float
) -> _Scene:
    environment, observer = bench.environment, bench.observer
    situation = environment.inspect()
    objects = environment.count_objects(observer)
    if objects.fixtures != workload.fixtures:
        raise StateMismatchError(
            f"There are {objects.fixtures} fixtures and not {workload.fixtures}.",
            code="measure.fixtures",
            why="Something else makes or removes objects where the lab keeps its own.",
            remedy="Stop what works there, then measure again; fixtures are made anew each time.",
        )
    directory = Path(situation.directory) if situation.directory else None
    return _Scene(
        bench=bench,
        plan=plan,
        workload=workload,
        build=situation.build,
        boot=environment.boot(observer),
        objects=objects,
        passport=make_passport(
            target=environment.target,
            mode=plan.mode,
            environment=environment.facts(observer),
            counts=objects,
            host=host_facts(directory),
        ),
        began_s=began_s,
        timeout_s=timeout_s,
    )


@contextlib.contextmanager
def _bench(environment: Environment) -> Iterator[Bench]:
    with contextlib.closing(environment.connect("observe")) as observer:
        started = time.perf_counter_ns()
        with contextlib.closing(environment.connect("measure")) as measured:
            taken = time.perf_counter_ns() - started
            try:
                yield Bench(environment, measured, observer, taken)
            finally:
                _interrupt(measured)


def _interrupt(connection: Connection) -> None:
    """End a statement that is still under way: after Ctrl-C, or when it took too long."""
    with contextlib.suppress(psycopg.Error):
        if connection.info.transaction_status is TransactionStatus.ACTIVE:
            connection.cancel_safe(timeout=_CANCEL_S)


@contextlib.contextmanager
def _fixtures(bench: Bench, workload: Workload, progress: Progress) -> Iterator[None]:
    try:
        failure = _execute(bench.observer, workload.setup)
        if failure:
            raise ExternalError(
                "The fixtures of the measurement cannot be made.",
                code="measure.setup",
                why=failure,
                remedy="Look at the server's log (env.logs), then measure again.",
            )
        yield
    finally:
        # A statement that is still under way holds locks on them.
        _interrupt(bench.measured)
        failure = _execute(bench.observer, workload.teardown)
        if failure:
            progress.say(f"Fixtures were left behind ({failure}); the next run removes them.")


def _execute(connection: Connection, statements: Sequence[str]) -> str:
    """Execute ``statements`` until one fails; return why it did, empty where none did."""
    sampler = Sampler(connection, _FIXTURES_S)
    for statement in statements:
        reply = sampler.time(statement.encode())
        if reply.lost or reply.error:
            return reply.lost or reply.error
    return ""
