"""`invoke --list` and `ddl-lab --list` against bare Invoke listing an all but empty tasks file."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import perf_counter

from benchmarks.common import folder, interleaved, machine, show

PROJECT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(sys.executable).parent
TASKS = '''from invoke import task


@task
def nothing(context):
    """Do nothing."""
'''


def main() -> None:
    """Parse the command line, run, and print the ratios of the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="rounds of ABBA (10)")
    options = parser.parse_args()
    print(machine())
    with folder() as bare:
        (bare / "tasks.py").write_text(TASKS)
        peer_command = [str(PROGRAMS / "invoke"), "--list"]
        _milliseconds(peer_command, bare)  # so that both find their bytecode compiled
        for name in ("invoke", "ddl-lab"):
            command = [str(PROGRAMS / name), "--list"]
            _milliseconds(command, PROJECT)
            ours, peer = interleaved(
                options.rounds,
                partial(_milliseconds, command, PROJECT),
                partial(_milliseconds, peer_command, bare),
            )
            show(f"{name} --list", ours, peer, unit="ms", aim="≤ 2")


def _milliseconds(command: Sequence[str], directory: Path) -> float:
    started = perf_counter()
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
    return (perf_counter() - started) * 1e3


if __name__ == "__main__":
    main()
