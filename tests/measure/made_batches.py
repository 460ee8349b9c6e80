"""Hand-made batch benchmarks: as small as they can be, and every field of interest settable."""

from made_runs import ALIKE, MS, QUIET

from lab.measure.batch_record import Batch, BatchPlan, BatchRecord, Probe
from lab.measure.record import Passport, Plan, Run
from lab.metrics.reading import Change, Delta
from lab.targets.base import Cycle, Operation, Workload
from lab.targets.postgres.costs import cost_sheet
from lab.upstream.shapes import SHAPES

STATEMENT = "import-foreign-table"
SHAPE = "columns"
SQL = "IMPORT FOREIGN SCHEMA public LIMIT TO (bench_table_{i}) FROM SERVER s INTO t"
PROBE = Probe(connect_ns=(5 * MS, 6 * MS, 7 * MS), round_trip_ns=(MS // 10,) * 3)


def upstream_delta(calls, ms_a_call=1.0, rows=0, connections=0, session_ms=None, void=""):
    changes = [
        Change("upstream.connections", "count", float(connections)),
        Change(f"upstream.{SHAPE}.calls", "count", float(calls)),
        Change(f"upstream.{SHAPE}.time", "ns", calls * ms_a_call * MS),
        Change(f"upstream.{SHAPE}.rows", "count", float(rows)),
        *(
            Change(f"upstream.{shape}.{each}", "count", 0.0)
            for shape in SHAPES
            for each in ("calls", "time", "rows")
            if shape != SHAPE
        ),
    ]
    if session_ms is not None:
        changes.append(Change("upstream.session_time", "ns", session_ms * MS))
    return Delta(duration_ns=MS, changes=() if void else tuple(changes), void=void)


def server_delta(size, fsync_ms=2.0, void=""):
    """Return a delta of PostgreSQL's counters: one flush a transaction, and 1 kB a statement."""
    moved = {
        "subject.io.wal.normal.fsync_time": fsync_ms * MS,
        "subject.io.wal.normal.fsyncs": 1.0,
        "subject.wal.bytes": 1000.0 * size,
    }
    sheet = cost_sheet(STATEMENT)
    names = {name for node in sheet.roots for name in (*node.time, *node.calls)}
    names |= {name for each in (*sheet.quantities, *sheet.disturbances) for name in each.series}
    changes = tuple(Change(name, "ns", moved.get(name, 0.0)) for name in sorted(names))
    return Delta(duration_ns=MS, changes=() if void else changes, void=void)


def batch(size, ms=4.0, *, commit_ms=3.0, index=1, first=None, by_position=None, **changes):
    """Return a transaction; ``ms`` is what a statement takes, ``first`` what its first one does."""
    durations = [by_position(at) if by_position else ms for at in range(1, size + 1)]
    if first is not None:
        durations[0] = first
    fields = {
        "index": index,
        "repetition": 1,
        "size": size,
        "first": 1,
        "published": 100,
        "boot": "boot-1",
        "started_at": "2025-01-01T00:00:00+00:00",
        "objects": 0,
        "begin_ns": MS // 10,
        "statements_ns": tuple(round(each * MS) for each in durations),
        "commit_ns": round(commit_ms * MS),
        "noise": QUIET,
        "server": server_delta(size),
        "purified": upstream_delta(2 * size, rows=5 * size),
        "committed": upstream_delta(1),
    }
    return Batch(**{**fields, **changes})


def failed(size, at, error="42P07 it is there", **changes):
    whole = batch(size, server=None, purified=None, committed=None, **changes)
    fields = {name: getattr(whole, name) for name in whole.__struct_fields__}
    done = whole.statements_ns[: max(0, at - 1)]
    fields |= {"error": error, "failed_at": at, "statements_ns": done, "commit_ns": 0}
    return Batch(**fields)


def run_of(*batches, name="run-b", sizes=None, repetitions=3, alike=None, sql=SQL, **changes):
    found = tuple(dict.fromkeys(each.size for each in batches if not each.swept))
    plan = BatchPlan(statement=STATEMENT, sizes=sizes or found, repetitions=repetitions, seed=1)
    fields = {
        "schema_version": 1,
        "id": name,
        "session": 1,
        "created_at": "2025-01-01T00:00:00+00:00",
        "lab_version": "0",
        "target": "postgres",
        "passport": Passport(alike={**ALIKE, **(alike or {})}, noted={}),
        "plan": Plan(
            statements=(STATEMENT,),
            samples=10,
            most_samples=10,
            warmups=0,
            precision=0.0,
            seed=1,
            mode="transaction",
        ),
        "blocks": (),
        "workload": Workload(
            setup=(), cycles=(Cycle((Operation(STATEMENT, sql),)),), teardown=(), fixtures=0
        ),
        "batch": BatchRecord(plan=plan, product="made up", batches=batches, probe=PROBE),
    }
    return Run(**{**fields, **changes})
