"""Carry out one block: timed statements between two looks at the server, within one boot."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
import psycopg

from lab.core.errors import LabError
from lab.measure.host import noise_since, probe_noise
from lab.measure.plan import rounds
from lab.measure.record import AUTOCOMMIT, COST, IDLE, TRANSACTION, Block, Sample
from lab.measure.sampler import TIMEOUT_S, Sampler, answers, undisturbed
from lab.metrics.reading import Reading, difference
from lab.servers.connection import Connection
from lab.targets.base import Cycle, Environment, ObjectCounts, Operation

T = TypeVar("T")


class BlockOrder(msgspec.Struct, frozen=True, kw_only=True):
    """All that is needed to carry out a block, on whichever host its build and state are.

    ``build`` and ``state`` name the environment, ``boot`` the start of the server that the run
    belongs to. The first round has the number ``first``, and the first ``warmups`` rounds are
    flagged. ``position`` picks one statement of each cycle, which runs alone (a cost block); None
    takes the cycles whole and permuted. ``objects`` is what must be found before and after, but for
    the fixtures, of which every block but one for costs must leave as many as it found. ``idle_s``
    is how long the server is left alone before the statements, if there are any: an idle block has
    none.
    """

    build: str
    state: str
    boot: str
    index: int
    purpose: str
    cycles: tuple[Cycle, ...]
    seed: int
    first: int
    rounds: int
    objects: ObjectCounts
    warmups: int = 0
    position: int | None = None
    mode: str = AUTOCOMMIT
    idle_s: float = 0.0
    timeout_s: float = TIMEOUT_S

    @property
    def statements(self) -> tuple[str, ...]:
        """The kinds of statement of this block, each once."""
        kinds = [kind for cycle in self.cycles for kind in self._picked(cycle.statements)]
        return tuple(dict.fromkeys(kinds))

    def operations(self) -> tuple[tuple[Operation, ...], ...]:
        """Return the statements of each round, in order."""
        if self.position is None:
            return rounds(self.cycles, self.seed, self.first, self.rounds)
        return tuple(
            tuple(each for cycle in self.cycles for each in self._picked(cycle.operations(number)))
            for number in range(self.first, self.first + self.rounds)
        )

    def _picked(self, of_cycle: Sequence[T]) -> Sequence[T]:
        if self.position is None:
            return of_cycle
        return of_cycle[self.position : self.position + 1]


class Bench(msgspec.Struct, frozen=True):
    """An environment with two open connections: one is measured, the other looks at the server.

    ``connection_ns`` is what opening the measured one took.
    """

    environment: Environment
    measured: Connection
    observer: Connection
    connection_ns: int


class _Taken(msgspec.Struct, frozen=True):
    """The timed part of a block; ``lost`` says why it broke off, empty where it did not."""

    started_at: str
    duration_ns: int
    samples: tuple[Sample, ...]
    lost: str


class _Sight(msgspec.Struct, frozen=True):
    """What the observer sees of the server."""

    boot: str
    objects: ObjectCounts
    reading: Reading


def run_block(bench: Bench, order: BlockOrder, advance: Callable[[int], None]) -> Block:
    """Carry out ``order`` and return its record; a block that breaks off is void, not an error.

    The order of things keeps the lab's own work out of the figures: objects are counted, counters
    read, statements timed, counters read, objects counted. ``advance`` is told how many statements
    were executed after each round, between two statements.

    Raises
    ------
    psycopg.Error, LabError
        The server could not be looked at before the block began, so that there is no block.

    """
    environment, observer = bench.environment, bench.observer
    objects = environment.count_objects(observer)
    bench.environment.settle(bench.measured)
    before = _read(bench)
    probe = probe_noise()
    taken = _take(bench.measured, order, advance)
    noise = noise_since(probe)
    # Once a connection is lost, its part of the counters is gone.
    sight = None if taken.lost else _look(bench, order)
    left = sight.objects if sight else _count_if_it_answers(bench)
    return Block(
        index=order.index,
        purpose=order.purpose,
        statements=order.statements,
        seed=order.seed,
        boot=before.boot,
        started_at=taken.started_at,
        duration_ns=taken.duration_ns,
        connection_ns=bench.connection_ns,
        objects_before=objects,
        objects_after=left,
        samples=taken.samples,
        noise=noise,
        before=before,
        after=sight.reading if sight else None,
        void=taken.lost or _why_void(order, objects, before, sight),
    )


def _take(measured: Connection, order: BlockOrder, advance: Callable[[int], None]) -> _Taken:
    encoded = [
        [(each.statement, each.sql.encode()) for each in operations]
        for operations in order.operations()
    ]
    sampler = Sampler(measured, order.timeout_s)
    execute = sampler.transact if order.mode == TRANSACTION else sampler.time
    samples: list[Sample] = []
    lost = ""
    seen: set[str] = set()
    started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    with undisturbed():
        began = time.perf_counter_ns()
        time.sleep(order.idle_s)
        for number, statements in enumerate(encoded):
            for kind, sql in statements:
                reply = execute(sql)
                samples.append(
                    Sample(
                        kind,
                        order.first + number,
                        reply.sent_ns - began,
                        reply.duration_ns,
                        number < order.warmups,
                        _shortened(kind, reply.lost or reply.error, seen),
                        reply.commit_ns,
                    )
                )
                if reply.lost:
                    lost = f"{kind}: {reply.lost}"
                    break
            if lost:
                break
            advance(len(statements))
        ended = time.perf_counter_ns()
    return _Taken(started_at, ended - began, tuple(samples), lost)


def _shortened(kind: str, error: str, seen: set[str]) -> str:
    """Return ``error`` in full the first time, then its SQLSTATE alone.

    A statement that fails in every round must not make the evidence too large to be kept.
    """
    if not error:
        return ""
    state = error.split(" ", 1)[0] if re.match(r"[0-9A-Z]{5} ", error) else error
    key = f"{kind} {state}"
    if key in seen:
        return state
    seen.add(key)
    return error


def _read(bench: Bench) -> Reading:
    return bench.environment.read_metrics(bench.observer, bench.measured.info.backend_pid)


def _look(bench: Bench, order: BlockOrder) -> _Sight | None:
    try:
        # Between the readings of an idle block nothing at all is asked.
        if order.purpose != IDLE:
            bench.environment.settle(bench.measured)
        reading = _read(bench)
        objects = bench.environment.count_objects(bench.observer)
        return _Sight(bench.environment.boot(bench.observer), objects, reading)
    except (psycopg.Error, LabError):
        return None


def _count_if_it_answers(bench: Bench) -> ObjectCounts | None:
    if not answers(bench.observer):
        return None
    try:
        return bench.environment.count_objects(bench.observer)
    except (psycopg.Error, LabError):
        return None


def _why_void(
    order: BlockOrder, objects: ObjectCounts, before: Reading, sight: _Sight | None
) -> str:
    if sight is None:
        return "the server was lost at the end of the block"
    if sight.boot != order.boot:
        return "the server was restarted"
    changed = changed_counts(order.objects.by_type, objects.by_type)
    changed = changed or changed_counts(order.objects.by_type, sight.objects.by_type)
    # A cost block makes fixtures, or takes away those that the one before it made.
    if not changed and order.purpose != COST:
        changed = changed_counts({"fixture": objects.fixtures}, {"fixture": sight.objects.fixtures})
    if changed:
        return f"the object count changed: {changed}"
    return difference(before, sight.reading).void


def changed_counts(was: Mapping[str, int], now: Mapping[str, int]) -> str:
    """Return which numbers of objects changed, as text; empty where none did."""
    return ", ".join(
        f"{kind} {was.get(kind, 0):,} → {now.get(kind, 0):,}"
        for kind in sorted({*was, *now})
        if was.get(kind, 0) != now.get(kind, 0)
    )
