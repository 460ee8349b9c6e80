"""The flags of a batch benchmark, which several tasks take."""

from __future__ import annotations

from typing import Any

from lab.cli.flags import listed, whole_number
from lab.core.limits import MOST_REPETITIONS, MOST_STATEMENTS, MOST_TABLES

BATCH_HELP = {
    "sizes": "Statements in one transaction: numbers separated by commas "
    "(default: those of [batch]).",
    "repetitions": "How often each size is tried (default: 3).",
    "upstream-sweep": "Numbers of published tables, separated by commas, at which transactions are "
    "repeated besides.",
    "grow": "Add the tables that the upstream lacks.",
}


def batch_flags(sizes: str, repetitions: str, upstream_sweep: str, grow: bool) -> dict[str, Any]:
    """Return the fields of `MeasureOptions` that the flags say; None where one was not given.

    Raises
    ------
    UsageError
        What should be a number is none, or out of range.
    """
    return {
        "sizes": _numbers("--sizes", sizes, most=MOST_STATEMENTS),
        "repetitions": whole_number("--repetitions", repetitions, least=1, most=MOST_REPETITIONS),
        "sweep": _numbers("--upstream-sweep", upstream_sweep, most=MOST_TABLES),
        "grow": grow or None,
    }


def _numbers(flag: str, text: str, *, most: int) -> tuple[int, ...] | None:
    parts = listed(flag, text)
    if parts is None:
        return None
    numbers = (whole_number(flag, part, least=1, most=most) for part in parts)
    return tuple(number for number in numbers if number is not None)
