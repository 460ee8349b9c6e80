"""Batch benchmarks made by hand: runs and what they say, after a law that the caller chooses."""

from __future__ import annotations

import random
from statistics import median

from notebook_support import PASSPORT

from lab.measure.batch_record import Batch, BatchPlan, BatchRecord, Probe
from lab.measure.findings import (
    Amount,
    Analysis,
    BatchFailure,
    BatchFinding,
    CostFinding,
    ShapeFinding,
    SizeFinding,
    SweepFinding,
)
from lab.measure.host_noise import HostNoise
from lab.measure.record import SCHEMA_VERSION, TRANSACTION, Passport, Plan, Run, Stop
from lab.metrics.tree import Attributed
from lab.stats.batches import table_cost
from lab.stats.positions import PositionFit, Shape, bins
from lab.targets.base import Cycle, Operation, Workload

STATEMENT = "create-table-from-source"
PRODUCT = "CREATE TABLE … FROM SOURCE in transactions"
SIZES = (1, 5, 10, 25, 50, 100, 200, 300, 500)
SQL = "CREATE TABLE ddl_lab_batch.bench_table_{i} FROM SOURCE ddl_lab_upstream.source"

FLOOR_NS = 98e6
SLOPE_NS = 0.9e6
FIRST_NS = 44e6
COMMIT_NS = 23_000_000
"""By this law a table costs about 104 ms in a transaction of 10 and 328 ms in one of 500."""

UPSTREAM = {
    "upstream.setting.wal_level": "logical",
    "upstream.version": "17.6",
    "upstream.provider": "docker",
    "upstream.tables": "3600",
    "upstream.columns": "id int PRIMARY KEY, a int, b text",
}
FAILURES = (
    BatchFailure(
        size=300,
        repetition=2,
        failed_at=213,
        error="40001: another session modified the catalog | <!-- while this DDL ran -->",
    ),
    BatchFailure(size=500, repetition=1, failed_at=501, error="COMMIT answered ROLLBACK"),
)


def statements_ns(size: int, seed: int, slope_ns: float = SLOPE_NS) -> tuple[int, ...]:
    """Return times by position: floor and slope with noise, the first with 44 ms on top."""
    noise = random.Random(seed)
    return tuple(
        round((FLOOR_NS + slope_ns * at + FIRST_NS * (at == 1)) * noise.uniform(0.97, 1.03))
        for at in range(1, size + 1)
    )


def make_batch_run(
    session: int = 23,
    run: str = "20260310T101500-0badcafe",
    *,
    sizes: tuple[int, ...] = SIZES,
    repetitions: int = 3,
    slope_ns: float = SLOPE_NS,
    failures: tuple[BatchFailure, ...] = (),
    sweep: tuple[int, ...] = (),
    unknown: tuple[str, ...] = (),
    void: str = "",
    created_at: str = "2026-03-10T10:15:00+00:00",
    **passport: str,
) -> Run:
    """Return a run of ``repetitions`` of each size; ``failures`` name those that failed."""
    plan = BatchPlan(
        statement=STATEMENT, sizes=sizes, repetitions=repetitions, seed=23, sweep=sweep
    )
    failed = {(each.size, each.repetition): each for each in failures}
    order = [(turn, size) for turn in range(1, repetitions + 1) for size in reversed(sizes)]
    made: list[Batch] = []
    first = 1
    for index, (turn, size) in enumerate(order):
        batch = _batch(index, turn, size, first, slope_ns, failed.get((size, turn)))
        made.append(batch)
        first += size
    return Run(
        schema_version=SCHEMA_VERSION,
        id=run,
        session=session,
        created_at=created_at,
        lab_version="0.1.0",
        target="postgres",
        passport=Passport(
            alike={**PASSPORT, "mode": TRANSACTION, **UPSTREAM, **passport},
            noted={"client.libpq": "18.0"},
        ),
        plan=Plan(
            statements=(STATEMENT,),
            samples=repetitions,
            most_samples=repetitions,
            warmups=0,
            precision=0.03,
            seed=23,
            mode=TRANSACTION,
        ),
        blocks=(),
        workload=Workload(
            setup=(), cycles=(Cycle((Operation(STATEMENT, SQL),)),), teardown=(), fixtures=0
        ),
        stopped=Stop.MOST,
        void=void,
        batch=BatchRecord(
            plan=plan,
            product=PRODUCT,
            batches=tuple(made),
            probe=Probe(connect_ns=(1_100_000,) * 20, round_trip_ns=(41_000,) * 20),
            late_probe=Probe(connect_ns=(1_140_000,) * 20, round_trip_ns=(42_000,) * 20),
            shapes={"publication": "SELECT … FROM pg_publication_tables WHERE pubname = $1"},
            unknown=unknown,
        ),
    )


def _batch(
    index: int, turn: int, size: int, first: int, slope_ns: float, failure: BatchFailure | None
) -> Batch:
    times = statements_ns(size, index, slope_ns)
    if failure:
        times = times[: min(failure.failed_at, size)]
    return Batch(
        index=index,
        repetition=turn,
        size=size,
        first=first,
        published=3600,
        boot="b1",
        started_at=f"2026-03-10T10:{15 + index}:00+00:00",
        objects=1004 + first,
        begin_ns=90_000,
        statements_ns=times,
        commit_ns=COMMIT_NS if not failure else 400_000,
        noise=HostNoise(load_1min=0.42, steal=0.0, pressure={"cpu": 0.012}),
        error=failure.error if failure else "",
        failed_at=failure.failed_at if failure else None,
    )


def make_finding(
    run: Run, *, upstream: bool = True, fit: PositionFit | None = None
) -> BatchFinding:
    """Return what ``run`` says, with ``fit`` in place of one that were computed."""
    assert run.batch is not None
    plan = run.batch.plan
    counted = [batch for batch in run.batch.batches if batch.counts]
    firsts = [batch.statements_ns[0] for batch in counted]
    return BatchFinding(
        product=run.batch.product,
        statement=plan.statement,
        planned=len(plan.sizes) * plan.repetitions,
        carried_out=len(run.batch.batches),
        published=3600,
        sizes=tuple(_size(run, size) for size in plan.sizes),
        bins=bins([batch.statements_ns for batch in counted]),
        first_ns=median(firsts) if firsts else None,
        fit=fit,
        failures=tuple(
            BatchFailure(
                size=each.size,
                repetition=each.repetition,
                failed_at=each.failed_at or 0,
                error=each.error,
            )
            for each in run.batch.batches
            if each.error
        ),
        void=(),
        shapes=SHAPES if upstream else (),
        connections=2.0 if upstream else None,
        connect_ns=1_120_000,
        round_trip_ns=41_500,
        sweep=tuple(
            SweepFinding(
                published=each,
                statements=60,
                client_ns=101e6 + 3000 * each,
                upstream_ns=2e6 + 3000 * each,
                rows=12 + 2 * each,
            )
            for each in plan.sweep
        ),
    )


SHAPES = (
    ShapeFinding(label="publication", calls=2, ns=8.1e6, rows=6000),
    ShapeFinding(label="privileges", calls=3, ns=1.9e6, rows=3),
    ShapeFinding(label="connection-checks", calls=4, ns=0.35e6, rows=4),
    ShapeFinding(label="other", calls=0.02, ns=1200, rows=0),
)

LINEAR = PositionFit(
    shape=Shape.LINEAR,
    first=2,
    last=500,
    transactions=24,
    floor_ns=98.2e6,
    slope_ns=0.9e6,
    slope_low_ns=0.871e6,
    slope_high_ns=0.932e6,
    curvature_ns=0.0,
    growth=5.5,
    detectable_ns=0.022e6,
)
CONSTANT = PositionFit(
    shape=Shape.CONSTANT,
    first=2,
    last=500,
    transactions=24,
    floor_ns=98.2e6,
    slope_ns=0.0,
    slope_low_ns=-0.004e6,
    slope_high_ns=0.006e6,
    curvature_ns=0.0,
    growth=1.0,
    detectable_ns=0.011e6,
)


def _size(run: Run, size: int) -> SizeFinding:
    assert run.batch is not None
    tried = [batch for batch in run.batch.batches if batch.size == size]
    good = [batch for batch in tried if batch.counts]
    if not good:
        return SizeFinding(size=size, cost=None, total_ns=None, commit_ns=None, failed=len(tried))
    return SizeFinding(
        size=size,
        cost=table_cost([batch.total_ns / size for batch in good]),
        total_ns=median(batch.total_ns for batch in good),
        commit_ns=median(batch.commit_ns for batch in good),
        failed=len(tried) - len(good),
    )


def make_batch_analysis(
    run: Run, *, upstream: bool = True, fit: PositionFit | None = LINEAR, shapes_only: str = ""
) -> Analysis:
    """Return an analysis of ``run`` with a tree in which the upstream has its part."""
    return Analysis(
        run=run.id,
        cells=(),
        costs=(make_cost(),) if upstream else (),
        comparison=None,
        void=run.void,
        shapes_only=shapes_only,
        batch=make_finding(run, upstream=upstream, fit=fit),
    )


def make_cost() -> CostFinding:
    """Return costs of 221 ms: 13 ms upstream, 158 ms in the target, the rest not attributed."""
    client = 221e6
    inner = (
        _part("publication", 8.1e6, 2, client),
        _part("privileges", 1.9e6, 3, client),
        _part("connection-checks", 0.35e6, 4, client),
        _part("round trips (from the probe)", 0.4e6, 9, client),
    )
    return CostFinding(
        statement=STATEMENT,
        samples=3573,
        client_ns=client,
        tree=(
            _part("upstream, as seen from there", 13.2e6, 2, client, inner),
            _part("catalog transaction", 158e6, 1, client),
        ),
        unattributed_ns=49.8e6,
        amounts=(Amount("rows returned upstream", 6007, "count"),),
        rest="queueing between the protocol and the coordinator",
    )


def _part(
    label: str, ns: float, calls: float, client: float, inner: tuple[Attributed, ...] = ()
) -> Attributed:
    return Attributed(
        label=label,
        ns=ns,
        share=ns / client,
        calls=calls,
        self_ns=ns - sum(each.ns for each in inner),
        overlaps=False,
        nested=True,
        children=inner,
    )
