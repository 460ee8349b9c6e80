"""Runs and analyses made by hand, and a workspace to put them into."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from lab.measure.findings import (
    Amount,
    Analysis,
    CellFinding,
    ComparisonFinding,
    CostFinding,
    Difference,
)
from lab.measure.host_noise import HostNoise
from lab.measure.record import SCHEMA_VERSION, Block, Passport, Plan, Run, Sample, Stop
from lab.metrics.reading import Kind, Reading, Series
from lab.metrics.tree import Attributed
from lab.stats.summary import Comparison, Summary, Verdict
from lab.targets.base import Cycle, ObjectCounts, Operation, Workload

STATEMENTS = ("create-table", "drop-table")
WORKLOAD = Workload(
    setup=("CREATE SCHEMA fixture",),
    cycles=(
        Cycle(
            (
                Operation("create-table", "CREATE TABLE t_{i} (a int)"),
                Operation("drop-table", "DROP TABLE t_{i}"),
            )
        ),
    ),
    teardown=("DROP SCHEMA fixture",),
    fixtures=2,
)

PASSPORT = {
    "target": "postgres",
    "mode": "autocommit",
    "server.version": "18.6",
    "state.id": "5f2c",
    "setting.fsync": "on",
    "setting.synchronous_commit": "on",
    "objects.table": "1000",
    "host.cores": "2",
    "host.filesystem": "ext4",
    "client.python": "3.11",
}


def corpus() -> Path:
    """Return the folder of hand-kept files; the test is skipped where there is none."""
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "corpus"
    folder = Path(os.environ.get("LAB_TEST_CORPUS", beside))
    if not (folder / "ddl-perf-log.md").is_file():
        pytest.skip(f"no hand-kept log in {folder} (LAB_TEST_CORPUS names another folder)")
    return folder


def make_run(
    session: int = 1,
    run: str = "20260218T091400-0a1b2c3d",
    *,
    factor: float = 1.0,
    created_at: str = "2026-02-18T09:14:00+00:00",
    void: str = "",
    **passport: str,
) -> Run:
    """Return a run of two statements, 30 samples each in blocks of ten, at 1,000 tables."""
    return Run(
        schema_version=SCHEMA_VERSION,
        id=run,
        session=session,
        created_at=created_at,
        lab_version="0.1.0",
        target="postgres",
        passport=Passport(alike={**PASSPORT, **passport}, noted={"client.libpq": "18.0"}),
        plan=Plan(
            statements=("create-table",),
            samples=30,
            most_samples=200,
            warmups=3,
            precision=0.03,
            seed=7,
        ),
        blocks=_blocks(factor, run),
        workload=WORKLOAD,
        stopped=Stop.PRECISE,
        void=void,
    )


def _blocks(factor: float, boot: str) -> tuple[Block, ...]:
    numbers = random.Random(7)  # the same noise in each run, so that only the factor differs
    samples = [
        Sample(
            statement,
            turn,
            turn * 5_000_000,
            round(base * factor * numbers.uniform(0.97, 1.03)),
            warmup=turn < 3,
        )
        for turn in range(33)
        for statement, base in zip(STATEMENTS, (1.04e6, 0.52e6), strict=True)
    ]
    parts = (samples[:26], samples[26:46], samples[46:])
    return tuple(_block(index, tuple(part), boot) for index, part in enumerate(parts, start=1))


def _block(index: int, samples: tuple[Sample, ...], boot: str) -> Block:
    reading = Reading(
        boot=boot,
        taken_ns=1,
        cost_ns=1,
        series=(Series("subject.wal.bytes", Kind.COUNTER, "bytes", 1.0),),
    )
    counts = ObjectCounts({"table": 1000}, fixtures=2)
    return Block(
        index=index,
        purpose="latency",
        statements=STATEMENTS,
        seed=7,
        boot=boot,
        started_at="2026-02-18T09:14:00+00:00",
        duration_ns=330_000_000,
        connection_ns=3_120_000,
        objects_before=counts,
        objects_after=counts,
        samples=samples,
        noise=HostNoise(load_1min=0.42, steal=0.0, pressure={"cpu": 0.012, "io": 0.2}),
        before=reading,
        after=reading,
    )


def summary(median_ns: float, *, n: int = 30, p90_ns: float | None = None) -> Summary:
    """Return a summary around a median."""
    return Summary(
        n=n,
        median_ns=median_ns,
        low_ns=median_ns * 0.98,
        high_ns=median_ns * 1.02,
        spread_ns=median_ns * 0.05,
        min_ns=round(median_ns * 0.9),
        max_ns=round(median_ns * 1.4),
        p90_ns=p90_ns,
    )


def comparison(verdict: Verdict, ratio: float) -> Comparison:
    """Return a comparison with that verdict."""
    return Comparison(
        verdict=verdict,
        before=summary(1.04e6),
        after=summary(1.04e6 * ratio),
        ratio=ratio,
        low=ratio * 0.95,
        high=ratio * 1.05,
        margin=0.03,
        detectable=0.081,
        provisional=True,
    )


def make_analysis(
    run: str = "20260218T091400-0a1b2c3d",
    *,
    cells: dict[str, Comparison] | None = None,
    differences: tuple[Difference, ...] = (),
    compared: bool = True,
) -> Analysis:
    """Return an analysis of two cells with costs, compared with session 1."""
    against = ComparisonFinding(
        session=1,
        run="20260217T080000-ffff0000",
        cells={} if differences else (cells or {}),
        differences=differences,
    )
    return Analysis(
        run=run,
        cells=(
            CellFinding(statement="create-table", objects=1000, summary=summary(1.04e6)),
            CellFinding(
                statement="drop-table",
                objects=1000,
                summary=summary(0.52e6, n=50, p90_ns=0.61e6),
                excluded=2,
                reasons=("2 × 40P01 deadlock | <!-- detected -->",),
            ),
        ),
        costs=(
            CostFinding(
                statement="create-table",
                samples=30,
                client_ns=1.12e6,
                tree=(
                    _node("WAL flush (fsync)", 0.61e6, 1.12e6),
                    _node("WAL write", 0.04e6, 1.12e6),
                ),
                unattributed_ns=0.47e6,
                rest="server CPU and the round trip",
                amounts=(Amount("WAL", 8214.0, "bytes"), Amount("catalog rows", 12.0, "count")),
                warnings=("42% of the client's latency is not attributed",),
            ),
        ),
        comparison=against if compared else None,
        warnings=("the host was busy while create-table ran",),
    )


def _node(label: str, ns: float, client_ns: float) -> Attributed:
    return Attributed(
        label=label,
        ns=ns,
        share=ns / client_ns,
        calls=1.0,
        self_ns=ns,
        overlaps=False,
        nested=True,
    )
