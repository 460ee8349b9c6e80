"""What an error that has to do with an upstream means, and what to do about it.

Materialize and PostgreSQL pass on what the upstream said, in words that are alike: one table of
meanings does for both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from lab.core.errors import ExternalError, LabError, PreconditionError, StateMismatchError

if TYPE_CHECKING:
    import psycopg


class Meaning(msgspec.Struct, frozen=True, kw_only=True):
    """What errors that match ``pattern`` mean: the class, code and texts of a LabError."""

    pattern: str
    error: type[LabError]
    code: str
    what: str
    remedy: str


def described(error: psycopg.Error) -> str:
    """Return SQLSTATE, message and detail of ``error`` in one line, as `diagnose` takes it.

    Much that is passed on from an upstream tells its cause only in the detail.
    """
    said = (error.diag.message_primary or str(error), error.diag.message_detail or "")
    text = " ".join(" ".join(said).split())
    return f"{error.sqlstate} {text}" if error.sqlstate else text


def diagnose(error: str, meanings: Iterable[Meaning]) -> LabError | None:
    """Return what ``error`` (SQLSTATE and message) means by the first of ``meanings`` that fits."""
    for meaning in meanings:
        if re.search(meaning.pattern, error, re.IGNORECASE):
            return meaning.error(meaning.what, code=meaning.code, why=error, remedy=meaning.remedy)
    return None


REFUSED = Meaning(
    pattern=r"password authentication failed|no pg_hba\.conf entry|no password supplied"
    r"|FATAL: +role .* (?:does not exist|is not permitted to log in)"
    r"|FATAL: +permission denied for database",
    error=ExternalError,
    code="upstream.refused",
    what="The upstream does not let the source in.",
    remedy="`upstream.verify` shows who is let in; `upstream.up` sets the role and its password"
    " right, `upstream.connect` makes the source with them.",
)
SLOTS = Meaning(
    pattern=r"number of replication slots|replication slots are in use|replication disabled"
    r"|number of requested standby connections|too many clients|too many connections"
    r"|remaining connection slots",
    error=PreconditionError,
    code="upstream.slots",
    what="The upstream has no replication slot, WAL sender or connection left.",
    remedy="`upstream.status` lists the slots: `upstream.clean` drops what the lab has left there."
    " Raise max_replication_slots, max_wal_senders and max_connections on an upstream that is not"
    " the lab's.",
)
UNFIT = Meaning(
    pattern=r"wal_level",
    error=PreconditionError,
    code="upstream.unfit",
    what="The upstream is not set up for a source.",
    remedy="`upstream.verify` shows what it lacks.",
)
PUBLICATION = Meaning(
    pattern=r"publication .* does not exist|publication .* is empty|not found in source"
    r"|replica identity full|insufficient privileges|bypassrls",
    error=StateMismatchError,
    code="upstream.publication",
    what="The upstream does not publish the table, or not to the source.",
    remedy="`upstream.verify` shows what is published; `upstream.up` publishes what is missing.",
)
CONFLICT = Meaning(
    pattern=r"^40001",
    error=StateMismatchError,
    code="batch.conflict",
    what="Another session changed the catalog while the transaction was open.",
    remedy="Keep others from the server meanwhile (`env.verify` shows who is connected), and run"
    " it again.",
)
NOT_RUNNING = Meaning(
    pattern=r"connection refused|error connecting to server|could not connect to server"
    r"|error communicating with the server|server closed the connection|connection closed"
    r"|terminating connection|the database system is|FATAL: +database .* does not exist"
    r"|connection reset by peer|failed to connect to PostgreSQL database|timeout expired"
    r"|no connection to the server|connection timed out",
    error=PreconditionError,
    code="upstream.not-running",
    what="The upstream does not answer.",
    remedy="`upstream.status` shows what is there; `upstream.up` starts it.",
)
UPSTREAMS = (REFUSED, SLOTS, UNFIT, PUBLICATION, NOT_RUNNING)
"""What errors mean that have their cause upstream, the more special ones first."""
