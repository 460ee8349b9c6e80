"""What a database error means for a task that fills a database, and what to do about it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import psycopg

from lab.core.errors import ExternalError, LabError, PreconditionError
from lab.targets.base import Environment, Trouble

_LOG_LINES = 60


@contextlib.contextmanager
def explained(environment: Environment, how_far: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Turn errors of the database into errors with a remedy.

    ``how_far`` says, at the time of the error, what has been reached. The server's log tells a
    full disk from a crash of another kind: a server without space for its journal dies.

    Raises
    ------
    PreconditionError
        ``disk.full``.
    ExternalError
        ``server.gone`` or ``server.refused``.

    """
    log_before = environment.log_tail(_LOG_LINES)
    try:
        yield
    except psycopg.Error as error:
        log = _written_since(log_before, environment.log_tail(_LOG_LINES))
        raise _explain(error, environment, log, how_far()) from error


def _written_since(before: str, after: str) -> str:
    """Return the lines of the log's tail ``after`` that came later than its tail ``before``."""
    last = before.rstrip("\n").rpartition("\n")[2]
    return after.rpartition(last)[2] if last else after


def _explain(error: psycopg.Error, environment: Environment, log: str, how_far: str) -> LabError:
    message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    trouble = environment.trouble(error, log)
    if trouble is Trouble.NO_SPACE:
        where = environment.inspect().directory or "the server's data"
        return PreconditionError(
            f"No space left for the server's data. {how_far}".rstrip(),
            code="disk.full",
            why=f"The file system of {where} is full: {message}",
            remedy="Free space there and run the same command again: it goes on from here.",
        )
    if trouble is Trouble.GONE:
        return ExternalError(
            f"The server went away. {how_far}".rstrip(),
            code="server.gone",
            why=message,
            remedy="`env.logs` shows why. Run the same command again: it goes on from here.",
        )
    state = f"SQLSTATE {error.sqlstate}: " if error.sqlstate else ""
    return ExternalError(
        f"The server refused a statement. {how_far}".rstrip(),
        code="server.refused",
        why=f"{state}{message}",
        remedy="Remove the cause and run the same command again: it goes on from here.",
    )
