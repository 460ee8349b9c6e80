"""What an upstream consists of, part by part: each looked at, made, and told as SQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import psycopg
from psycopg import sql

from lab.core.errors import PreconditionError, StateMismatchError
from lab.core.progress import Progress
from lab.core.results import Status, Step
from lab.servers.connection import Connection
from lab.upstream.base import MAINTENANCE, ROLE

LEAST_SLOTS = 2
"""Free slots (and WAL senders) that one ``CREATE TABLE … FROM SOURCE`` asks for."""

_RIGHTS = """
SELECT rolcanlogin, rolreplication, rolsuper, rolcreatedb, rolcreaterole, rolbypassrls
  FROM pg_roles WHERE rolname = %s
"""
_SETTINGS = """
SELECT current_setting('wal_level'), current_setting('max_wal_senders')::int,
       current_setting('max_replication_slots')::int,
       -- Not everybody may see the libraries; only where this one is loaded it has settings.
       coalesce(
         'pg_stat_statements' = ANY(string_to_array(replace(libraries.setting, ' ', ''), ',')),
         current_setting('pg_stat_statements.max', true) IS NOT NULL),
       libraries.setting
  FROM (SELECT max(setting) AS setting FROM pg_settings
         WHERE name = 'shared_preload_libraries') libraries
"""
_UNSEEN = "not to be seen by this user"


class Part(Protocol):
    """One part of an upstream."""

    name: str
    place: str
    """The database in which it is looked at and made."""

    def look(self, connection: Connection) -> tuple[str, ...]:
        """Say what is missing or other than declared; ``+`` and ``-`` in front."""

    def absent(self) -> str:
        """Say what is missing where there is no server, or no database, yet."""

    def found(self, connection: Connection) -> str:
        """Say what is there, once nothing is missing."""

    def apply(self, connection: Connection, progress: Progress) -> None:
        """Bring about what `look` found missing."""

    def statements(self, connection: Connection) -> Iterator[str]:
        """Return what `apply` would do, as SQL for psql."""


class SettingsPart:
    """The settings of a server that is not the lab's to start: said, never changed."""

    name = "settings"
    place = MAINTENANCE

    def look(self, connection: Connection) -> tuple[str, ...]:
        """Compare the settings that take a restart."""
        return tuple(
            line
            for setting, found, wanted in self._unfit(connection)
            for line in (f"- {setting} = {found}", f"+ {setting} = {wanted}")
        )

    def absent(self) -> str:
        """Name them."""
        return "+ settings that a source needs"

    def found(self, connection: Connection) -> str:
        """Say that they fit."""
        return "wal_level, WAL senders, slots and pg_stat_statements fit"

    def apply(self, connection: Connection, progress: Progress) -> None:
        """Refuse: they take effect with a restart, which is not the lab's to make."""
        raise PreconditionError(
            "The upstream's settings do not fit a source.",
            code="upstream.unfit",
            why="; ".join(f"{name} is {found}" for name, found, _ in self._unfit(connection)),
            remedy=" ".join(self.statements(connection))
            + " Then restart that server and run the command again.",
        )

    def statements(self, connection: Connection) -> Iterator[str]:
        """Return the ALTER SYSTEM for each."""
        for name, found, wanted in self._unfit(connection):
            if found == _UNSEEN:
                # What is listed there already would be lost.
                yield f"-- add {wanted} to {name}; takes effect with a restart"
                continue
            yield f"ALTER SYSTEM SET {name} = '{wanted}'; -- takes effect with a restart"

    def _unfit(self, connection: Connection) -> list[tuple[str, str, str]]:
        row = connection.execute(_SETTINGS).fetchone()
        assert row is not None
        level, senders, slots, preloaded, libraries = row
        unfit = []
        if level != "logical":
            unfit.append(("wal_level", level, "logical"))
        if senders < LEAST_SLOTS:
            unfit.append(("max_wal_senders", str(senders), "10"))
        if slots < LEAST_SLOTS:
            unfit.append(("max_replication_slots", str(slots), "10"))
        if not preloaded:
            wanted = ", ".join(filter(None, (libraries, "pg_stat_statements")))
            found = _UNSEEN if libraries is None else libraries or "empty"
            unfit.append(("shared_preload_libraries", found, wanted))
        return unfit


class DatabasePart:
    """The database that the tables lie in."""

    name = "database"
    place = MAINTENANCE

    def __init__(self, database: str) -> None:
        self._database = database

    def look(self, connection: Connection) -> tuple[str, ...]:
        """Look whether it exists."""
        return () if has_database(connection, self._database) else (self.absent(),)

    def absent(self) -> str:
        """Name it."""
        return f"+ database {self._database}"

    def found(self, connection: Connection) -> str:
        """Name it."""
        return self._database

    def apply(self, connection: Connection, progress: Progress) -> None:
        """Make it."""
        try:
            connection.execute(self._create())
        except psycopg.errors.DuplicateDatabase:
            return

    def statements(self, connection: Connection) -> Iterator[str]:
        """Return the CREATE DATABASE where it is missing."""
        if self.look(connection):
            yield f"{self._create().as_string(connection)};"

    def _create(self) -> sql.Composed:
        return sql.SQL("CREATE DATABASE {}").format(sql.Identifier(self._database))


class ExtensionPart:
    """pg_stat_statements, by which the upstream is watched."""

    name = "extension"
    place = MAINTENANCE
    _CREATE = "CREATE EXTENSION IF NOT EXISTS pg_stat_statements"

    def look(self, connection: Connection) -> tuple[str, ...]:
        """Look whether it is installed in the database it is watched from."""
        row = connection.execute(
            "SELECT 1 FROM pg_extension WHERE extname = 'pg_stat_statements'"
        ).fetchone()
        return () if row else (self.absent(),)

    def absent(self) -> str:
        """Name it."""
        return f"+ extension pg_stat_statements in {MAINTENANCE}"

    def found(self, connection: Connection) -> str:
        """Name it."""
        return "pg_stat_statements"

    def apply(self, connection: Connection, progress: Progress) -> None:
        """Make it."""
        connection.execute(self._CREATE.encode())

    def statements(self, connection: Connection) -> Iterator[str]:
        """Return the CREATE EXTENSION where it is missing."""
        if self.look(connection):
            yield f"{self._CREATE};"


class RolePart:
    """The role as which a source reads: login and replication, and no other right on the server.

    ``proves`` tries the password and returns why it does not let the role in, empty where it does.
    ``made`` says that the lab made the role: one of another workspace is not taken over, since its
    sources would be locked out.
    """

    name = "role"
    place = MAINTENANCE

    def __init__(self, database: str, password: str, proves: Proof, *, made: bool) -> None:
        self._made_by_lab = made
        self._database = database
        self._password = password
        self._proves = proves

    def look(self, connection: Connection) -> tuple[str, ...]:
        """Compare its rights, and log in as it."""
        row = connection.execute(_RIGHTS, (ROLE,)).fetchone()
        if row is None:
            return (self.absent(),)
        unlike = []
        login, replication, *more = row
        for right, has in (("LOGIN", login), ("REPLICATION", replication)):
            unlike += [] if has else [f"+ role {ROLE}: {right}"]
        for right, has in zip(
            ("SUPERUSER", "CREATEDB", "CREATEROLE", "BYPASSRLS"), more, strict=True
        ):
            unlike += [f"- role {ROLE}: {right}"] if has else []
        there = has_database(connection, self._database)
        if not there or not _granted(connection, self._database):
            return (*unlike, f"+ role {ROLE}: CONNECT on {self._database}")
        # Without the right to log in it could not prove its password.
        why = self._proves() if login else ""
        return (*unlike, f"+ role {ROLE}: its password ({why})") if why else tuple(unlike)

    def absent(self) -> str:
        """Name it."""
        return f"+ role {ROLE} (LOGIN, REPLICATION)"

    def found(self, connection: Connection) -> str:
        """Say what it may."""
        return f"{ROLE} logs in, replicates, and may do nothing more"

    def apply(self, connection: Connection, progress: Progress) -> None:
        """Make it, or set it right, so that its password stands in no log and no statistics."""
        if self._is_anothers(connection):
            raise _role_exists()
        with connection.transaction():
            if _is_superuser(connection):
                connection.execute("SET LOCAL log_statement = 'none'")
                connection.execute("SET LOCAL log_min_duration_statement = -1")
                connection.execute("SET LOCAL log_min_error_statement = 'panic'")
                connection.execute("SET LOCAL pg_stat_statements.track_utility = off")
            for statement in self._made(connection):
                connection.execute(statement.encode())

    def statements(self, connection: Connection) -> Iterator[str]:
        """Return the CREATE ROLE or ALTER ROLE, with a verifier instead of the password."""
        if self.look(connection):
            if self._is_anothers(connection):
                yield f"-- {ROLE} exists; if another workspace uses it, this locks that one out:"
            for statement in self._made(connection):
                yield f"{statement};"

    def _is_anothers(self, connection: Connection) -> bool:
        """Say whether it is there, and nothing shows that this workspace made it."""
        if self._made_by_lab:
            return False
        there = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (ROLE,)).fetchone()
        return there is not None and bool(self._proves())

    def _made(self, connection: Connection) -> tuple[str, ...]:
        there = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (ROLE,)).fetchone()
        # The server is never shown the password itself.
        verifier = connection.pgconn.encrypt_password(
            self._password.encode(), ROLE.encode(), b"scram-sha-256"
        ).decode()
        verb = "ALTER" if there else "CREATE"
        grant = sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
            sql.Identifier(self._database), sql.Identifier(ROLE)
        )
        return (
            f"{verb} ROLE {ROLE} LOGIN REPLICATION NOSUPERUSER NOCREATEDB NOCREATEROLE"
            f" NOBYPASSRLS PASSWORD '{verifier}'",
            grant.as_string(connection),
        )


def _role_exists() -> StateMismatchError:
    return StateMismatchError(
        f"There is a role {ROLE} on that server already, with a password that is not known here.",
        code="upstream.role-exists",
        why="This workspace did not make it. Another one may read that server by it, and would be"
        " locked out by a new password.",
        remedy="To share it, copy the file .lab/upstream/password of the workspace that made it to"
        " the same place here, mode 600; or let that server's owner take the role away, if nobody"
        " uses it. Then run the same command again.",
    )


class Proof(Protocol):
    """Logs in as the role; returns why that fails, empty where it does not."""

    def __call__(self) -> str:
        """Try it."""


def bring_about(part: Part, connection: Connection, progress: Progress) -> Step:
    """Look, make what is missing, and look again.

    Raises
    ------
    StateMismatchError
        Something is still missing then (``upstream.not-converged``).
    """
    diff = part.look(connection)
    if not diff:
        return Step(name=part.name, status=Status.OK, why=part.found(connection))
    part.apply(connection, progress)
    left = part.look(connection)
    if left:
        raise StateMismatchError(
            f"The upstream's {part.name} was brought about, and a second look still finds a"
            " difference.",
            code="upstream.not-converged",
            why="; ".join(left),
            remedy="See what else changes it, then run the same command again.",
        )
    return Step(name=part.name, status=Status.CHANGED, why=part.found(connection), diff=diff)


def has_database(connection: Connection, name: str) -> bool:
    """Say whether the server has the database ``name``."""
    found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
    return found.fetchone() is not None


def _granted(connection: Connection, database: str) -> bool:
    row = connection.execute(
        "SELECT has_database_privilege(%s, %s, 'CONNECT')", (ROLE, database)
    ).fetchone()
    return bool(row and row[0])


def _is_superuser(connection: Connection) -> bool:
    row = connection.execute("SELECT current_setting('is_superuser')").fetchone()
    return bool(row and row[0] == "on")
