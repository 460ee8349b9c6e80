"""Values of flags: Invoke hands over text, these make of it what is meant."""

from __future__ import annotations

import re
import sys

from lab.core.errors import UsageError

# In one piece, or with its thousands set apart; eighteen digits fit into 64 bits.
_WHOLE = r"-?[0-9]{1,18}|[0-9]{1,3}(?:[_,][0-9]{3}){1,5}"


def whole_number(flag: str, text: str, *, least: int, most: int | None = None) -> int | None:
    """Return the number that ``text`` says, None where the flag was not given.

    Raises
    ------
    UsageError
        It is no whole number, below ``least``, or above ``most``.
    """
    if not text:
        return None
    fits = re.fullmatch(_WHOLE, text) and _number(text) >= least
    if not fits or (most is not None and _number(text) > most):
        span = f"of at least {least:,}" if most is None else f"from {least:,} to {most:,}"
        raise UsageError(
            f"{flag} takes a whole number {span}, not {text!r}.",
            code="usage.number",
            remedy="Give it in digits; thousands may be set apart, as in 100,000.",
        )
    return _number(text)


def listed(flag: str, text: str) -> tuple[str, ...] | None:
    """Return the parts of ``text`` between commas, None where the flag was not given.

    Raises
    ------
    UsageError
        There is none.
    """
    if not text:
        return None
    parts = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not parts:
        raise UsageError(
            f"{flag} names nothing: {text!r}.",
            code="usage.list",
            remedy="Give one name or several with commas between, or leave the flag out.",
        )
    return parts


def typed(question: str) -> str:
    """Ask at the terminal; no answer is an empty one."""
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def _number(text: str) -> int:
    return int(text.replace("_", "").replace(",", ""))
