"""Appending an entry to a log of 100 MB against appending it to one of 1 kB."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from benchmarks.common import folder, interleaved, machine, show
from lab.notebook.append import carry_out, marker_of, plan_append

LINE = "An earlier finding, kept as it was written, of a length that such lines have.\n"


def main() -> None:
    """Parse the command line, run, and print the ratio of the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25, help="rounds of ABBA (25)")
    parser.add_argument("--size", type=int, default=100_000_000, help="bytes of the large log")
    options = parser.parse_args()
    numbers = itertools.count(1)
    with folder() as path:
        large = _log(path / "large.md", options.size)
        small = _log(path / "small.md", 1_000)
        ours, peer = interleaved(
            options.rounds, lambda: _append(large, numbers), lambda: _append(small, numbers)
        )
    print(machine())
    show(f"append at {options.size:,} bytes against 1,000", ours, peer, unit="ms", aim="about 1")


def _log(path: Path, size: int) -> Path:
    heading = "# DDL performance log\n\n"
    path.write_text(heading + LINE * (size // len(LINE)))
    return path


def _append(path: Path, numbers: Iterator[int]) -> float:
    number = next(numbers)
    session = f"session-{number}"
    text = f"### Session {number}: A goal (2026-01-01)\n\n{marker_of(session)}\n\n{LINE * 40}"
    started = perf_counter()
    carry_out(path, plan_append(path, text, session, heading="# DDL performance log"))
    return (perf_counter() - started) * 1e3


if __name__ == "__main__":
    main()
