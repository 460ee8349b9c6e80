"""The typed layer under Invoke: parsing, results, exit codes and output are owned here.

A command is a function of a `Front` and its flags that returns an `Outcome`; `command` makes an
Invoke task of it, which accepts ``--json``, ``--debug`` and, where something changes, ``--check``.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from invoke.exceptions import Exit
from invoke.tasks import Task, task

from lab.cli.signals import INTERRUPTED, interruptible
from lab.cli.streams import output_lost, settle_streams
from lab.cli.words import WordsTask, gathered

if TYPE_CHECKING:
    from invoke.context import Context

    from lab.core.loading import LoadedConfig
    from lab.core.progress import Progress
    from lab.core.results import Outcome
    from lab.core.workspace import Workspace

_COMMON_HELP = {
    "json": "Print one JSON envelope on standard output, on failure too.",
    "debug": "Show the traceback of an error.",
    "check": "Say what would be done, and change nothing.",
}


class Call(NamedTuple):
    """How a task was called; ``dry`` is Invoke's own ``--dry``."""

    name: str
    json: bool
    debug: bool
    check: bool = False
    dry: bool = False


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
        from lab.core.loading import load_config

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

    A parameter ``*names`` of the function takes all words that are given to the task.

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
        parameters = list(inspect.signature(body).parameters.values())[1:]
        words = next((each.name for each in parameters if each.kind is each.VAR_POSITIONAL), "")
        own = [_as_flag(each) for each in parameters]
        common = [
            inspect.Parameter(flag, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=False)
            for flag in flags
        ]
        context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)

        def run_task(context: Context, **given: Any) -> None:
            options = {flag: bool(given.pop(flag, False)) for flag in flags}
            said = gathered(given, words) if words else ()
            given = {flag: value for flag, value in given.items() if value is not None}
            call = Call(name, dry=bool(context.config.run.dry), **options)
            code = run(call, body, given, said)
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
        kind = functools.partial(WordsTask, full_name=name, words=words) if words else Task
        made: Task[Any] = task(
            name=run_task.__name__.replace("_", "-"),
            help=explained,
            auto_shortflags=False,
            positional=positional,
            klass=kind,
        )(run_task)
        return made

    return decorate


def run(call: Call, body: Body, given: Mapping[str, Any], words: Sequence[str] = ()) -> int:
    """Run a command with the flags ``given``, show what came of it, return the exit code.

    ``words`` are those that were given besides.
    """
    from lab.core.errors import LabError
    from lab.core.files import explain_unforeseen

    started_ns = time.perf_counter_ns()
    outcome: Outcome | None = None
    error: BaseException | None = None
    try:
        with interruptible():
            try:
                _require_sense(call, given)
                front = Front(call.name, check=call.check, json=call.json)
                outcome = body(front, *words, **given)
                error, code = outcome.failure, outcome.exit_code
            except LabError as foreseen:
                error, code = foreseen, foreseen.exit_code
            except KeyboardInterrupt as interrupt:
                error, code = interrupt, INTERRUPTED
            except Exception as unexpected:
                error = explain_unforeseen(unexpected) or unexpected
                code = getattr(error, "exit_code", 1)
            return _show(call, outcome, error, code, time.perf_counter_ns() - started_ns)
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        settle_streams()


def _show(
    call: Call, outcome: Outcome | None, error: BaseException | None, code: int, duration_ns: int
) -> int:
    """Show what came of a command; return its exit code, or that of a result nobody could get."""
    from lab.cli import present

    try:
        if call.json:
            envelope = present.envelope(call.name, outcome, error, code, call.check, duration_ns)
            sys.stdout.buffer.write(envelope)
            sys.stdout.flush()
        elif outcome is not None:
            print(present.for_people(outcome), flush=True)
    except BrokenPipeError:
        pass  # the reader, such as `head`, has seen enough
    except OSError as failure:
        lost = output_lost(failure)
        error, code = error or lost, code or lost.exit_code
    if error is not None:
        with contextlib.suppress(OSError):
            shown = present.error_for_people(call.name, error, debug=call.debug)
            print(shown, file=sys.stderr, flush=True)
    return code


def _as_flag(parameter: inspect.Parameter) -> inspect.Parameter:
    """Return a text parameter with no default, so that an empty value is told from none."""
    words = parameter.kind is parameter.VAR_POSITIONAL
    parameter = parameter.replace(kind=parameter.POSITIONAL_OR_KEYWORD)
    text = words or isinstance(parameter.default, str)
    return parameter.replace(default=None) if text else parameter


def _require_sense(call: Call, given: Mapping[str, Any]) -> None:
    """Refuse what would be taken for something else than was meant.

    Raises
    ------
    UsageError
        A flag has an empty value, as from an unset variable of a script, or one that is no text,
        or ``--dry`` was given.
    """
    from lab.core.errors import UsageError

    for flag, value in given.items():
        if value == "":
            raise UsageError(
                f"--{flag.strip('_').replace('_', '-')} was given an empty value.",
                code="usage.empty-value",
                why="It may come from a variable that is not set.",
                remedy="Give it a value, or leave the flag out.",
            )
        if isinstance(value, str) and any(0xD800 <= ord(each) <= 0xDFFF for each in value):
            raise UsageError(
                f"--{flag.strip('_').replace('_', '-')} is not UTF-8 text.",
                code="usage.not-text",
                why=f"It was given as {value!r}.",
                remedy="Give it in UTF-8.",
            )
    if call.dry:
        raise UsageError(
            "--dry is not of the lab.",
            code="usage.dry",
            why="It is Invoke's, and would not keep this task from doing its work.",
            remedy="`--check`, after the task's name, says what would be done.",
        )
