"""What an error of Materialize means for the task that met it.

Most of its errors have the SQLSTATE XX000, so that they are told apart by their wording
(src/adapter/src/error.rs, src/sql/src/catalog.rs).
"""

from __future__ import annotations

import re
from typing import NamedTuple

import psycopg

from lab.core.errors import PreconditionError
from lab.targets.base import Trouble
from lab.targets.diagnosis import CONFLICT, UPSTREAMS, Meaning, described, diagnose

# In what environmentd wrote before it died, or in what the metadata store answered it.
_NO_SPACE = ("No space left on device", "os error 28", "could not extend file")
_LIMIT = "53000"
_INTERNAL = "XX000"
_CONFLICT = "40001"
# An error of a connection that a statement names.
_UPSTREAM = "58000"
# Shut down, crashed, or not up yet.
_GONE = ("57P01", "57P02", "57P03")
_CONNECTION_CLASS = "08"
# The existence check of a statement, that of the catalog's transaction, and a name of any kind.
_THERE_ALREADY = re.compile(r"(?:\"[^\"]+\"|'[^']+') already exists")
_NOT_THERE = re.compile(r"unknown (?:catalog item|schema) '")
_VIOLATED = re.compile(
    r"would violate (?P<name>[a-z_]+) limit \(desired: (?P<desired>[0-9]+), limit: "
)

MEANINGS = (
    CONFLICT,
    Meaning(
        pattern=r"^53000 .*would violate [a-z_]+ limit",
        error=PreconditionError,
        code="batch.limit",
        what="A limit of the server allows no more objects of the kind.",
        remedy="`env.set` raises it: `env.get --match max_` lists the limits.",
    ),
    Meaning(
        pattern=r"unknown (?:catalog item|schema|source) '(?:[^']*\.)?(?:ddl_lab_|source')",
        error=PreconditionError,
        code="source.missing",
        what="There is no source that reads the upstream.",
        remedy="`upstream.connect` makes it.",
    ),
    Meaning(
        pattern=r"unknown cluster '",
        error=PreconditionError,
        code="source.cluster",
        what="There is no cluster of the name that the source is to run in.",
        remedy="Set `cluster` under [upstream] in lab.toml to one that SHOW CLUSTERS lists.",
    ),
    *UPSTREAMS,
)
"""What errors of tables from a source mean, the more special ones first."""


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
    if error.sqlstate == _CONFLICT:
        return Trouble.CONFLICT
    if error.sqlstate == _UPSTREAM or (
        error.sqlstate == _INTERNAL and diagnose(described(error), UPSTREAMS) is not None
    ):
        return Trouble.UPSTREAM
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
