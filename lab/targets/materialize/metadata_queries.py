"""What is asked of a metadata store, PostgreSQL or CockroachDB, once connected."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import msgspec
import psycopg
from psycopg import sql

from lab.core.errors import PreconditionError
from lab.servers.connection import Connection

SCHEMAS = ("consensus", "tsoracle", "storage")
"""What environmentd keeps in a metadata store."""

MAINTENANCE = "postgres"
"""A database that both PostgreSQL and CockroachDB are made with."""

_CLOSING_S = 2.0
"""For how long the session of a client that has just ended may still be seen."""
_COCKROACH = "CockroachDB"
_SESSIONS = """
SELECT pid::text, application_name, coalesce(host(client_addr) || ':' || client_port, 'local'),
       to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"')
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
ORDER BY backend_start
"""
# CockroachDB does not say which database a session is in.
_COCKROACH_SESSIONS = """
SELECT session_id, application_name, client_address, session_start::string
FROM [SHOW CLUSTER SESSIONS] ORDER BY session_start
"""


class Session(msgspec.Struct, frozen=True):
    """Somebody who is connected to a metadata store: ``id`` is the server's, such as a pid."""

    id: str
    application: str
    client: str
    started: str

    def __str__(self) -> str:
        name = self.application or "a client without a name"
        return f"{name} from {self.client} (session {self.id}, since {self.started})"


def server(connection: Connection) -> str:
    """Return product and version: ``PostgreSQL 18.6``, ``CockroachDB CCL v24.1.0``."""
    words = str(_value(connection, "SELECT version()")).split()
    return " ".join(words[: 3 if words[0] == _COCKROACH else 2])


def identity(connection: Connection) -> str:
    """Return what tells this database from any other, a copy of it in the same server included.

    A database keeps its oid for life, and a copy made by ``TEMPLATE`` gets another.
    """
    if _is_cockroach(connection):
        system = _value(connection, "SELECT crdb_internal.cluster_id()::string")
    else:
        system = _value(connection, "SELECT system_identifier FROM pg_control_system()")
    database = _value(
        connection,
        "SELECT oid::text || '/' || datname FROM pg_database WHERE datname = current_database()",
    )
    return f"{system}/{database}"


def sessions(connection: Connection) -> tuple[Session, ...]:
    """Return who is connected to the database besides the lab, longest first.

    Those that end by themselves within two seconds are left out: they were ending.
    """
    query = _COCKROACH_SESSIONS if _is_cockroach(connection) else _SESSIONS
    deadline = time.monotonic() + _CLOSING_S
    while True:
        rows = connection.execute(query.encode()).fetchall()
        found = tuple(Session(*map(str, row)) for row in rows)
        others = tuple(each for each in found if not each.application.startswith("ddl-lab"))
        if not others or time.monotonic() > deadline:
            return others
        time.sleep(0.1)


def is_empty(connection: Connection) -> bool:
    """Say whether none of environmentd's schemas holds a row."""
    tables = connection.execute(
        "SELECT table_schema, table_name FROM information_schema.tables"
        " WHERE table_schema = ANY(%s) AND table_type = 'BASE TABLE'",
        (list(SCHEMAS),),
    ).fetchall()
    holds = (
        sql.SQL("SELECT EXISTS (SELECT 1 FROM {} LIMIT 1)").format(sql.Identifier(*table))
        for table in tables
    )
    return not any(_value(connection, each) for each in holds)


def ensure_schemas(connection: Connection) -> tuple[str, ...]:
    """Make environmentd's schemas where they are missing; return those that were made."""
    rows = connection.execute("SELECT nspname FROM pg_namespace").fetchall()
    missing = tuple(each for each in SCHEMAS if (each,) not in rows)
    for each in missing:
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(each)))
    return missing


def ensure_database(connect: Callable[[str], Connection], name: str, owner: str = "") -> bool:
    """Make the database ``name`` where it is missing; say whether it was made.

    ``connect`` opens a connection to the database that it is given the name of.

    Raises
    ------
    PreconditionError
        The user may not (``metadata.no-database``).

    """
    with contextlib.closing(connect(MAINTENANCE)) as connection:
        if has_database(connection, name):
            return False
        command = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if owner:
            command += sql.SQL(" OWNER {}").format(sql.Identifier(owner))
        try:
            connection.execute(command)
        except psycopg.errors.DuplicateDatabase:
            return False
        except psycopg.errors.InsufficientPrivilege as error:
            raise _may_not_create(name, connection.info.user, error) from error
    return True


def has_database(connection: Connection, name: str) -> bool:
    """Say whether the server has the database ``name``."""
    found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
    return found.fetchone() is not None


def unsafe_settings(connection: Connection) -> str:
    """Return why what PostgreSQL says is written may be lost in a crash; empty where it is not."""
    if not _is_cockroach(connection) and _value(connection, "SHOW fsync") == "off":
        return "fsync is off: a crash of the host loses or damages it"
    return ""


def data_directory(connection: Connection) -> str:
    """Return where PostgreSQL keeps its data; empty where this user is not told."""
    if _is_cockroach(connection):
        return ""
    try:
        return str(_value(connection, "SHOW data_directory"))
    except psycopg.errors.InsufficientPrivilege:
        return ""


def _is_cockroach(connection: Connection) -> bool:
    # Its greeting differs from PostgreSQL's, so that nothing has to be asked.
    return connection.info.parameter_status("crdb_version") is not None


def _value(connection: Connection, query: str | sql.Composed) -> object:
    row = connection.execute(query.encode() if isinstance(query, str) else query).fetchone()
    assert row is not None
    return row[0]


def _may_not_create(name: str, user: str, error: psycopg.Error) -> PreconditionError:
    return PreconditionError(
        f"The metadata store has no database `{name}`.",
        code="metadata.no-database",
        why=f"The user {user} may not make it: {str(error).strip()}.",
        remedy=f'As one that may, execute: CREATE DATABASE "{name}" OWNER "{user}";',
    )
