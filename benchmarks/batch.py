r"""The batch runner and the making of published tables, each against `psql -f` of the same SQL.

Both sides run on the same servers, in turns (ABBA). Batches: the statements and COMMITs of the same
transactions as the runner times them, and as psql's ``\timing`` does; and both from the first look
to the last, what the runner reads, counts and drops included. Tables: ``upstream.up``'s code, and
the same statements in transactions of as many.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import re
import statistics
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from benchmarks.common import folder, interleaved, machine, running_environment, show
from lab.core.config import BatchConfig, Config
from lab.core.progress import SilentProgress
from lab.core.workspace import Workspace
from lab.measure.batch_plan import make_batch_plan, orders
from lab.measure.batch_record import BatchPlan
from lab.measure.batch_runner import measure_batches
from lab.servers import binaries
from lab.servers.connection import Connection
from lab.targets.base import Environment
from lab.targets.parts import Sourcing
from lab.upstream import tables
from lab.upstream.assembly import open_upstream
from lab.upstream.base import PUBLICATION
from lab.upstream.upstream import Upstream

CLUSTER = "quickstart"
COLUMNS = Config().upstream.columns
QUIET = SilentProgress()
PORTION = 100
"""Tables in one transaction, as ``upstream.up`` makes them."""


class Taken(NamedTuple):
    """What one side took: a statement without COMMIT (median), with its share of it, and all."""

    median_ms: float
    mean_ms: float
    whole_s: float


def main() -> None:
    """Parse the command line, run, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="1,10,100,300", help="transactions (1,10,100,300)")
    parser.add_argument("--tables", type=int, default=3_000, help="tables made each time (3000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of ABBA (3)")
    options = parser.parse_args()
    sizes = tuple(int(each) for each in options.sizes.split(","))
    with running_environment() as environment, _upstream() as upstream, folder() as scratch:
        _batches(environment, upstream, sizes, options.rounds, scratch / "batches.sql")
        _provisioning(upstream, options.tables, options.rounds, scratch / "tables.sql")


@contextlib.contextmanager
def _upstream() -> Iterator[Upstream]:
    """Lend an upstream that runs, without tables; destroyed afterwards."""
    with folder() as path:
        workspace = Workspace(path)
        workspace.prepare()
        upstream = open_upstream(workspace, Config())
        upstream.start(QUIET)
        try:
            yield upstream
        finally:
            upstream.destroy(QUIET)


def _batches(
    environment: Environment, upstream: Upstream, sizes: Sequence[int], rounds: int, file: Path
) -> None:
    config = BatchConfig(sizes=tuple(sizes), repetitions=1)
    plan = make_batch_plan(config, "import-foreign-table", seed=1)
    upstream.provision(plan.tables_needed, COLUMNS, QUIET)
    sourcing = environment.sourcing(upstream.link(), CLUSTER)
    with contextlib.closing(environment.connect("benchmark")) as connection:
        sourcing.connect(connection, QUIET)
    _measured(environment, upstream, plan)
    _sent(environment, sourcing, plan, file)
    print(f"{machine()}; transactions of {', '.join(map(str, sizes))} imports")
    ours: list[Taken] = []
    peer: list[Taken] = []
    for _ in range(rounds):
        ours.append(_measured(environment, upstream, plan))
        peer.append(_sent(environment, sourcing, plan, file))
        peer.append(_sent(environment, sourcing, plan, file))
        ours.append(_measured(environment, upstream, plan))
    for place, (label, unit, aim) in enumerate(
        (
            ("statement, median", "ms", "≤ 1.05"),
            ("statement and its share of COMMIT, mean", "ms", "≤ 1.05"),
            ("whole run", "s", ""),
        )
    ):
        mine, other = [each[place] for each in ours], [each[place] for each in peer]
        show(label, mine, other, unit=unit, aim=aim)
    with contextlib.closing(environment.connect("benchmark")) as connection:
        sourcing.disconnect(connection, QUIET)


def _measured(environment: Environment, upstream: Upstream, plan: BatchPlan) -> Taken:
    started = perf_counter()
    run = measure_batches(environment, upstream, CLUSTER, plan, session=0, progress=QUIET)
    whole_s = perf_counter() - started
    assert run.batch is not None
    failed = [batch.error or batch.void for batch in run.batch.batches if not batch.counts]
    if run.void or failed:
        raise SystemExit(f"a transaction does not count: {run.void or failed[0]}")
    statements = [ns / 1e6 for batch in run.batch.batches for ns in batch.statements_ns]
    commits = [batch.commit_ns / 1e6 for batch in run.batch.batches]
    return _taken(statements, commits, whole_s)


def _sent(environment: Environment, sourcing: Sourcing, plan: BatchPlan, file: Path) -> Taken:
    """Let psql carry the same transactions out, after the same warm-up, and drop the tables."""
    lines = [f"{each};" for each in sourcing.warm_up]
    lines.append(r"\timing on")
    for order in orders(plan):
        numbers = range(order.first, order.first + order.size)
        lines += ["BEGIN;", *(f"{sourcing.create(number)};" for number in numbers), "COMMIT;"]
    file.write_text("\n".join(lines) + "\n")
    started = perf_counter()
    with contextlib.closing(environment.connect("benchmark")) as connection:
        output = _psql(connection, file)
        sourcing.drop_tables(connection, QUIET)
    whole_s = perf_counter() - started
    times = map(float, re.findall(r"^Time: ([0-9.]+) ms", output, re.MULTILINE))
    statements: list[float] = []
    commits: list[float] = []
    for order in orders(plan):
        # BEGIN is in no figure of the runner's, either.
        next(times)
        statements += itertools.islice(times, order.size)
        commits.append(next(times))
    return _taken(statements, commits, whole_s)


def _taken(statements: Sequence[float], commits: Sequence[float], whole_s: float) -> Taken:
    mean_ms = (sum(statements) + sum(commits)) / len(statements)
    return Taken(statistics.median(statements), mean_ms, whole_s)


def _provisioning(upstream: Upstream, count: int, rounds: int, file: Path) -> None:
    databases = (f"bench_{number}" for number in itertools.count(1))
    _write(file, count)
    _made(upstream, next(databases), count)
    print(f"{machine()}; {count:,} tables in transactions of {PORTION}")
    ours, peer = interleaved(
        rounds,
        lambda: _made(upstream, next(databases), count),
        lambda: _run(upstream, next(databases), file, count),
    )
    show("upstream.up", ours, peer, unit="tables/s", aim="≥ 0.9")
    print(f"{count:,} tables in {count / statistics.median(ours):.1f} s (median)")


def _made(upstream: Upstream, database: str, count: int) -> float:
    started = perf_counter()
    upstream.provision(count, COLUMNS, QUIET, database=database)
    rate = count / (perf_counter() - started)
    upstream.drop_database(database)
    return rate


def _run(upstream: Upstream, database: str, file: Path, count: int) -> float:
    """Let psql make the same tables in a database that is there; the role is, too."""
    with contextlib.closing(upstream.connect("benchmark", "postgres")) as connection:
        connection.execute(f"CREATE DATABASE {database}".encode())
    with contextlib.closing(upstream.connect("benchmark", database)) as connection:
        started = perf_counter()
        _psql(connection, file)
        rate = count / (perf_counter() - started)
    upstream.drop_database(database)
    return rate


def _write(file: Path, count: int) -> None:
    portions = [
        range(start, min(start + PORTION, count + 1)) for start in range(1, count + 1, PORTION)
    ]
    lines = []
    for numbers in portions:
        created = [f"{tables.create(number, COLUMNS)};" for number in numbers]
        lines += ["BEGIN;", *created, "COMMIT;"]
    lines.append(f"CREATE PUBLICATION {PUBLICATION};")
    lines += [f"{tables.publish(numbers)};" for numbers in portions]
    file.write_text("\n".join(lines) + "\n")


def _psql(connection: Connection, file: Path) -> str:
    info = connection.info
    where = {
        "PGHOST": info.host,
        "PGPORT": str(info.port),
        "PGUSER": info.user,
        "PGPASSWORD": info.password,
        "PGDATABASE": info.dbname,
    }
    command = [binaries.shipped().program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", file]
    done = subprocess.run(
        command, env={**os.environ, **where}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"psql failed: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    main()
