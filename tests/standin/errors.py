"""Errors as a client sees them."""

from __future__ import annotations

ANOTHER_SESSION = "another session modified the catalog while this DDL transaction was open"


class SqlError(Exception):
    """A failure with SQLSTATE, message, and maybe detail and hint."""

    def __init__(self, message: str, code: str = "XX000", detail: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.detail = detail
        self.hint = hint


def conflict() -> SqlError:
    """Return the error of a DDL transaction that another session overtook."""
    return SqlError(
        ANOTHER_SESSION,
        "40001",
        hint="Currently, DDL transactions fail when any other DDL happens concurrently, "
        "even on unrelated schemas/clusters.",
    )


def limit(noun: str, variable: str, maximum: int, current: int) -> SqlError:
    """Return the error of one more object of a kind than the limit allows."""
    return SqlError(
        f"creating {noun} would violate {variable} limit "
        f"(desired: {current + 1}, limit: {maximum}, current: {current})",
        "53000",
        hint=f"Drop an existing {noun} or contact support to request a limit increase.",
    )
