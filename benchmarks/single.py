"""`lab.seed` at one statement a string, as for Materialize, against `psql -f` of the same file.

Both fill one PostgreSQL, each a fresh schema every time, in turns (ABBA). psql is given a file that
was written beforehand, and looks at nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import subprocess
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.common import folder, interleaved, machine, running_environment, show
from benchmarks.seed import KIND
from lab.core.progress import SilentProgress
from lab.provision.population import seed
from lab.servers import binaries
from lab.targets.base import Environment, PopulationScheme


class OneByOne:
    """An environment whose populations are made one statement a string."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def population(self, kind: str, schema: str) -> PopulationScheme:
        """Return the environment's own scheme with strings of one statement."""
        scheme = self._environment.population(kind, schema)
        scheme.batch = 1
        return scheme

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environment, name)


def main() -> None:
    """Parse the command line, run, and print the ratio of the rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=int, default=3_000, help="tables each time (3000)")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of ABBA (2)")
    options = parser.parse_args()
    with running_environment() as environment, folder() as scratch:
        schemas = (f"bench_{number}" for number in itertools.count(1))
        _lab(environment, next(schemas), options.tables)
        print(f"{machine()}; one statement a string")
        ours, peer = interleaved(
            options.rounds,
            lambda: _lab(environment, next(schemas), options.tables),
            lambda: _psql(environment, next(schemas), options.tables, scratch / "tables.sql"),
        )
        show("seeding one by one", ours, peer, unit="tables/s", aim="≥ 1.0")


def _lab(environment: Environment, schema: str, tables: int) -> float:
    with contextlib.closing(environment.connect("benchmark")) as connection:
        present = environment.count_objects(connection).total
    started = perf_counter()
    seed(
        OneByOne(environment),
        count=present + tables,
        kind=KIND,
        schema=schema,
        drop_surplus=False,
        check=False,
        progress=SilentProgress(),
    )
    return tables / (perf_counter() - started)


def _psql(environment: Environment, schema: str, tables: int, file: Path) -> float:
    scheme = environment.population(KIND, schema)
    file.write_text("".join(f"{scheme.create(number + 1)};\n" for number in range(tables)))
    with contextlib.closing(environment.connect("benchmark")) as connection:
        scheme.prepare(connection)
        info = connection.info
        where = {
            "PGHOST": info.host,
            "PGPORT": str(info.port),
            "PGUSER": info.user,
            "PGPASSWORD": info.password,
            "PGDATABASE": info.dbname,
        }
    started = perf_counter()
    subprocess.run(
        [binaries.shipped().program("psql"), "-X", "-q", "-f", file],
        env={**os.environ, **where},
        check=True,
    )
    return tables / (perf_counter() - started)


if __name__ == "__main__":
    main()
