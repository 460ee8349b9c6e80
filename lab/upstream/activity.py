"""Watch what an upstream is asked: connections, and queries by what they are for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from lab.metrics.reading import Kind, Reading, Series
from lab.servers.connection import Connection
from lab.upstream import logs
from lab.upstream.base import MAINTENANCE, ROLE, Provider
from lab.upstream.costs import CONNECTIONS, SESSION_TIME
from lab.upstream.shapes import SHAPES
from lab.upstream.statements import Statements

__all__ = ["SHAPES", "Activity", "Watched"]

QUIET_S = 2.0
"""For how long nothing may happen until a source that copies tables is taken to be at rest.

It begins to copy a moment after the COMMIT that made the tables."""
_BRIEF_S = 0.1
"""The same where no source copies from the database."""
_PACE_S = 0.05
_CLOSING_S = 0.25
"""For how long a session that does nothing any more may take to end."""
_LINE_S = 1.0
"""For how long the end of a session may take to get into the log."""
_HEARTBEAT = "pg_current_wal_lsn"
"""What a source that has nothing to do asks once a second."""

_SESSIONS = """
SELECT pid, backend_start::text, backend_type = 'walsender', coalesce(state, ''),
       coalesce(query, '')
  FROM pg_stat_activity WHERE usename = %s AND datname = %s ORDER BY 1
"""
_COPIES = """
SELECT count(*) FROM pg_replication_slots WHERE database = %s
"""
_SETTINGS = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
_SERVER = """
SELECT pg_postmaster_start_time()::text, current_setting('pg_stat_statements.track_planning', true),
       coalesce((SELECT sessions FROM pg_stat_database WHERE datname = %s), 0)
"""


class Watched(Protocol):
    """What is watched; `lab.upstream.upstream.Upstream`."""

    @property
    def provider(self) -> Provider:
        """Where its server comes from."""

    def connect(self, purpose: str, database: str = "") -> Connection:
        """Open a connection as administrator."""


class _Session(NamedTuple):
    """A session of the role in the database."""

    pid: int
    began: str
    replicates: bool
    state: str
    query: str

    @property
    def identity(self) -> tuple[int, str]:
        """What tells it from any other, as process ids are used again."""
        return self.pid, self.began

    @property
    def rests(self) -> bool:
        """Whether it does nothing, or nothing but replicate."""
        return self.replicates or self.state == "idle"

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.state}): {' '.join(self.query.split())[:80]}"


class Activity:
    """What the role of a source asks in one database of the upstream, from now on.

    Its own connection goes to another database, as another role: it is no part of what it sees.
    Connections are counted from the moment it is made, so that readings of two of them have no
    difference. Where the log cannot be seen they come from ``pg_stat_database``, other roles'
    connections to that database among them, and ``upstream.session_time`` is missing.

    Parameters
    ----------
    upstream:
        The upstream.
    database:
        Its database that the source reads.
    role:
        As whom.

    Raises
    ------
    PreconditionError
        The upstream does not run, or does not tell what it is asked (``upstream.unfit``).
    ExternalError
        It refuses the administrator.
    """

    def __init__(self, upstream: Watched, database: str, role: str = ROLE) -> None:
        self._database = database
        self._role = role
        self._connection = upstream.connect("observe", MAINTENANCE)
        try:
            self._log = logs.SessionLog(role, database)
            self._follow, self._unseen = _follower(upstream.provider, self._connection)
            self._statements = Statements(self._connection, role, database)
        except BaseException:
            self._connection.close()
            raise
        self._dropped = self._statements.dropped
        self._reset_at = self._statements.reset_at
        self._lost = 0
        self._columns_asked = 0
        self._lasting = {each.identity for each in self._sessions()}

    def __repr__(self) -> str:
        return f"Activity({self._role}@{self._database})"

    def close(self) -> None:
        """Close its connection."""
        self._connection.close()

    def settle(self, timeout_s: float) -> str:
        """Wait until the role does nothing there but what a source at rest does.

        Replication and sessions that idle may stay. A source that copies tables is at rest where it
        has asked nothing for `QUIET_S`. Returns what is still under way after ``timeout_s``, empty
        where nothing is.
        """
        deadline = time.monotonic() + timeout_s
        quiet_s = QUIET_S if self._is_copied_from() else _BRIEF_S
        seen: object = None
        since = time.monotonic()
        while True:
            sessions = self._sessions()
            at_work = [each for each in sessions if not each.rests]
            self._statements.read()
            mark = (
                [each.identity for each in sessions],
                self._statements.calls_without(_HEARTBEAT),
            )
            now = time.monotonic()
            if at_work or mark != seen:
                seen, since = mark, now
            elif now - since >= quiet_s:
                self._at_rest(sessions)
                return ""
            if now >= deadline:
                return _still(at_work)
            time.sleep(_PACE_S)

    def read(self) -> Reading:
        """Read all series: cumulative, and all there each time.

        ``upstream.connections`` (count), ``upstream.session_time`` (ns; how long sessions lasted
        that have ended, but those of a source at rest), and for each shape ``upstream.SHAPE.time``
        (ns, planning and execution), ``.calls`` and ``.rows``.
        """
        taken_ns = time.monotonic_ns()
        self._await_closing()
        self._statements.read()
        row = self._connection.execute(_SERVER, (self._database,)).fetchone()
        assert row is not None
        started, planning, sessions = row
        return Reading(
            # After a reset no counter goes on from where it was, even one that does not fall.
            boot=f"{started}, counting since {self._statements.reset_at}",
            taken_ns=taken_ns,
            cost_ns=time.monotonic_ns() - taken_ns,
            series=tuple(self._series(int(sessions))),
            notes=tuple(self._notes(planning)),
        )

    def shapes_seen(self) -> dict[str, str]:
        """Return, of each shape that was asked since, the text of one statement, normalised."""
        seen: dict[str, str] = {}
        for shape, text in self._statements.asked():
            seen.setdefault(shape, text)
        return {shape: seen[shape] for shape in SHAPES if shape in seen}

    def unknown(self) -> tuple[str, ...]:
        """Return the texts of all statements that were asked since and are of no known shape."""
        return self._statements.unknown()

    def _series(self, sessions: int) -> Iterator[Series]:
        begun = sessions if self._unseen else self._log.begun
        yield Series(CONNECTIONS, Kind.COUNTER, "count", float(begun))
        if not self._unseen:
            yield Series(SESSION_TIME, Kind.COUNTER, "ns", float(self._log.ended_ns))
        for shape, tally in self._statements.by_shape().items():
            yield Series(f"upstream.{shape}.time", Kind.COUNTER, "ns", float(round(tally.ns)))
            yield Series(f"upstream.{shape}.calls", Kind.COUNTER, "count", float(tally.calls))
            yield Series(f"upstream.{shape}.rows", Kind.COUNTER, "count", float(tally.rows))

    def _notes(self, planning: str | None) -> Iterator[str]:
        if self._unseen:
            yield (
                f"Connections are those of every role to the upstream's database {self._database},"
                f" and how long they lasted is unknown: {self._unseen}."
            )
        if planning != "on":
            yield (
                "The upstream does not time planning (pg_stat_statements.track_planning is off):"
                " times of queries are those of execution alone."
            )
        if self._statements.reset_at != self._reset_at:
            yield f"The upstream's pg_stat_statements was reset at {self._statements.reset_at}."
        elif self._statements.dropped > self._dropped:
            yield (
                "The upstream's pg_stat_statements was full and dropped entries"
                f" {self._statements.dropped - self._dropped:,} times: counts of statements that"
                " were asked seldom may be too small (pg_stat_statements.max)."
            )
        if self._lost:
            yield f"{self._lost:,} sessions on the upstream ended without a line in its log."

    def _sessions(self) -> tuple[_Session, ...]:
        rows = self._connection.execute(_SESSIONS, (self._role, self._database))
        return tuple(_Session(*row) for row in rows)

    def _is_copied_from(self) -> bool:
        """Say whether a source copies from the database, or may begin to.

        It has a slot, which it makes with its first table; before that, it is known by what the
        statement that makes that table asked.
        """
        self._statements.read()
        asked = self._statements.by_shape()["columns"].calls
        moved, self._columns_asked = asked > self._columns_asked, asked
        row = self._connection.execute(_COPIES, (self._database,)).fetchone()
        return moved or bool(row and row[0])

    def _at_rest(self, sessions: tuple[_Session, ...]) -> None:
        """Count what is there now as lasting, so that its end is no statement's."""
        self._lasting = {each.identity for each in sessions}
        if self._follow is not None:
            self._log.feed(self._follow())
            self._log.give_up(frozenset(each.pid for each in sessions))

    def _await_closing(self) -> None:
        """Wait for sessions that are about to end, and for their last lines in the log."""
        _wait_until(lambda: not self._closing(), _CLOSING_S)
        # What is still there stays for longer; it is not waited for again.
        self._lasting |= self._closing()
        follow = self._follow
        if follow is None:
            return

        def missing() -> frozenset[int]:
            self._log.feed(follow())
            return self._log.open - {each.pid for each in self._sessions()}

        if not _wait_until(lambda: not missing(), _LINE_S):
            lost = missing()
            self._lost += len(lost)
            self._log.give_up(lost)

    def _closing(self) -> set[tuple[int, str]]:
        """Return the sessions that do nothing any more and are not known to last."""
        idle = (each for each in self._sessions() if not each.replicates and each.state == "idle")
        return {each.identity for each in idle} - self._lasting


def _follower(provider: Provider, connection: Connection) -> tuple[Callable[[], str] | None, str]:
    """Return what gives the new lines of the log, or why there is no use in them."""
    settings: dict[str, str] = dict(
        connection.execute(_SETTINGS, (list(logs.SETTINGS),)).fetchall()
    )
    why = logs.why_unseen(settings)
    follow = None if why else provider.follow_log()
    return follow, why or ("" if follow else "its log cannot be seen from here")


def _wait_until(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_PACE_S / 10)
    return True


def _still(at_work: list[_Session]) -> str:
    if not at_work:
        return "new sessions or queries, one after the other"
    return f"{len(at_work)} sessions at work: " + "; ".join(map(str, at_work[:3]))
