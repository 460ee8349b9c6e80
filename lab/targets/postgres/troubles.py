"""What an error of PostgreSQL means for the task that met it."""

from __future__ import annotations

import psycopg

from lab.targets.base import Trouble

# In the log of a server that died for want of space for its journal.
_NO_SPACE = "No space left on device"
# SQLSTATEs (PostgreSQL's appendix A): the server is going down, died or is starting.
_GONE = ("57P01", "57P02", "57P03")
_CONNECTION_CLASS = "08"


def classify(error: psycopg.Error, log: str) -> Trouble:
    """Return what kind of failure ``error`` is; ``log`` tells a full disk from another crash."""
    gone = _is_gone(error)
    if isinstance(error, psycopg.errors.DiskFull) or (gone and _NO_SPACE in log):
        return Trouble.NO_SPACE
    if gone:
        return Trouble.GONE
    # So PostgreSQL calls a lock table that does not hold the objects of one transaction.
    if isinstance(error, psycopg.errors.OutOfMemory):
        return Trouble.TOO_MUCH
    if isinstance(
        error,
        psycopg.errors.DuplicateTable
        | psycopg.errors.DuplicateObject
        | psycopg.errors.UniqueViolation
        | psycopg.errors.UndefinedTable
        | psycopg.errors.UndefinedObject,
    ):
        return Trouble.OVERTAKEN
    return Trouble.REFUSED


def _is_gone(error: psycopg.Error) -> bool:
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate in _GONE or error.sqlstate.startswith(_CONNECTION_CLASS)
