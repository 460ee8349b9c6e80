"""The typed layer under Invoke: parsing, results, exit codes and output are owned here.

A command is a function of a `Front` and its flags that returns an `Outcome`; `command` makes an
Invoke task of it, which accepts ``--json``, ``--debug`` and, where something changes, ``--check``.
"""

from __future__ import annotations

import contextlib
import inspect
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.exceptions import Exit
from invoke.tasks import Task, task

if TYPE_CHECKING:
    from lab.core.config import LoadedConfig
    from lab.core.progress import Progress
    from lab.core.results import Outcome
    from lab.core.workspace import Workspace

INTERRUPTED = 130

_COMMON_HELP = {
    "json": "Print one JSON envelope on standard output, on failure too.",
    "debug": "Show the traceback of an error.",
    "check": "Say what would be done, and change nothing.",
}


class Interrupted(KeyboardInterrupt):
    """The process was asked to end: Ctrl-C, SIGTERM, or its terminal was closed."""


class Front:
    """What a command works with: the workspace it was called in and how it was called."""

    def __init__(self, name: str, *, check: bool, json: bool) -> None:
        from lab.core.progress import choose_progress
        from lab.core.workspace import find_workspace

        self.name = name
        self.check = check
        self.json = json
        self.workspace: Workspace = find_workspace(Path.cwd())
        self.progress: Progress = choose_progress()

    def config(self, flags: Mapping[str, Any] | None = None) -> LoadedConfig:
        """Load the configuration with ``flags`` on top."""
        from lab.core.config import load_config

        return load_config(self.workspace.config, flags=flags)

    @contextlib.contextmanager
    def lock(self, *, wait_s: float = 0.0) -> Iterator[None]:
        """Hold the workspace for this command; under ``--check`` nothing is locked or made."""
        if self.check:
            yield
            return
        from lab.core.files import explained
        from lab.core.locks import exclusive

        with explained(self.workspace.private, "creating"):
            self.workspace.prepare()
        with exclusive(self.workspace.private / "lock", self.name, wait_s=wait_s):
            yield


Body = Callable[..., "Outcome"]


def command(
    name: str, *, help: Mapping[str, str] | None = None, changes: bool = False
) -> Callable[[Body], Task[Any]]:
    """Make an Invoke task of a function that takes a `Front` and returns an `Outcome`.

    Parameters
    ----------
    name:
        The task's full name, such as ``session.measure``; also names the lock's holder.
    help:
        One line for each flag.
    changes:
        Whether the task changes anything; it takes ``--check`` then.
    """

    def decorate(body: Body) -> Task[Any]:
        flags = ["json", "debug", *(["check"] if changes else [])]
        own = list(inspect.signature(body).parameters.values())[1:]
        common = [
            inspect.Parameter(flag, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=False)
            for flag in flags
        ]
        context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)

        def run_task(_context: object, **given: Any) -> None:
            options = {flag: bool(given.pop(flag, False)) for flag in flags}
            code = run(name, body, given, **options)
            if code:
                raise Exit(code=code)

        run_task.__doc__ = body.__doc__
        run_task.__name__ = name.rpartition(".")[2]
        run_task.__module__ = body.__module__
        run_task.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # read by Invoke
            [context, *own, *common]
        )
        explained = {**(help or {}), **{flag: _COMMON_HELP[flag] for flag in flags}}
        positional = [each.name for each in own if each.default is inspect.Parameter.empty]
        made: Task[Any] = task(
            name=run_task.__name__.replace("_", "-"),
            help=explained,
            auto_shortflags=False,
            positional=positional,
        )(run_task)
        return made

    return decorate


def run(
    name: str,
    body: Body,
    given: Mapping[str, Any],
    *,
    json: bool,
    debug: bool,
    check: bool = False,
) -> int:
    """Run a command, show what came of it, and return the exit code."""
    from lab.cli import present
    from lab.core.errors import LabError

    started_ns = time.perf_counter_ns()
    outcome: Outcome | None = None
    error: BaseException | None = None
    try:
        with _signals_raised():
            outcome = body(Front(name, check=check, json=json), **given)
            code = outcome.exit_code
    except LabError as foreseen:
        error, code = foreseen, foreseen.exit_code
    except KeyboardInterrupt as interrupt:
        error, code = interrupt, INTERRUPTED
    except Exception as unexpected:
        error, code = unexpected, 1
    with contextlib.suppress(BrokenPipeError, OSError):
        duration_ns = time.perf_counter_ns() - started_ns
        if json:
            envelope = present.envelope(name, outcome, error, code, check, duration_ns)
            sys.stdout.buffer.write(envelope)
            sys.stdout.flush()
        elif outcome is not None:
            print(present.for_people(outcome), flush=True)
        if error is not None:
            print(present.error_for_people(name, error, debug=debug), file=sys.stderr, flush=True)
    return code


@contextlib.contextmanager
def _signals_raised() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into an exception, so that they leave as tidily as Ctrl-C."""

    def interrupt(number: int, _frame: object) -> None:
        raise Interrupted(signal.Signals(number).name)

    before = {each: signal.signal(each, interrupt) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
