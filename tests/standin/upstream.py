"""What a source's upstream is asked: how it is reached, and the questions of a statement.

A statement opens a connection of its own and asks about a dozen things, three of which are answered
with a row or more for each table that is published, whichever table is wanted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from standin.errors import SqlError

_REFUSED = "error connecting to server: Connection refused (os error 111)"
_LOST = "connection closed"
_SLOTS_NEEDED = 2
_SENDERS = "SELECT current_setting('max_wal_senders')::int8 AS max_wal_senders"
_FREE_SLOTS = """
SELECT current_setting('max_replication_slots')::int8 - count(*) AS free
  FROM pg_catalog.pg_replication_slots
"""
_VERSION = "SELECT current_setting('server_version_num')::int4 AS server_version_num"
_PUBLICATION = "SELECT oid FROM pg_publication WHERE pubname = %s"
_TABLES = """
SELECT c.oid, t.schemaname, t.tablename FROM pg_publication_tables t
  JOIN pg_namespace n ON n.nspname = t.schemaname
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
 WHERE t.pubname = %s ORDER BY 2, 3
"""
_COLUMNS = """
SELECT attrelid, attname, atttypid, attnotnull FROM pg_attribute
 WHERE attrelid = ANY (%s::oid[]) AND attnum > 0 AND NOT attisdropped ORDER BY attrelid, attnum
"""
_CONSTRAINTS = """
SELECT k.conrelid, k.conname, k.conkey, i.indnullsnotdistinct
  FROM pg_constraint k JOIN pg_index i ON i.indexrelid = k.conindid
 WHERE k.conrelid = ANY (%s::oid[]) AND k.contype IN ('p', 'u')
"""
_SCHEMAS_CLOSED = """
SELECT DISTINCT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid = ANY (%s::oid[]) AND NOT has_schema_privilege(current_user, n.oid, 'usage')
"""
_OF_TABLES = """
SELECT format('%%s.%%s', n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY (%s::oid[])
"""
_TABLES_CLOSED = f"{_OF_TABLES} AND NOT has_table_privilege(current_user, c.oid, 'select')"
_POLICIES = f"""{_OF_TABLES}
   AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid) AND c.relrowsecurity
   AND NOT (SELECT rolbypassrls FROM pg_roles WHERE rolname = current_user)
"""
_NOT_FULL = f"{_OF_TABLES} AND c.relreplident <> 'f'"


@dataclass(frozen=True)
class Place:
    """Where an upstream is, and as whom it is read; `psycopg.connect` takes all of it."""

    host: str | None
    port: int
    dbname: str
    user: str | None
    password: str | None

    @contextlib.contextmanager
    def connected(self, code: str = "XX000") -> Iterator[psycopg.Connection]:
        """Lend a connection; what goes wrong with it is an `SqlError` of ``code``."""
        try:
            with contextlib.closing(self.open()) as connection:
                yield connection
        except psycopg.Error as error:
            raise SqlError(explained(error), code) from None

    def open(self) -> psycopg.Connection:
        return psycopg.connect(**vars(self), application_name="", autocommit=True)


@dataclass(frozen=True)
class Published:
    """A published table."""

    oid: int
    schema: str
    name: str
    columns: tuple[str, ...]


def explained(error: psycopg.Error) -> str:
    """Return an error of the upstream as the coordinator and sources tell it."""
    text = str(error)
    if "refused" in text:
        return _REFUSED
    if "FATAL:" in text:
        return f"db error: FATAL: {text.rpartition('FATAL:')[2].strip()}"
    if error.sqlstate:
        return f"db error: ERROR: {error.diag.message_primary}"
    return _LOST


def require_replication(connection: psycopg.Connection) -> None:
    """Ask whether a source can read from there.

    Raises
    ------
    SqlError
        Changes are not logged, or nobody else can be sent them.

    """
    level = _value(connection, "SHOW wal_level")
    if level != "logical":
        raise SqlError(f"server must have wal_level >= logical, but has {level}")
    if _value(connection, _SENDERS) < 1:
        raise SqlError("replication disabled on server", hint="set max_wal_senders to a value > 0")
    if _value(connection, _FREE_SLOTS) < _SLOTS_NEEDED:
        raise SqlError(
            "PostgreSQL server has insufficient number of replication slots available",
            detail=f"executing this statement requires {_SLOTS_NEEDED} replication slots",
            hint="you might be able to wait for other sources to finish snapshotting and try again",
        )


def published(connection: psycopg.Connection, publication: str) -> list[Published]:
    """Return all that is published, with what is asked of each table.

    Raises
    ------
    SqlError
        There is no such publication.

    """
    _value(connection, _VERSION)
    if _value(connection, _PUBLICATION, publication) is None:
        raise SqlError(
            "failed to connect to PostgreSQL database",
            detail=f"publication {publication} does not exist",
        )
    tables = connection.execute(_TABLES.encode(), (publication,)).fetchall()
    oids = [oid for oid, _, _ in tables]
    columns: dict[int, list[str]] = {oid: [] for oid in oids}
    for oid, name, _, _ in connection.execute(_COLUMNS.encode(), (oids,)):
        columns[oid].append(name)
    connection.execute(_CONSTRAINTS.encode(), (oids,))
    return [Published(oid, schema, name, tuple(columns[oid])) for oid, schema, name in tables]


def require_readable(connection: psycopg.Connection, table: Published) -> None:
    """Ask whether a table can be read.

    Raises
    ------
    SqlError
        The role may not, or changes of the table are not sent in full.

    """

    def refuse_where(query: str, message: str, detail: str, hint: str = "") -> None:
        rows = connection.execute(query.encode(), ([table.oid],)).fetchall()
        if rows:
            names = ", ".join(name for (name,) in rows)
            raise SqlError(
                f"POSTGRES source validation: {message}", detail=f"{detail} {names}", hint=hint
            )

    lacking = "insufficient privileges"
    refuse_where(_SCHEMAS_CLOSED, lacking, "user lacks USAGE privileges for schemas")
    refuse_where(_TABLES_CLOSED, lacking, "user lacks SELECT privileges for tables")
    refuse_where(
        _POLICIES,
        "one or more tables requires BYPASSRLS",
        "user must have BYPASSRLS attribute to read tables",
        "Add the BYPASSRLS attribute to the Materialize user",
    )
    not_full = "referenced items not tables with REPLICA IDENTITY FULL"
    refuse_where(_NOT_FULL, not_full, "referenced items:")


def _value(connection: psycopg.Connection, query: str, *parameters: str) -> Any:
    row = connection.execute(query.encode(), parameters or None).fetchone()
    return row[0] if row else None
