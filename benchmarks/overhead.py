"""The latency that the lab's sampler reports against pgbench's, for the same statements.

Both run pairs of CREATE TABLE and DROP TABLE on one server, one client, in turns (ABBA). pgbench
reports the mean latency of each statement, so means are compared.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import statistics
import subprocess
from collections.abc import Mapping
from pathlib import Path

from benchmarks.common import folder, machine, running_environment, show
from lab.measure.sampler import Sampler, undisturbed
from lab.servers.binaries import shipped
from lab.targets.base import Environment

STATEMENTS = {
    "create-table": "CREATE TABLE bench.subject (a int, b text)",
    "drop-table": "DROP TABLE bench.subject",
}

Latencies = Mapping[str, float]


def main() -> None:
    """Parse the command line, run, and print a ratio for each statement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=300, help="pairs of statements a time (300)")
    parser.add_argument("--rounds", type=int, default=6, help="rounds of ABBA (6)")
    options = parser.parse_args()
    with folder() as path, running_environment() as environment:
        path.joinpath("script.sql").write_text("".join(f"{sql};\n" for sql in STATEMENTS.values()))
        with contextlib.closing(environment.connect("benchmark")) as connection:
            connection.execute("CREATE SCHEMA bench")
        ours: list[Latencies] = []
        peer: list[Latencies] = []
        for _ in range(options.rounds):
            ours.append(_sampler(environment, options.pairs))
            peer.append(_pgbench(environment, path / "script.sql", options.pairs))
            peer.append(_pgbench(environment, path / "script.sql", options.pairs))
            ours.append(_sampler(environment, options.pairs))
        print(machine())
        for name in STATEMENTS:
            mine, other = [each[name] for each in ours], [each[name] for each in peer]
            show(name, mine, other, unit="ms", aim="≤ 1.05")


def _sampler(environment: Environment, pairs: int) -> Latencies:
    taken: dict[str, list[int]] = {name: [] for name in STATEMENTS}
    encoded = {name: sql.encode() for name, sql in STATEMENTS.items()}
    with contextlib.closing(environment.connect("benchmark")) as connection, undisturbed():
        sampler = Sampler(connection)
        for _ in range(pairs):
            for name, sql in encoded.items():
                reply = sampler.time(sql)
                if reply.error or reply.lost:
                    raise SystemExit(f"{sql.decode()}: {reply.error or reply.lost}")
                taken[name].append(reply.duration_ns)
    return {name: statistics.fmean(each) / 1e6 for name, each in taken.items()}


def _pgbench(environment: Environment, script: Path, pairs: int) -> Latencies:
    with contextlib.closing(environment.connect("benchmark")) as connection:
        info = connection.info
        place = {"PGHOST": info.host, "PGPORT": str(info.port), "PGUSER": info.user}
        secret = {"PGPASSWORD": info.password, "PGDATABASE": info.dbname}
    command = [
        str(shipped().program("pgbench")),
        "--no-vacuum",
        "--report-per-command",
        "--protocol=simple",
    ]
    command += ["--client=1", f"--transactions={pairs}", f"--file={script}"]
    done = subprocess.run(
        command, env={**os.environ, **place, **secret}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"pgbench failed: {done.stderr.strip()}")
    return {name: _reported(done.stdout, sql) for name, sql in STATEMENTS.items()}


def _reported(output: str, sql: str) -> float:
    found = re.search(rf"^\s*([0-9.]+)\s+\d+\s+{re.escape(sql)};?\s*$", output, re.MULTILINE)
    if found is None:
        raise SystemExit(f"pgbench reported no latency of {sql}:\n{output}")
    return float(found[1])


if __name__ == "__main__":
    main()
