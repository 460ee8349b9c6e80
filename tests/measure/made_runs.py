"""Hand-made runs: as small as they can be, and every field of interest settable."""

import msgspec

from lab.measure.host_noise import HostNoise
from lab.measure.record import Block, Passport, Plan, Run, Sample
from lab.metrics.reading import Kind, Reading, Series
from lab.targets.base import Cycle, ObjectCounts, Operation, Workload
from lab.targets.postgres.costs import cost_sheet

SETUP = ("CREATE TABLE base (a int)",)
ALIKE = {"server.version": "18.6", "setting.fsync": "on", "host.cores": "2", "objects.table": "0"}
QUIET = HostNoise(load_1min=0.3, steal=0.0, pressure={"cpu": 0.01, "io": 0.9, "memory": 0.0})
MS = 1_000_000


def sample(statement, duration_ns=MS, *, at=0, warmup=False, error=""):
    return Sample(statement, at, at * MS, duration_ns, warmup, error)


def series_of_sheet():
    """Return the names of all series that PostgreSQL's cost sheet asks for."""
    sheet = cost_sheet("create-table")
    times = {name for node in sheet.roots for name in node.time}
    counts = {name for node in sheet.roots for name in node.calls}
    counts |= {
        name for quantity in (*sheet.quantities, *sheet.disturbances) for name in quantity.series
    }
    return times, counts


def reading(values=None, *, boot="boot-1", at=0):
    times, counts = series_of_sheet()
    values = values or {}
    series = [Series(n, Kind.COUNTER, "ns", values.get(n, 0)) for n in sorted(times)]
    series += [Series(n, Kind.COUNTER, "count", values.get(n, 0)) for n in sorted(counts)]
    return Reading(boot=boot, taken_ns=at, cost_ns=1, series=tuple(series))


def block(
    samples,
    *,
    index=1,
    purpose="latency",
    boot="boot-1",
    objects=1000,
    noise=QUIET,
    before=None,
    after=None,
    void="",
):
    counts = ObjectCounts({"table": objects}, 3)
    return Block(
        index=index,
        purpose=purpose,
        statements=tuple(dict.fromkeys(each.statement for each in samples)),
        seed=1,
        boot=boot,
        started_at="2025-01-01T00:00:00+00:00",
        duration_ns=10**9,
        connection_ns=MS,
        objects_before=counts,
        objects_after=counts,
        samples=tuple(samples),
        noise=noise,
        before=before or reading(boot=boot),
        after=after or reading(boot=boot, at=10**9),
        void=void,
    )


def cells(*, boot="boot-1", **durations):
    """Return a latency block; ``create_table=[…]`` are the durations of ``create-table``."""
    return block(
        [
            sample(statement.replace("_", "-"), duration, at=at)
            for statement, each in durations.items()
            for at, duration in enumerate(each)
        ],
        boot=boot,
    )


def in_blocks(*, boot="boot-1", **durations):
    """Return latency blocks of ten turns each; durations as for `cells`, of one length."""
    (turns,) = {len(each) for each in durations.values()}
    return [
        msgspec.structs.replace(
            cells(boot=boot, **{name: each[at : at + 10] for name, each in durations.items()}),
            index=1 + at // 10,
        )
        for at in range(0, turns, 10)
    ]


def workload(setup=SETUP, **sql):
    """Return a workload of creates and drops, and of a rename; ``sql`` replaces a statement's."""

    def operation(kind):
        return Operation(kind, sql.get(kind.replace("-", "_"), f"{kind} x_{{i}}"))

    pairs = [
        (operation(f"create-{kind}"), operation(f"drop-{kind}"))
        for kind in ("table", "view", "index")
    ]
    rename = Cycle((operation("alter-rename"),), (Operation("alter-rename", "and back"),))
    cycles = (*map(Cycle, pairs), rename)
    return Workload(setup=setup, cycles=cycles, teardown=(), fixtures=3)


def run(
    *blocks,
    name="run-b",
    statements=("create-table",),
    alike=None,
    target="postgres",
    void="",
    work=None,
):
    return Run(
        schema_version=1,
        id=name,
        session=1,
        created_at="2025-01-01T00:00:00+00:00",
        lab_version="0",
        target=target,
        passport=Passport(alike={**ALIKE, **(alike or {})}, noted={"client.psycopg": name}),
        plan=Plan(
            statements=tuple(statements),
            samples=30,
            most_samples=200,
            warmups=3,
            precision=0.03,
            seed=1,
        ),
        blocks=blocks,
        workload=work or workload(),
        void=void,
    )


def around(ms, n=40):
    """Return ``n`` durations spread evenly within ±1% of ``ms``, in no order."""
    return [round(ms * MS * (0.99 + 0.02 * (7 * i % n) / n)) for i in range(n)]
