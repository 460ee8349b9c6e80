"""`lab.seed` against a raw psycopg loop that sends the same statements in the best strings.

Both fill one server, each a fresh schema every time, in turns (ABBA). The loop knows its statements
beforehand, looks at nothing, and uses the length of string that came out fastest in a trial here.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
from collections.abc import Iterator, Sequence
from time import perf_counter

from benchmarks.common import interleaved, machine, running_environment, show
from lab.core.progress import SilentProgress
from lab.provision.population import seed
from lab.targets.base import Environment

KIND = "table"
LENGTHS = (25, 50, 100, 200, 400)
TRIAL = 2_000


def main() -> None:
    """Parse the command line, run, and print the ratio of the rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=int, default=20_000, help="tables each time (20000)")
    parser.add_argument("--rounds", type=int, default=1, help="rounds of ABBA (1)")
    parser.add_argument("--length", type=int, default=0, help="statements in a string of the peer")
    options = parser.parse_args()
    with running_environment() as environment:
        schemas = (f"bench_{number}" for number in itertools.count(1))
        length = options.length or _best_length(environment, schemas)
        # A fresh server is slower at first; that falls on neither.
        _lab(environment, next(schemas), TRIAL)
        _loop(environment, next(schemas), TRIAL, length)
        print(f"{machine()}; the loop sends strings of {length} statements")
        ours, peer = interleaved(
            options.rounds,
            lambda: _lab(environment, next(schemas), options.tables),
            lambda: _loop(environment, next(schemas), options.tables, length),
        )
        show("seeding", ours, peer, unit="tables/s", aim="≥ 0.9")


def _lab(environment: Environment, schema: str, tables: int) -> float:
    with contextlib.closing(environment.connect("benchmark")) as connection:
        present = environment.count_objects(connection).total
    started = perf_counter()
    seed(
        environment,
        count=present + tables,
        kind=KIND,
        schema=schema,
        drop_surplus=False,
        check=False,
        progress=SilentProgress(),
    )
    return tables / (perf_counter() - started)


def _loop(environment: Environment, schema: str, tables: int, length: int) -> float:
    scheme = environment.population(KIND, schema)
    with contextlib.closing(environment.connect("benchmark")) as connection:
        scheme.prepare(connection)
        strings = _strings([scheme.create(number + 1) for number in range(tables)], length)
        started = perf_counter()
        for string in strings:
            connection.execute(string)
        return tables / (perf_counter() - started)


def _strings(statements: Sequence[str], length: int) -> list[bytes]:
    starts = range(0, len(statements), length)
    return [";".join(statements[start : start + length]).encode() for start in starts]


def _best_length(environment: Environment, schemas: Iterator[str]) -> int:
    rates = dict.fromkeys(LENGTHS, 0.0)
    for length in (*LENGTHS, *reversed(LENGTHS)):
        rates[length] = max(rates[length], _loop(environment, next(schemas), TRIAL, length))
    return max(rates, key=rates.__getitem__)


if __name__ == "__main__":
    main()
