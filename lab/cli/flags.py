"""Values of flags: Invoke hands over text, these make of it what is meant."""

from __future__ import annotations

from lab.core.errors import UsageError


def whole_number(flag: str, text: str, *, least: int) -> int | None:
    """Return the number that ``text`` says, None where the flag was not given.

    Raises
    ------
    UsageError
        It is no whole number, or below ``least``.
    """
    if not text:
        return None
    try:
        number = int(text.replace("_", "").replace(",", ""))
    except ValueError:
        number = least - 1
    if number < least:
        raise UsageError(
            f"--{flag} takes a whole number of at least {least}, not {text!r}.",
            code="usage.number",
        )
    return number


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
        raise UsageError(f"--{flag} names nothing.", code="usage.list")
    return parts
