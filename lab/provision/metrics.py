"""A server's counters, looked at by hand: now, around a command, and saved whole."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from lab.core.errors import ExternalError, PreconditionError, UsageError
from lab.core.files import explained as file_explained
from lab.core.progress import Progress
from lab.core.results import Outcome, Status, Step
from lab.metrics.reading import Kind, Reading
from lab.provision.failures import explained
from lab.servers.connection import Connection
from lab.targets.base import Environment

_PURPOSE = "metrics"
_STANDARD_ERROR = 2
# What no shell gives another meaning to; what stands in single quotes never has one.
_PLAIN = re.compile(r"[\w\s@%+:,./\"-]*")


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """How far one series moved, in ``unit``; ``idle`` is what it would have moved by at rest.

    ``idle`` is None where that was not watched.
    """

    name: str
    unit: str
    amount: float
    idle: float | None


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What moved while a command ran: from the reading before it to that after it.

    ``exit_code`` is the command's. ``vanished`` are series that were there before and not after.
    ``duration_ns`` lies between the readings, which are ``before`` and ``after``.
    """

    command: str
    exit_code: int
    duration_ns: int
    moved: tuple[Moved, ...]
    vanished: tuple[str, ...]
    before: Reading
    after: Reading


def read(environment: Environment, match: str) -> Reading:
    """Read the series whose name contains ``match``, all where it is empty.

    Raises
    ------
    UsageError
        There are series, but none is called so.
    PreconditionError, ExternalError, LabTimeoutError
        Nothing runs, or it does not answer.

    """
    with _connected(environment) as connection:
        reading = environment.browse_metrics(connection, match)
    if match and not reading.series:
        raise UsageError(
            f"No series has {match!r} in its name.",
            code="metrics.no-match",
            why="The name is looked at with its labels and its part, as `metrics.show` prints it.",
            remedy="Give a shorter part of the name, or leave --match out.",
        )
    return reading


def around(
    environment: Environment, command: str, match: str, idle_s: float, progress: Progress
) -> Around:
    """Run ``command`` and say what moved meanwhile; first watch the server for ``idle_s`` seconds.

    What the command prints goes to standard error. Errors are those of `read`, and

    Raises
    ------
    ExternalError
        The command cannot be run, or the server was restarted meanwhile.

    """
    argv = _arguments(command)
    first = read(environment, match) if idle_s else None
    if first is not None:
        progress.say(f"Watching the server at rest for {idle_s:g} s.")
        time.sleep(idle_s)
    before = read(environment, match)
    exit_code = _run(argv, command)
    with _connected(environment) as connection:
        after = environment.browse_metrics(connection, match)
    if after.boot != before.boot:
        raise ExternalError(
            "The server was restarted while the command ran.",
            code="metrics.restarted",
            why=f"Its counters began anew. The command ended with {exit_code}.",
            remedy="Run the same command again on a server that stays up.",
        )
    return Around(
        command=command,
        exit_code=exit_code,
        duration_ns=after.taken_ns - before.taken_ns,
        moved=tuple(_moved(first, before, after)),
        vanished=_vanished(before, after),
        before=before,
        after=after,
    )


def save(environment: Environment, path: Path, *, force: bool, check: bool) -> Outcome:
    """Write all that the server tells of its counters to ``path``.

    Raises
    ------
    PreconditionError
        There is such a file and ``force`` was not given, or it cannot be written.

    """
    _require_writable(path, force=force)
    if check:
        step = Step(name="metrics", status=Status.WOULD_CHANGE, why=f"would write {path}")
        return Outcome(status=step.status, steps=(step,), data={"file": str(path)})
    began = time.monotonic_ns()
    with _connected(environment) as connection:
        size = environment.save_metrics(connection, path)
    cost_ns = time.monotonic_ns() - began
    with file_explained(path, "reading"):
        stored = path.stat().st_size
    step = Step(name="metrics", status=Status.CHANGED, why=f"wrote {path}, {stored:,} bytes")
    return Outcome(
        status=step.status,
        steps=(step,),
        data={"file": str(path), "bytes": size, "bytes_stored": stored, "cost_ns": cost_ns},
    )


def _require_writable(path: Path, *, force: bool) -> None:
    if path.is_dir() or not path.parent.is_dir():
        raise PreconditionError(
            f"{path} cannot be written.",
            code="metrics.no-file",
            why="It is a folder." if path.is_dir() else f"There is no folder {path.parent}.",
            remedy="Give the name of a file in a folder that is there.",
        )
    if path.exists() and not force:
        raise PreconditionError(
            f"{path} is there already.",
            code="metrics.exists",
            why="What it holds would be lost.",
            remedy="Give another name, or --force.",
        )


@contextlib.contextmanager
def _connected(environment: Environment) -> Iterator[Connection]:
    with (
        explained(environment),
        contextlib.closing(environment.connect(_PURPOSE)) as connection,
    ):
        yield connection


def _moved(first: Reading | None, before: Reading, after: Reading) -> Iterator[Moved]:
    """Yield what moved, in the order of the series; a counter that is new began at zero."""
    was = {series.name: series.value for series in before.series}
    rates = _rates(first, before) if first is not None else None
    duration_ns = after.taken_ns - before.taken_ns
    for series in after.series:
        if series.name not in was and series.kind is not Kind.COUNTER:
            continue
        amount = series.value - was.get(series.name, 0.0)
        idle = None if rates is None else rates.get(series.name, 0.0) * duration_ns
        if amount:
            yield Moved(name=series.name, unit=series.unit, amount=amount, idle=idle)


def _rates(first: Reading, before: Reading) -> dict[str, float]:
    """Return how fast counters move at rest, per ns."""
    was = {series.name: series.value for series in first.series if series.kind is Kind.COUNTER}
    elapsed_ns = before.taken_ns - first.taken_ns
    return {
        series.name: (series.value - was[series.name]) / elapsed_ns
        for series in before.series
        if series.name in was and first.boot == before.boot
    }


def _vanished(before: Reading, after: Reading) -> tuple[str, ...]:
    now = {series.name for series in after.series}
    return tuple(series.name for series in before.series if series.name not in now)


def _arguments(command: str) -> list[str]:
    """Return the words of ``command``, or a shell that runs it where it has a meaning to one.

    Raises
    ------
    UsageError
        It is empty, or its quotes do not match.

    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(
            f"The command cannot be understood: {command}",
            code="metrics.command",
            why=f"{error}.",
            remedy="Close its quotes.",
        ) from error
    if not words:
        raise UsageError(
            "The command is empty.",
            code="metrics.command",
            remedy="Give what is to be run, in quotes.",
        )
    if _PLAIN.fullmatch(re.sub("'[^']*'", "", command)):
        return words
    return ["/bin/sh", "-c", command]


def _run(argv: list[str], command: str) -> int:
    """Run a command, its output on standard error; return its exit code."""
    try:
        return subprocess.run(argv, stdout=_STANDARD_ERROR, check=False).returncode
    except OSError as error:
        raise ExternalError(
            f"The command could not be run: {command}",
            code="metrics.command-not-run",
            why=f"{argv[0]}: {error.strerror}.",
            remedy="Correct it; nothing was measured.",
        ) from error
