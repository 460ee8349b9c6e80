"""Carry out a plan: connections, fixtures, and one block after the other."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from lab import __version__
from lab.core.errors import ExternalError, StateMismatchError
from lab.core.ids import timed_id
from lab.core.progress import Progress
from lab.measure.block import Bench
from lab.measure.course import Course, Scene, not_one_block, shortened
from lab.measure.foresight import Outlook, foreseen_readings, readings_text, require_room, series_of
from lab.measure.host import host_facts
from lab.measure.passport import make_passport
from lab.measure.record import LATENCY, SCHEMA_VERSION, Block, Plan, Run
from lab.measure.sampler import TIMEOUT_S, Sampler, interrupt
from lab.servers.connection import Connection
from lab.targets.base import Environment, Workload

_FIXTURES_S = 15.0


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
        The target does not know a statement, or its counters leave the samples no room in a file.
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
            raise not_one_block(str(error)) from error
        cost = foreseen_readings(
            plan, workload.cycles, scene.outlook.reading, idle=bool(environment.idle_s)
        )
        if cost.dear:
            progress.say(readings_text(cost))
        course = Course(scene, progress, is_precise)
        course.run()
    return Run(
        schema_version=SCHEMA_VERSION,
        id=timed_id(created_at),
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


def _nothing_counts(blocks: Sequence[Block]) -> str:
    latency = [block for block in blocks if block.purpose == LATENCY]
    if any(not block.void for block in latency):
        return ""
    return f"no block counts; block {latency[0].index}: {latency[0].void}"


def _look_around(
    bench: Bench, plan: Plan, workload: Workload, began_s: float, timeout_s: float
) -> Scene:
    environment, observer = bench.environment, bench.observer
    situation = environment.inspect()
    counted_ns = time.perf_counter_ns()
    objects = environment.count_objects(observer)
    counted_ns = time.perf_counter_ns() - counted_ns
    if objects.fixtures != workload.fixtures:
        raise StateMismatchError(
            f"There are {objects.fixtures} fixtures and not {workload.fixtures}.",
            code="measure.fixtures",
            why="Something else makes or removes objects where the lab keeps its own.",
            remedy="Stop what works there, then measure again; fixtures are made anew each time.",
        )
    outlook = Outlook(
        reading=environment.read_metrics(observer, bench.measured.info.backend_pid),
        count_ns=counted_ns,
        idle_s=environment.idle_s,
    )
    telling = _telling(environment.target, workload, plan.mode)
    kept = shortened(outlook.reading, telling)
    require_room(plan, workload.cycles, outlook, kept)
    directory = Path(situation.directory) if situation.directory else None
    return Scene(
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
        outlook=outlook,
        telling=telling,
        began_s=began_s,
        timeout_s=timeout_s,
    )


def _telling(name: str, workload: Workload, mode: str) -> frozenset[str]:
    """Return the names of the series that the costs of the workload's statements are made of."""
    from lab.targets.registry import target

    sheets = target(name).cost_sheet
    kinds = [kind for cycle in workload.cycles for kind in cycle.statements]
    return series_of([sheets(kind, mode) for kind in kinds])


@contextlib.contextmanager
def _bench(environment: Environment) -> Iterator[Bench]:
    with contextlib.closing(environment.connect("observe")) as observer:
        started = time.perf_counter_ns()
        with contextlib.closing(environment.connect("measure")) as measured:
            taken = time.perf_counter_ns() - started
            try:
                yield Bench(environment, measured, observer, taken)
            finally:
                interrupt(measured)


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
        # A statement that is still under way, or a transaction, holds locks on them.
        interrupt(bench.measured)
        bench.measured.close()
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
