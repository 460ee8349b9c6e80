"""Errors that a user can act on, each with a stable code and the exit code of its cause.

Every error says what happened, why, and what to do next. Exit codes:
1 unexpected, 2 usage, 3 precondition, 4 state mismatch, 5 busy, 6 an external program failed,
124 timeout.
"""

from __future__ import annotations

from typing import ClassVar


class LabError(Exception):
    """A foreseeable failure.

    Parameters
    ----------
    what:
        What happened, as one sentence.
    code:
        Stable, dotted identifier for programs, such as ``config.unknown-key``.
    why:
        The cause, where it is known.
    remedy:
        What to do next. Never a complete destructive command.

    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, code: str, why: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.code = code
        self.why = why
        self.remedy = remedy

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.what!r}, code={self.code!r})"


class UsageError(LabError):
    """The command line or the configuration cannot be understood."""

    exit_code = 2


class PreconditionError(LabError):
    """Something that the task needs is missing or unfit."""

    exit_code = 3


class StateMismatchError(LabError):
    """The world is not in the state that the task was promised."""

    exit_code = 4


class BusyError(LabError):
    """Another command holds what this one needs."""

    exit_code = 5


class ExternalError(LabError):
    """A program or server outside the lab failed."""

    exit_code = 6


class LabTimeoutError(LabError, TimeoutError):
    """Something did not happen in time."""

    exit_code = 124
