"""Databases that sweeps make on the upstream: recorded before they are made, and marked.

A name alone says nothing: somebody else may call a database ``upstream_100``. One is the lab's own
where ``.lab/upstream/sweeps.json`` lists it and its comment carries the token that is listed with
it; or, where a command was killed between making and marking it, where it is listed, has no comment
and holds nothing.
"""

from __future__ import annotations

import contextlib
import enum
import re
import secrets
from pathlib import Path

import msgspec
import psycopg
from psycopg import sql

from lab.core.errors import StateMismatchError
from lab.core.files import read_struct, write_struct
from lab.core.killpoints import reached
from lab.servers.connection import Connection
from lab.upstream import slots
from lab.upstream.base import DATABASE, Provider

KILL_RECORDED = "upstream.sweep.recorded:after"
KILL_MADE = "upstream.sweep.made:after"

_NUMBERED = re.compile(rf"{DATABASE}_([1-9][0-9]*)")
_COMMENT = "SELECT coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database"
_HOLDS = """
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
"""
_SCHEMAS = """
SELECT count(*) FROM pg_namespace
 WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'public')
   AND nspname !~ '^pg_(toast|temp)'
"""
_FUNCTIONS = "SELECT count(*) FROM pg_proc WHERE oid >= 16384"


class Swept(msgspec.Struct, frozen=True):
    """A database of a sweep, and the token that its comment carries."""

    database: str
    token: str

    @property
    def mark(self) -> str:
        """The comment on the database."""
        return f"ddl-lab sweep {self.token}"

    @property
    def name(self) -> str:
        """What tells its source apart from that of the upstream itself: ``100``."""
        numbered = _NUMBERED.fullmatch(self.database)
        return numbered[1] if numbered else self.database


class SweptRecords(msgspec.Struct, frozen=True):
    """What is recorded of them; it outlives the record of the upstream.

    Sources in the environment that read them may be left after the upstream was destroyed.
    """

    folder: Path

    def read(self) -> tuple[Swept, ...]:
        """Return those that were made, or were about to be, and are not known to be gone."""
        return read_struct(self._path, tuple[Swept, ...]) or ()

    def add(self, database: str) -> Swept:
        """Record ``database`` with a new token, in place of what was recorded of it."""
        made = Swept(database, secrets.token_hex(16))
        self._write((*self._without(database), made))
        return made

    def forget(self, database: str) -> None:
        """Take ``database`` out."""
        if any(each.database == database for each in self.read()):
            self._write(self._without(database))

    def _without(self, database: str) -> tuple[Swept, ...]:
        return tuple(each for each in self.read() if each.database != database)

    def _write(self, left: tuple[Swept, ...]) -> None:
        write_struct(self._path, left)

    @property
    def _path(self) -> Path:
        return self.folder / "sweeps.json"


class Standing(enum.Enum):
    """What a database of some name is to the lab."""

    ABSENT = "there is none"
    OURS = "made by a sweep"
    BEGUN = "made by a sweep that was killed before it could mark it"
    THEIRS = "made by somebody else"


class SweptDatabases:
    """Makes and drops the databases of sweeps on the server of ``provider``."""

    def __init__(self, provider: Provider, records: SweptRecords) -> None:
        self._provider = provider
        self._records = records

    def standing(self, connection: Connection, database: str) -> Standing:
        """Say whose ``database`` is; ``connection`` is the administrator's."""
        row = connection.execute(f"{_COMMENT} WHERE datname = %s".encode(), (database,)).fetchone()
        if row is None:
            return Standing.ABSENT
        known = next((each for each in self._records.read() if each.database == database), None)
        if known is None:
            return Standing.THEIRS
        if row[0] == known.mark:
            return Standing.OURS
        return Standing.BEGUN if not row[0] and self._is_empty(database) else Standing.THEIRS

    def claim(self, connection: Connection, database: str) -> None:
        """Make ``database``, recorded before and marked afterwards; one of ours is gone on with.

        Raises
        ------
        StateMismatchError
            Somebody else made it (``upstream.not-ours``).
        """
        standing = self.standing(connection, database)
        if standing is Standing.THEIRS:
            raise not_ours(database)
        if standing is Standing.OURS:
            return
        made = self._records.add(database)
        reached(KILL_RECORDED)
        place = sql.Identifier(database)
        if standing is Standing.ABSENT:
            try:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(place))
            except psycopg.errors.DuplicateDatabase:
                # Somebody else was faster.
                self._records.forget(database)
                raise not_ours(database) from None
            reached(KILL_MADE)
        connection.execute(
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(place, sql.Literal(made.mark))
        )

    def drop(self, connection: Connection, database: str) -> bool:
        """Drop ``database`` with the idle slots of it; say whether there was one.

        Raises
        ------
        StateMismatchError
            Somebody else made it (``upstream.not-ours``).
        """
        standing = self.standing(connection, database)
        if standing is Standing.THEIRS:
            raise not_ours(database)
        if standing is not Standing.ABSENT:
            self._dropped(connection, database, forced=standing is Standing.OURS)
        self._records.forget(database)
        return standing is not Standing.ABSENT

    def _dropped(self, connection: Connection, database: str, *, forced: bool) -> None:
        for slot in slots.read_slots(connection) if forced else ():
            if slot.database == database and not slot.active:
                slots.drop_slot(connection, slot.name)
        # One without a mark is dropped only where nobody is in it.
        how = " WITH (FORCE)" if forced else ""
        connection.execute(sql.SQL(f"DROP DATABASE {{}}{how}").format(sql.Identifier(database)))

    def _is_empty(self, database: str) -> bool:
        with contextlib.closing(self._provider.connect("upstream.clean", database)) as connection:
            return not any(
                row and row[0]
                for row in (
                    connection.execute(query.encode()).fetchone()
                    for query in (_HOLDS, _SCHEMAS, _FUNCTIONS)
                )
            )


def not_ours(database: str) -> StateMismatchError:
    """Return the error for a database of a sweep's name that no sweep of this workspace made."""
    return StateMismatchError(
        f"There is a database {database} on the upstream that the lab did not make.",
        code="upstream.not-ours",
        why="No sweep of this workspace recorded it and put its mark on it as a comment: it is left"
        " alone.",
        remedy="Whoever made it may rename it; or leave that number out of the sweep"
        " (--upstream-sweep, or `sweep` under [batch]).",
    )
