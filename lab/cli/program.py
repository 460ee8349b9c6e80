"""The console program ``ddl-lab``: the same tasks as ``invoke``, found without a ``tasks.py``."""

from __future__ import annotations

import sys

from invoke.exceptions import ParseError
from invoke.program import Program

import lab


class LabProgram(Program):
    """Invoke's program with the lab's tasks and its exit code for a command line that is wrong."""

    def parse_tasks(self) -> None:
        """Parse the tasks' arguments; a wrong command line exits with 2."""
        try:
            super().parse_tasks()
        except ParseError as error:
            print(f"error: {error}\n  next: `ddl-lab --list` shows the tasks.", file=sys.stderr)
            sys.exit(2)


def main() -> None:
    """Run ``ddl-lab``."""
    from lab.cli.namespace import namespace

    LabProgram(version=lab.__version__, namespace=namespace, name="ddl-lab", binary="ddl-lab").run()
