"""What an error of PostgreSQL means for the task that met it."""

from __future__ import annotations

import psycopg

from lab.core.errors import PreconditionError
from lab.targets.base import Trouble
from lab.targets.diagnosis import CONFLICT, PUBLICATION, UPSTREAMS, Meaning

# In the log of a server that died for want of space for its journal.
_NO_SPACE = "No space left on device"
# SQLSTATEs (PostgreSQL's appendix A): the server is going down, died or is starting.
_GONE = ("57P01", "57P02", "57P03")
_CONFLICTS = ("40001", "40P01")
# What postgres_fdw says of a connection of its own, and what it adds to what the upstream said.
_UPSTREAM_CLASSES = ("08", "HV")
_REMOTE = "remote SQL command"

MEANINGS = (
    *UPSTREAMS,
    Meaning(
        pattern=r"^53200",
        error=PreconditionError,
        code="batch.limit",
        what="The server's table of locks has no room for so many objects in one transaction.",
        remedy="Set max_locks_per_transaction higher under [postgres] settings in lab.toml, and"
        " start the server anew; or take smaller batches.",
    ),
    CONFLICT,
    Meaning(
        pattern=r"^42501 permission denied for (?:table|schema|foreign table)",
        error=PUBLICATION.error,
        code=PUBLICATION.code,
        what="The upstream does not let the source read the table.",
        remedy=PUBLICATION.remedy,
    ),
    Meaning(
        pattern=r"^42704 .*server|^3F000",
        error=PreconditionError,
        code="source.missing",
        what="There is no foreign server that reads the upstream.",
        remedy="`upstream.connect` makes it.",
    ),
)
"""What errors of foreign tables mean, the more special ones first."""


def classify(error: psycopg.Error, log: str) -> Trouble:
    """Return what kind of failure ``error`` is; ``log`` tells a full disk from another crash."""
    if _is_upstreams(error):
        return Trouble.UPSTREAM
    gone = _is_gone(error)
    if isinstance(error, psycopg.errors.DiskFull) or (gone and _NO_SPACE in log):
        return Trouble.NO_SPACE
    if gone:
        return Trouble.GONE
    # So PostgreSQL calls a lock table that does not hold the objects of one transaction.
    if isinstance(error, psycopg.errors.OutOfMemory):
        return Trouble.TOO_MUCH
    if error.sqlstate in _CONFLICTS:
        return Trouble.CONFLICT
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


def _is_upstreams(error: psycopg.Error) -> bool:
    """Say whether ``error`` is one of the upstream, passed on by a server that lives itself.

    Errors of the connection to that server itself have no SQLSTATE.
    """
    state = error.sqlstate or ""
    return state.startswith(_UPSTREAM_CLASSES) or _REMOTE in (error.diag.context or "")


def _is_gone(error: psycopg.Error) -> bool:
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate in _GONE
