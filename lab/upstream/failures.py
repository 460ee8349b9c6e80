"""What an error of the upstream means, and what to do about it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import psycopg

from lab.core.errors import ExternalError, LabError, PreconditionError
from lab.upstream.base import Provider

_NO_SPACE = "No space left on device"
_LOG_LINES = 40
# SQLSTATEs (PostgreSQL's appendix A): the server is going down, died or is starting.
_GONE = ("57P01", "57P02", "57P03")
_CONNECTION_CLASS = "08"


@contextlib.contextmanager
def explained(provider: Provider, how_far: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Turn errors of the upstream's connections into errors with a remedy.

    ``how_far`` says, at the time of the error, what has been reached.

    Raises
    ------
    PreconditionError
        ``disk.full``.
    ExternalError
        ``upstream.gone``, ``upstream.failed``.
    """
    before = provider.log_tail(_LOG_LINES)
    try:
        yield
    except psycopg.Error as error:
        last = before.rstrip("\n").rpartition("\n")[2]
        log = provider.log_tail(_LOG_LINES)
        raise _explain(error, log.rpartition(last)[2] if last else log, how_far()) from error


def _explain(error: psycopg.Error, log: str, how_far: str) -> LabError:
    message = first_line(error)
    gone = is_gone(error)
    if isinstance(error, psycopg.errors.DiskFull) or (gone and _NO_SPACE in log):
        return PreconditionError(
            f"No space left for the upstream's data. {how_far}".rstrip(),
            code="disk.full",
            why=message,
            remedy="Free space there and run the same command again: it goes on from here.",
        )
    if gone:
        return ExternalError(
            f"The upstream went away. {how_far}".rstrip(),
            code="upstream.gone",
            why=message,
            remedy="`upstream.status` shows what is there. Run the same command again: it goes on"
            " from here.",
        )
    state = f"SQLSTATE {error.sqlstate}: " if error.sqlstate else ""
    return ExternalError(
        f"The upstream refused a statement. {how_far}".rstrip(),
        code="upstream.failed",
        why=f"{state}{message}",
        remedy="Remove the cause and run the same command again: it goes on from here.",
    )


def is_gone(error: psycopg.Error) -> bool:
    """Say whether ``error`` means that the server does not answer any more."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate in _GONE or error.sqlstate.startswith(_CONNECTION_CLASS)


def first_line(error: psycopg.Error) -> str:
    """Return what the server said, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def not_running(why: str) -> PreconditionError:
    """Return the error for an upstream that does not run."""
    return PreconditionError(
        "The upstream does not run.",
        code="upstream.not-running",
        why=why,
        remedy="`upstream.up` starts it.",
    )


def not_adopted(address: str) -> PreconditionError:
    """Return the error for somebody else's server at ``address`` that lacks something."""
    return PreconditionError(
        f"The server at {address} lacks what a source needs.",
        code="upstream.not-adopted",
        why="The lab did not make that server, and changes nothing there unless told to.",
        remedy="`upstream.up` lists the SQL that makes it, for you to run there; with --adopt it"
        " runs that itself.",
    )


def not_adopted_for_sweeps(address: str) -> PreconditionError:
    """Return the error for a sweep on somebody else's server at ``address``."""
    return PreconditionError(
        f"A sweep makes databases of its own, which the server at {address} is not open to.",
        code="upstream.not-adopted",
        why="The lab did not make that server, and changes nothing there unless told to.",
        remedy="Measure without a sweep, or adopt that server: `upstream.up` with --adopt.",
    )


def refused(error: psycopg.Error) -> ExternalError:
    """Return the error for an upstream that runs and lets nobody in."""
    return ExternalError(
        "The upstream accepts no connection.",
        code="upstream.refused",
        why=str(error).strip(),
        remedy="`upstream.verify` shows who it lets in; `upstream.up` sets the role and its"
        " password right where it is the lab's.",
    )
