"""Make sure that a source can be measured on: there, at rest, and seeing the tables it is to."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from lab.core.errors import LabError, StateMismatchError
from lab.core.progress import Progress
from lab.servers.connection import Connection
from lab.targets.parts import SourceState, Sourcing
from lab.targets.sourcing import MISSING, STALLED

_STARTING = "starting"
_STARTING_S = 30.0
_POLL_S = 0.2


def make_ready(
    sourcing: Sourcing,
    connection: Connection,
    tables: Collection[int],
    progress: Progress,
    tell: Callable[[str], object],
) -> None:
    """Drop what an interrupted run left, raise limits, and make sure that ``tables`` can be made.

    ``tell`` is given a sentence for each limit that was raised.

    Raises
    ------
    StateMismatchError
        The source is missing, other than declared, or stalled, or does not see the tables.

    """
    _require_there(sourcing, connection)
    left = sourcing.drop_tables(connection, progress)
    if left:
        progress.say(f"{left:,} tables that an interrupted run had left were dropped.")
    for before, after in sourcing.make_room(len(tables)):
        tell(f"{after.name} was raised from {before.value} to {after.value}")
    _require_at_work(sourcing, connection)
    _require_references(sourcing, connection, tables)


def _require_there(sourcing: Sourcing, connection: Connection) -> None:
    differences = sourcing.look(connection)
    if not differences:
        return
    raise StateMismatchError(
        "The source of the tables is not there, or other than declared.",
        code="source.missing",
        why="; ".join(differences),
        remedy="`upstream.connect` makes it.",
    )


def _require_at_work(sourcing: Sourcing, connection: Connection) -> None:
    """Refuse a source that is stalled; one without tables yet need not be running."""
    state = _started(sourcing, connection)
    if state.name not in (STALLED, MISSING):
        return
    known = sourcing.diagnose(state.error)
    raise StateMismatchError(
        f"The source is {state.name}.",
        code="source.stalled",
        why=state.error,
        remedy=known.remedy if known else "`upstream.verify` says what is amiss upstream.",
    )


def _started(sourcing: Sourcing, connection: Connection) -> SourceState:
    """Return how the source fares once it is not starting any more."""
    deadline = time.monotonic() + _STARTING_S
    state = sourcing.state(connection)
    while state.name == _STARTING and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        state = sourcing.state(connection)
    return state


def _require_references(
    sourcing: Sourcing, connection: Connection, tables: Collection[int]
) -> None:
    missing = len(set(tables) - sourcing.references(connection))
    if not missing:
        return
    raise StateMismatchError(
        f"The source does not see {missing:,} of the {len(tables):,} tables that are needed.",
        code="source.references",
        why="They were published after it last looked, or its role may not read them.",
        remedy="`upstream.connect` makes it look again; `upstream.verify` says what is amiss.",
    )


def drop_made(connect: Callable[[], Connection], sourcing: Sourcing, progress: Progress) -> None:
    """Drop all tables that are made, on a connection of its own, and say where that failed."""
    import psycopg

    try:
        connection = connect()
        try:
            sourcing.drop_tables(connection, progress)
        finally:
            connection.close()
    except (psycopg.Error, LabError) as error:
        progress.say(f"Tables were left behind ({error}); the next run drops them.")
