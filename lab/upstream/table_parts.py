"""The tables and their publication, as parts of an upstream; see `lab.upstream.parts.Part`."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from lab.core.errors import LabError, StateMismatchError
from lab.core.killpoints import reached
from lab.core.progress import Progress
from lab.servers.connection import Connection
from lab.upstream import tables
from lab.upstream.base import PREFIX, PUBLICATION, ROLE, SCHEMA

KILL_POINT = "upstream.up:batch"
_PORTION = 100
"""Tables in one string, which is one transaction: what an interruption loses at most."""
NOT_COMPARED = "constraints and defaults cannot be compared without making a table there"
# The last string of a command that was killed may take effect after this one has looked.
_LOOKS = 3


class TablesPart:
    """The tables 1 to ``count`` of ``columns``, readable by the role; more may be there.

    With ``only_look`` nothing may be made there, not even to look.
    """

    name = "tables"

    def __init__(self, place: str, count: int, columns: str, *, only_look: bool) -> None:
        self.place = place
        self.reached: int | None = None
        self._only_look = only_look
        self._count = count
        self._columns = columns

    def look(self, connection: Connection) -> tuple[str, ...]:
        """Count them; those of other columns than declared are an error of their own."""
        found = tables.find(connection)
        lacking = tables.missing(self._count, found.existing)
        lines = []
        if lacking:
            already = self._count - len(lacking)
            lines += [f"- {already:,} of {tables.counted(self._count)}"] if already else []
            lines += [f"+ {tables.counted(len(lacking))} ({PREFIX}{tables.in_short(lacking)})"]
        for numbers, what in (
            (found.not_full, "REPLICA IDENTITY FULL"),
            (found.not_granted, f"SELECT for {ROLE}"),
        ):
            if numbers:
                lines.append(
                    f"+ {what} on {tables.counted(len(numbers))} ({tables.in_short(numbers)})"
                )
        if not _schema_granted(connection):
            lines.append(f"+ role {ROLE}: USAGE on the schema {SCHEMA}")
        return tuple(lines)

    def absent(self) -> str:
        """Say what is missing where there is no database yet."""
        return f"+ {tables.counted(self._count)} ({PREFIX}1…{self._count})"

    def found(self, connection: Connection) -> str:
        """Say how many there are."""
        there = tables.contiguous(tables.find(connection).existing)
        more = there - self._count
        return (
            f"{tables.counted(there)} ({self._columns})"
            + (f": {more:,} more than asked for, which stay" if more > 0 else "")
            + (f"; {NOT_COMPARED}" if self._only_look else "")
        )

    def require_columns(self, connection: Connection) -> None:
        """Refuse tables of other columns. Raises StateMismatchError (``upstream.columns``)."""
        unlike = tables.otherwise(connection, self._columns, only_look=self._only_look)
        if unlike:
            raise other_columns(unlike)

    def apply(self, connection: Connection, progress: Progress) -> None:
        """Make those that are missing, the lowest numbers first."""
        connection.execute(_grant_schema().encode())
        for looks_left in range(_LOOKS - 1, -1, -1):
            try:
                self._send(connection, progress)
                return
            except (psycopg.errors.DuplicateTable, psycopg.errors.UniqueViolation):
                if not looks_left:
                    raise

    def statements(self, connection: Connection) -> Iterator[str]:
        """Return queries whose results psql runs (``gexec``): 3,000 tables are three lines."""
        if not self.look(connection):
            return
        yield f"{_grant_schema()};"
        found = tables.find(connection)
        columns = self._columns.replace("%", "%%").replace("'", "''")
        lacking = frozenset(tables.missing(self._count, found.existing))
        for text, numbers in (
            (f"CREATE TABLE {SCHEMA}.{PREFIX}%s ({columns})", lacking),
            (f"ALTER TABLE {SCHEMA}.{PREFIX}%s REPLICA IDENTITY FULL", lacking | found.not_full),
            (f"GRANT SELECT ON {SCHEMA}.{PREFIX}%s TO {ROLE}", lacking | found.not_granted),
        ):
            yield from for_each(text, numbers)

    def _send(self, connection: Connection, progress: Progress) -> None:
        found = tables.find(connection)
        lacking = tables.missing(self._count, found.existing)
        unready = sorted(found.not_full | found.not_granted)
        work = [*((n, tables.create(n, self._columns)) for n in lacking)]
        work += [(n, tables.prepare(n)) for n in unready]
        self.reached = len(found.existing)
        with (
            connection.cursor() as cursor,
            progress.stage("making tables", total=len(work), unit="tables") as stage,
        ):
            for start in range(0, len(work), _PORTION):
                portion = work[start : start + _PORTION]
                cursor.execute("; ".join(each for _, each in portion).encode(), prepare=False)
                self.reached += len(portion)
                stage.advance(len(portion))
                reached(KILL_POINT)


class PublicationPart:
    """The publication of the tables 1 to ``count``; it may hold more."""

    name = "publication"

    def __init__(self, place: str, count: int) -> None:
        self.place = place
        self._count = count

    def look(self, connection: Connection) -> tuple[str, ...]:
        """Compare what it holds."""
        if not _has_publication(connection):
            return (self.absent(),)
        lacking = tables.missing(self._count, tables.published(connection))
        if not lacking:
            return ()
        shown = tables.in_short(lacking)
        return (f"+ publication {PUBLICATION}: {tables.counted(len(lacking))} more ({shown})",)

    def absent(self) -> str:
        """Say what is missing where there is no database yet."""
        return f"+ publication {PUBLICATION} of {tables.counted(self._count)}"

    def found(self, connection: Connection) -> str:
        """Say how many it holds."""
        return f"{PUBLICATION} holds {tables.counted(len(tables.published(connection)))}"

    def apply(self, connection: Connection, progress: Progress) -> None:
        """Make it, and add what it lacks."""
        if not _has_publication(connection):
            connection.execute(f"CREATE PUBLICATION {PUBLICATION}".encode())
        lacking = tables.missing(self._count, tables.published(connection))
        with progress.stage("publishing tables", total=len(lacking), unit="tables") as stage:
            for start in range(0, len(lacking), _PORTION):
                portion = lacking[start : start + _PORTION]
                connection.execute(tables.publish(portion).encode())
                stage.advance(len(portion))
                reached(KILL_POINT)

    def statements(self, connection: Connection) -> Iterator[str]:
        """Return the CREATE PUBLICATION and what adds the tables."""
        if not _has_publication(connection):
            yield f"CREATE PUBLICATION {PUBLICATION};"
        lacking = tables.missing(self._count, tables.published(connection))
        text = f"ALTER PUBLICATION {PUBLICATION} ADD TABLE {SCHEMA}.{PREFIX}%s"
        yield from for_each(text, frozenset(lacking))


def other_columns(unlike: dict[int, tuple[str, str]]) -> LabError:
    """Return the error for tables of other columns than declared."""
    first = min(unlike)
    declared, found = unlike[first]
    return StateMismatchError(
        f"{tables.counted(len(unlike))} of other columns than declared"
        f" ({PREFIX}{tables.in_short(unlike)}).",
        code="upstream.columns",
        why=f"Declared: {declared}. {PREFIX}{first} has: {found}.",
        remedy="Declare the columns that the tables have, or take the upstream down with"
        " --destroy and bring it up anew.",
    )


def for_each(text: str, numbers: frozenset[int]) -> Iterator[str]:
    """Return a query for psql that runs ``text``, with ``%s`` for the number, for each number."""
    if not numbers:
        return
    last = max(numbers)
    whole = numbers == frozenset(range(min(numbers), last + 1))
    listed = ",".join(map(str, sorted(numbers)))
    series = (
        f"generate_series({min(numbers)}, {last})" if whole else f"unnest('{{{listed}}}'::int[])"
    )
    # Shown to people, never run by the lab.
    yield f"SELECT format('{text}', i) FROM {series} i \\gexec"  # noqa: S608


def _grant_schema() -> str:
    return f"GRANT USAGE ON SCHEMA {SCHEMA} TO {ROLE}"


def _schema_granted(connection: Connection) -> bool:
    row = connection.execute(
        "SELECT has_schema_privilege(rolname, %s, 'USAGE') FROM pg_roles WHERE rolname = %s",
        (SCHEMA, ROLE),
    ).fetchone()
    return bool(row and row[0])


def _has_publication(connection: Connection) -> bool:
    row = connection.execute(
        "SELECT 1 FROM pg_publication WHERE pubname = %s", (PUBLICATION,)
    ).fetchone()
    return row is not None
