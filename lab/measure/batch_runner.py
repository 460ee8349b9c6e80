"""Carry out a batch benchmark: source, tables, transactions, and what has to go afterwards."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psycopg

from lab import __version__
from lab.core.errors import ExternalError, LabError
from lab.core.ids import timed_id
from lab.core.progress import Progress
from lab.measure.batch_course import (
    BatchCourse,
    BatchScene,
    BatchSource,
    ChangedError,
    LostError,
    restricted,
)
from lab.measure.batch_ledger import Ledger
from lab.measure.batch_plan import (
    delta_bytes,
    kept_deltas,
    orders,
    require_room,
    require_tables,
    transactions,
)
from lab.measure.batch_record import BatchPlan, BatchRecord, Probe
from lab.measure.batch_source import drop_made, make_ready
from lab.measure.batch_sweep import sweep
from lab.measure.findings import ReadingCost
from lab.measure.foresight import readings_text, series_of
from lab.measure.host import host_facts
from lab.measure.passport import make_passport
from lab.measure.record import SCHEMA_VERSION, TRANSACTION, Passport, Plan, Run, Stop
from lab.metrics.reading import Delta, difference
from lab.servers.connection import Connection
from lab.targets.base import Cycle, Environment, Operation, Workload
from lab.targets.registry import target
from lab.upstream.activity import Activity
from lab.upstream.base import Link
from lab.upstream.probe import probe
from lab.upstream.upstream import Upstream

TIMEOUT_S = 300.0
"""How long a statement may take before it is given up: a late one may do again all before it."""

BACK_S = 30.0
"""For how long an upstream that does not answer, as in a restart, is waited for."""

_PER_TRANSACTION = 2  # readings of the target's counters
_ANY_TABLE = 987_654_321


def measure_batches(
    environment: Environment,
    upstream: Upstream,
    cluster: str,
    plan: BatchPlan,
    *,
    session: int,
    progress: Progress,
    timeout_s: float = TIMEOUT_S,
    back_s: float = BACK_S,
    keep: bool = False,
) -> Run:
    """Carry out ``plan`` on a running ``environment`` and return the record, not yet written.

    ``cluster`` is where the source runs, for a target that has clusters. The tables that are made
    are dropped afterwards, whatever happens, unless ``keep``. A transaction during
    which the upstream is restarted, or a statement is not answered within ``timeout_s``, counts for
    nothing. Where the target is lost on the way, or an upstream not back within ``back_s``, the run
    says so in ``void`` and keeps what was measured.

    Raises
    ------
    UsageError
        The raw samples would not fit into one file.
    PreconditionError, StateMismatchError
        Nothing runs; too few tables are published; the source is missing or stalled.
    ExternalError
        Not one transaction could be begun.

    """
    require_room(plan)
    created_at = datetime.now(UTC)
    with closing(environment.connect("observe")) as observer:
        stand = _ready(environment, upstream, cluster, plan, observer, progress)
        with _tables_dropped(stand, keep=keep):
            early = _probe(stand)
            around = _look_around(stand, timeout_s, back_s)
            end = _carry_out(stand, around.scene)
            late = _probe(stand)
    ledger = stand.ledger
    if not ledger.batches:
        raise _not_one(end.why)
    return Run(
        schema_version=SCHEMA_VERSION,
        id=timed_id(created_at),
        session=session,
        created_at=created_at.isoformat(timespec="seconds"),
        lab_version=__version__,
        target=environment.target,
        passport=around.passport,
        plan=_run_plan(plan),
        blocks=(),
        workload=_workload(stand.source),
        stopped=end.stopped,
        void=end.why if end.stopped is Stop.LOST else _nothing_counts(ledger),
        batch=_record(stand, early, late, around.idle),
    )


class _Stand(msgspec.Struct, frozen=True, kw_only=True):
    """What a benchmark works with, once it is known to be fit."""

    environment: Environment
    upstream: Upstream
    cluster: str
    plan: BatchPlan
    observer: Connection
    link: Link
    source: BatchSource
    ledger: Ledger
    progress: Progress


class _Around(msgspec.Struct, frozen=True, kw_only=True):
    """What was found before the first transaction."""

    scene: BatchScene
    passport: Passport
    idle: Delta | None


class _End(msgspec.Struct, frozen=True):
    """Why the transactions ended early; empty where they did not."""

    stopped: Stop | None = None
    why: str = ""


def _ready(
    environment: Environment,
    upstream: Upstream,
    cluster: str,
    plan: BatchPlan,
    observer: Connection,
    progress: Progress,
) -> _Stand:
    """Make sure that the plan can be carried out, and make room for its tables."""
    published = tuple(sorted(upstream.published()))
    require_tables(plan, published)
    link = upstream.link()
    sourcing = environment.sourcing(link, cluster)
    ledger = Ledger()
    make_ready(sourcing, observer, published[: plan.tables_needed], progress, ledger.note)
    return _Stand(
        environment=environment,
        upstream=upstream,
        cluster=cluster,
        plan=plan,
        observer=observer,
        link=link,
        source=BatchSource(sourcing=sourcing, database=link.database, tables=published),
        ledger=ledger,
        progress=progress,
    )


@contextlib.contextmanager
def _tables_dropped(stand: _Stand, *, keep: bool) -> Iterator[None]:
    """Drop the tables that were made, on a new connection: the others may be lost or busy."""
    try:
        yield
    finally:
        if not keep:
            drop_made(
                lambda: stand.environment.connect("observe"), stand.source.sourcing, stand.progress
            )


def _probe(stand: _Stand) -> Probe:
    try:
        connect_ns, round_trip_ns = probe(stand.link)
        return Probe(connect_ns=connect_ns, round_trip_ns=round_trip_ns)
    except (psycopg.Error, LabError) as error:
        # The target's way there may be none for the lab, or the upstream was lost meanwhile.
        why = str(error).partition("\n")[0]
        stand.ledger.note(f"reaching the upstream could not be timed: {why}")
        return Probe(connect_ns=(), round_trip_ns=())


def _look_around(stand: _Stand, timeout_s: float, back_s: float) -> _Around:
    environment, observer, plan = stand.environment, stand.observer, stand.plan
    situation = environment.inspect()
    objects = environment.count_objects(observer)
    sheet = target(environment.target).cost_sheet(plan.statement, TRANSACTION)
    telling = series_of([sheet])
    scene = BatchScene(
        environment=environment,
        upstream=stand.upstream,
        observer=observer,
        boot=environment.boot(observer),
        objects=objects,
        telling=telling,
        kept=_kept(stand, telling),
        timeout_s=timeout_s,
        back_s=back_s,
    )
    passport = make_passport(
        target=environment.target,
        mode=TRANSACTION,
        environment={
            **environment.facts(observer),
            **stand.upstream.facts(),
            **_batch_facts(stand),
        },
        counts=objects,
        host=host_facts(Path(situation.directory) if situation.directory else None),
    )
    return _Around(scene=scene, passport=passport, idle=_idle(stand, telling))


def _batch_facts(stand: _Stand) -> dict[str, str]:
    """Return what of the plan must be alike: the tables of earlier transactions stay until the end.

    So a transaction of ten is another thing in a run of sizes up to 500 than in one up to 10.
    """
    plan, cluster = stand.plan, stand.source.sourcing.cluster
    return {
        "batch.statement": plan.statement,
        "batch.sizes": " ".join(str(size) for size in sorted(plan.sizes)),
        "batch.repetitions": str(plan.repetitions),
        **({"batch.cluster": cluster} if cluster else {}),
    }


def _kept(stand: _Stand, telling: frozenset[str]) -> frozenset[int]:
    """Return of which transactions the counters are kept, and tell what reading them takes."""
    environment, observer, ledger = stand.environment, stand.observer, stand.ledger
    reading = environment.read_metrics(observer, observer.info.backend_pid)
    with closing(Activity(stand.upstream, stand.source.database)) as activity:
        kept = kept_deltas(stand.plan, delta_bytes(reading, activity.read(), telling))
    count = transactions(stand.plan)
    if len(kept) < count:
        note = f"the counters are kept for {len(kept):,} of {count:,} transactions"
        ledger.note(f"{note}: there is no room for more in a file of less than 1 MiB")
    cost = ReadingCost(
        times=_PER_TRANSACTION * len(kept),
        each_ns=float(reading.cost_ns),
        bytes=float(reading.bytes),
    )
    if cost.dear:
        stand.progress.say(readings_text(cost))
    return kept


def _idle(stand: _Stand, telling: frozenset[str]) -> Delta | None:
    """Watch the target's counters while nothing is asked; None where they stand still then."""
    environment, observer = stand.environment, stand.observer
    if not environment.idle_s:
        return None
    stand.progress.say(f"The counters are watched at rest for {environment.idle_s:g} s.")
    subject = observer.info.backend_pid
    before = environment.read_metrics(observer, subject)
    time.sleep(environment.idle_s)
    after = environment.read_metrics(observer, subject)
    return restricted(difference(before, after), telling)


def _carry_out(stand: _Stand, scene: BatchScene) -> _End:
    planned = orders(stand.plan)
    progress, ledger = stand.progress, stand.ledger
    total = sum(order.size for order in planned)
    title = f"{len(planned):,} transactions"
    try:
        with (
            closing(BatchCourse(scene, stand.source, ledger, progress)) as course,
            progress.stage(title, total=total, unit="statements") as stage,
        ):
            course.run(planned, stage)
    except ChangedError as change:
        # What was measured before counts; what could come now would be another cell's.
        progress.say(f"The run ends early: {change}.")
        ledger.note(f"the run ended early: {change}")
        return _End(Stop.CHANGED, str(change))
    except LostError as loss:
        return _End(Stop.LOST, str(loss))
    sweep(scene, stand.plan, stand.cluster, ledger, progress)
    return _End()


def _record(stand: _Stand, early: Probe, late: Probe, idle: Delta | None) -> BatchRecord:
    ledger = stand.ledger
    return BatchRecord(
        plan=stand.plan,
        product=stand.source.sourcing.product,
        batches=tuple(ledger.batches),
        probe=early,
        late_probe=late,
        shapes=ledger.shapes,
        unknown=ledger.unknown,
        idle=idle,
        readings=ledger.readings,
        readings_ns=ledger.readings_ns,
        readings_bytes=ledger.readings_bytes,
        notes=ledger.notes,
    )


def _run_plan(plan: BatchPlan) -> Plan:
    """Return the plan of the run that the batches are recorded in."""
    return Plan(
        statements=(plan.statement,),
        samples=plan.tables_needed,
        most_samples=plan.tables_needed,
        warmups=0,
        precision=0.0,
        seed=plan.seed,
        mode=TRANSACTION,
    )


def _workload(source: BatchSource) -> Workload:
    """Return what was executed: the warm-up, and the statement as a template."""
    sourcing = source.sourcing
    template = sourcing.create(_ANY_TABLE).replace(str(_ANY_TABLE), "{i}")
    return Workload(
        setup=sourcing.warm_up,
        cycles=(Cycle((Operation(sourcing.statement, template),)),),
        teardown=(),
        fixtures=0,
    )


def _nothing_counts(ledger: Ledger) -> str:
    batches = [batch for batch in ledger.batches if not batch.swept]
    if any(batch.counts for batch in batches):
        return ""
    first = batches[0]
    return f"no transaction counts; transaction {first.index}: {first.error or first.void}"


def _not_one(why: str) -> ExternalError:
    return ExternalError(
        "No transaction could be measured.",
        code="batch.lost",
        why=why,
        remedy="`upstream.verify` and `env.logs` say what is amiss; then measure again.",
    )
