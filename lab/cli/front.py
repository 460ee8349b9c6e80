"""Invoke's program with the lab's tasks, messages, and exit code for a wrong command line."""

from __future__ import annotations

import difflib
import re
import sys
from typing import NoReturn

from invoke.exceptions import Exit, ParseError
from invoke.program import Program

from lab.core.errors import UsageError

_FORMATS = ("flat", "nested", "json")


class LabProgram(Program):
    """``ddl-lab``: a wrong command line exits with 2, and under ``--json`` says so there, too."""

    def normalize_argv(self, argv: list[str] | None) -> None:
        """Take ``--help`` after a task as that, never as the value of what the task is given."""
        super().normalize_argv(argv)
        asked = [index for index, word in enumerate(self.argv) if word in ("--help", "-h")]
        before = self.argv[: asked[0]] if asked else []
        known = self.namespace.task_names if self.namespace else {}
        tasks = [word for word in before if word in known]
        if tasks:
            self.argv = [self.argv[0], "--help", tasks[-1]]

    def parse_core(self, argv: list[str] | None) -> None:
        """Parse what stands before the tasks."""
        try:
            super().parse_core(argv)
        except ValueError as error:
            self._refuse(UsageError(f"{error}.".capitalize(), code="usage.command-line"))

    def parse_tasks(self) -> None:
        """Parse the tasks and their flags."""
        try:
            super().parse_tasks()
        except ParseError as error:
            self._refuse(self._explained(error), _task_of(error))

    def parse_cleanup(self) -> None:
        """Show help or the list of tasks where that is asked for."""
        try:
            super().parse_cleanup()
        except ParseError as error:
            self._refuse(self._explained(error), _task_of(error))

    def list_tasks(self) -> None:
        """Show the list of tasks."""
        if self.list_format not in _FORMATS:
            self._refuse(
                UsageError(
                    f"There is no list format {self.list_format!r}.",
                    code="usage.command-line",
                    remedy=f"It is one of {', '.join(_FORMATS)}.",
                )
            )
        super().list_tasks()

    def _refuse(self, error: UsageError, task: str = "") -> NoReturn:
        from lab.cli import present

        if "--json" in self.argv:
            sys.stdout.buffer.write(
                present.envelope(task, None, error, error.exit_code, "--check" in self.argv, 0)
            )
            sys.stdout.flush()
        print(present.error_for_people(task, error, debug=False), file=sys.stderr)
        raise Exit(code=error.exit_code)

    def _explained(self, error: ParseError) -> UsageError:
        """Say in the lab's words what Invoke's parser could not make sense of."""
        task = _task_of(error)
        help_of = f"`ddl-lab {task} --help` shows its flags." if task else ""
        what, remedy = str(error), help_of or "`ddl-lab --list` shows the tasks."
        if unknown := re.fullmatch(r"No idea what ['\"](.*)['\"] is!", what):
            word = unknown[1]
            if word.startswith("-"):
                what = f"{task or 'ddl-lab'} has no flag {word}."
                near = difflib.get_close_matches(word, self._flags(task), n=1)
            else:
                what = f"There is no task {word!r}."
                near = difflib.get_close_matches(word, self.collection.task_names, n=1)
                remedy = "`ddl-lab --list` shows the tasks."
            remedy = f"Did you mean {near[0]}? {remedy}" if near else remedy
        elif missing := re.search(r"did not receive required positional arguments: (.*)", what):
            what = f"{task} is to be given {missing[1].replace(chr(39), '').upper()}."
        elif valueless := re.search(r"<Argument: ([\w-]+).*> needed value", what):
            what = f"--{valueless[1]} of {task or 'ddl-lab'} needs a value."
        return UsageError(what, code="usage.command-line", remedy=remedy)

    def _flags(self, task: str) -> list[str]:
        context = self.parser.contexts.get(task) if task else self.initial_context
        return list(context.flags) if context else []


def _task_of(error: ParseError) -> str:
    context = error.context
    return context.name or "" if context else ""
