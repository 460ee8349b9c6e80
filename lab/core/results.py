"""What a task reports: steps with a status each, and one outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import msgspec

from lab.core.errors import LabError


class Status(StrEnum):
    """How a step or a task ended. ``changed`` is said only after a second look."""

    OK = "ok"
    CHANGED = "changed"
    WOULD_CHANGE = "would change"
    SKIPPED = "skipped"
    FAILED = "failed"
    UNKNOWN = "unknown"


# From the mildest to the gravest: a task's status is that of its gravest step.
_GRAVITY = (
    Status.SKIPPED,
    Status.OK,
    Status.WOULD_CHANGE,
    Status.CHANGED,
    Status.UNKNOWN,
    Status.FAILED,
)


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a task and how it ended.

    ``why`` explains the status; ``diff`` shows what changed or would change, one line each, with a
    leading ``-`` or ``+``.
    """

    name: str
    status: Status
    why: str = ""
    diff: tuple[str, ...] = ()


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a task.

    ``text`` is for people and goes to standard output; ``data`` is for programs and goes into the
    ``--json`` envelope; ``hint`` names the next useful command; ``exit_code`` is other than zero
    where the task did its work and found something wrong (a check that failed). ``failure`` is the
    error that ended a task whose steps are worth showing all the same.
    """

    summary: str = ""
    status: Status = Status.OK
    steps: tuple[Step, ...] = ()
    text: str = ""
    data: Any = None
    warnings: tuple[str, ...] = ()
    hint: str = ""
    exit_code: int = 0
    failure: LabError | None = None


def gravest(steps: Iterable[Step]) -> Status:
    """Return the gravest status among ``steps``; ``ok`` where there is none."""
    statuses = [step.status for step in steps]
    return max(statuses, key=_GRAVITY.index, default=Status.OK)


def recap(steps: Iterable[Step]) -> str:
    """Count the statuses of ``steps``: ``ok=3 changed=1``."""
    counts = Counter(step.status for step in steps)
    return " ".join(
        f"{status.value.replace(' ', '-')}={counts[status]}" for status in Status if counts[status]
    )


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at to prove that something is fit."""

    name: str
    passed: bool
    found: str
    expected: str = ""
    remedy: str = ""
