"""Hand-made runs: as small as they can be, and every field of interest settable."""

from lab.measure.record import Block, HostNoise, Passport, Plan, Run, Sample
from lab.metrics.reading import Kind, Reading, Series
from lab.targets.base import ObjectCounts
from lab.targets.postgres.costs import cost_sheet

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


def run(
    *blocks, name="run-b", statements=("create-table",), alike=None, target="postgres", void=""
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
        void=void,
    )


def around(ms, n=40):
    """Return ``n`` durations spread evenly within ±1% of ``ms``, in no order."""
    return [round(ms * MS * (0.99 + 0.02 * (7 * i % n) / n)) for i in range(n)]
