"""What an error of Materialize means for the task that met it.

Most of its errors have the SQLSTATE XX000, so that they are told apart by their wording
(src/adapter/src/error.rs, src/sql/src/catalog.rs).
"""

from __future__ import annotations

import re
from typing import NamedTuple

import psycopg

from lab.targets.base import Trouble

# In what environmentd wrote before it died, or in what the metadata store answered it.
_NO_SPACE = ("No space left on device", "os error 28", "could not extend file")
_LIMIT = "53000"
_INTERNAL = "XX000"
# Shut down, crashed, or not up yet.
_GONE = ("57P01", "57P02", "57P03")
_CONNECTION_CLASS = "08"
# The existence check of a statement, that of the catalog's transaction, and a name of any kind.
_THERE_ALREADY = re.compile(r"(?:\"[^\"]+\"|'[^']+') already exists")
_NOT_THERE = re.compile(r"unknown (?:catalog item|schema) '")
_VIOLATED = re.compile(
    r"would violate (?P<name>[a-z_]+) limit \(desired: (?P<desired>[0-9]+), limit: "
)


class Limit(NamedTuple):
    """The system variable that allows no more, and the value that the statement needed."""

    name: str
    desired: int


def classify(error: psycopg.Error, log: str) -> Trouble:
    """Return what kind of failure ``error`` is; ``log`` tells a full disk from another crash."""
    message = _message(error)
    gone = _is_gone(error)
    if any(text in message or (gone and text in log) for text in _NO_SPACE):
        return Trouble.NO_SPACE
    if gone:
        return Trouble.GONE
    if limit_of(error) is not None:
        return Trouble.LIMIT
    if error.sqlstate == _INTERNAL and (
        _THERE_ALREADY.search(message) or _NOT_THERE.search(message)
    ):
        return Trouble.OVERTAKEN
    return Trouble.REFUSED


def limit_of(error: psycopg.Error) -> Limit | None:
    """Return the limit that ``error`` names; None where it is about something else."""
    if error.sqlstate != _LIMIT:
        return None
    found = _VIOLATED.search(_message(error))
    return Limit(found["name"], int(found["desired"])) if found else None


def _message(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error)


def _is_gone(error: psycopg.Error) -> bool:
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate in _GONE or error.sqlstate.startswith(_CONNECTION_CLASS)
