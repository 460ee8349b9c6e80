"""Tables read from an upstream by postgres_fdw: a foreign server, and a foreign table for each.

A transaction of many ``IMPORT FOREIGN SCHEMA … LIMIT TO`` is this target's counterpart of tables
made from a source: each statement asks the upstream's catalog, over one connection that is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg

from lab.core.errors import LabError
from lab.core.killpoints import reached
from lab.core.progress import Progress
from lab.core.results import Status, Step
from lab.servers.connection import Connection
from lab.targets import sourcing as common
from lab.targets.diagnosis import diagnose
from lab.targets.parts import SourceState, Variable
from lab.targets.postgres import troubles
from lab.targets.postgres.costs import IMPORT
from lab.targets.sourcing import identifier, literal
from lab.upstream.base import PREFIX, SCHEMA, Link

_CONNECT_S = 10
_PORTION = 500
"""How many tables one transaction drops: each takes locks."""
_CATALOG = "pg_publication_tables"
"""The upstream's view of what it publishes, as a foreign table."""
_NONE = "no_such_table"

_SERVER = "SELECT srvoptions FROM pg_foreign_server WHERE srvname = %s"
_MAPPING = """
SELECT umoptions FROM pg_user_mappings WHERE srvname = %s AND usename = current_user
"""
_NAMES = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND c.relkind = 'f'
"""
# A statement with a password is to appear in no log and no statistics of this server.
_UNSEEN = {
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_transaction_sample_rate": "0",
    "log_min_error_statement": "panic",
    "pg_stat_statements.track_utility": "off",
}


class ForeignSourcing:
    """Foreign tables of the upstream that ``link`` names; see `lab.targets.parts.Sourcing`."""

    statement: str = IMPORT
    product: str = "postgres_fdw: IMPORT FOREIGN SCHEMA … LIMIT TO (not Materialize)"
    needs: str = "nothing but the one connection that a session keeps open"
    cluster: str = ""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._schemas = common.schemas(link.name)
        self._server = self._schemas.upstream
        self.warm_up: tuple[str, ...] = (self._import(_NONE, self._schemas.batch),)

    def __repr__(self) -> str:
        return f"ForeignSourcing({self._link!r})"

    def look(self, connection: Connection) -> tuple[str, ...]:
        """Compare the foreign server, the user mapping and the schemas with what is declared."""
        server = _options(connection, _SERVER, self._server)
        if server is None:
            return (f"+ foreign server {self._server} on {self._place}",)
        lines = common.unlike(server, self._server_options)
        mapping = _options(connection, _MAPPING, self._server) or {}
        lines += common.unlike({"role": mapping.get("user", "")}, {"role": self._link.role})
        if mapping and mapping.get("password") != self._link.password:
            lines += ("- password of an earlier upstream", "+ password of the upstream")
        missing = [each for each in self._wanted_schemas if not _has_schema(connection, each)]
        lines += tuple(f"+ schema {each}" for each in missing)
        if self._server not in missing and not self._sees_catalog(connection):
            lines += (f"+ foreign table {self._server}.{_CATALOG}",)
        return lines

    def connect(self, connection: Connection, progress: Progress) -> tuple[Step, ...]:
        """Make the foreign server and what it needs, and compare what is published."""
        lines = self.look(connection)
        return (self._connected(connection, lines), self._agreed(connection))

    def disconnect(self, connection: Connection, progress: Progress) -> tuple[Step, ...]:
        """Drop the foreign tables, the server and its schemas; the extension stays."""
        dropped = self.drop_tables(connection, progress) if self._any(connection) else 0
        done = Status.CHANGED if dropped else Status.OK
        tables = Step(name="tables", status=done, why=f"dropped {dropped:,}")
        if not self._any(connection):
            return (tables, Step(name="source", status=Status.OK, why="there is none"))
        with connection.transaction():
            for schema in self._wanted_schemas:
                catalog = f"{identifier(schema)}.{_CATALOG}"
                if _has_schema(connection, schema):
                    self._run(connection, f"DROP FOREIGN TABLE IF EXISTS {catalog}")
                self._run(connection, f"DROP SCHEMA IF EXISTS {identifier(schema)}")
            self._run(connection, f"DROP SERVER IF EXISTS {identifier(self._server)} CASCADE")
        why = f"dropped foreign server {self._server}"
        return (tables, Step(name="source", status=Status.CHANGED, why=why))

    def references(self, connection: Connection) -> frozenset[int]:
        """Ask the upstream, by way of the foreign server, which tables it publishes."""
        if not _has_schema(connection, self._server) or not self._sees_catalog(connection):
            raise common.missing()
        rows = self._ask(
            connection,
            f"SELECT tablename FROM {identifier(self._server)}.{_CATALOG}"  # noqa: S608  quoted
            f" WHERE pubname = {literal(self._link.publication)} AND schemaname = '{SCHEMA}'",
        )
        return common.numbers(str(name) for (name,) in rows)

    def state(self, connection: Connection) -> SourceState:
        """Say whether the foreign server answers."""
        if _options(connection, _SERVER, self._server) is None:
            return SourceState(common.MISSING)
        try:
            self.references(connection)
        except LabError as error:
            if error.code == "source.missing":
                return SourceState(common.MISSING)
            return SourceState(common.STALLED, error.why)
        return SourceState(common.RUNNING)

    def made(self, connection: Connection) -> frozenset[int]:
        """Return the numbers of the foreign tables that are made."""
        rows = connection.execute(_NAMES, (self._schemas.batch,))
        return common.numbers(name for (name,) in rows)

    def drop_tables(self, connection: Connection, progress: Progress) -> int:
        """Drop all foreign tables that are made, some hundreds in a transaction."""
        self._run(connection, f"CREATE SCHEMA IF NOT EXISTS {identifier(self._schemas.batch)}")
        names = [f"{PREFIX}{number}" for number in sorted(self.made(connection))]
        with progress.stage("Dropping foreign tables", total=len(names), unit="tables") as stage:
            for start in range(0, len(names), _PORTION):
                portion = names[start : start + _PORTION]
                tables = ", ".join(f"{identifier(self._schemas.batch)}.{name}" for name in portion)
                self._run(connection, f"DROP FOREIGN TABLE IF EXISTS {tables}")
                reached("upstream.clean.portion:after")
                stage.advance(len(portion))
        return len(names)

    def create(self, number: int) -> str:
        """Return the statement that makes foreign table ``number``."""
        return self._import(f"{PREFIX}{number}", self._schemas.batch)

    def make_room(self, tables: int) -> tuple[tuple[Variable, Variable], ...]:
        """Do nothing: no setting of PostgreSQL limits the number of objects."""
        return ()

    def diagnose(self, error: str) -> LabError | None:
        """Say what an error means and what to do; None where unknown."""
        return diagnose(error, troubles.MEANINGS)

    @property
    def _place(self) -> str:
        return f"{self._link.host}:{self._link.port}, database {self._link.database}"

    @property
    def _wanted_schemas(self) -> tuple[str, str]:
        return (self._schemas.batch, self._schemas.upstream)

    @property
    def _server_options(self) -> dict[str, str]:
        return {
            "host": self._link.host,
            "port": str(self._link.port),
            "dbname": self._link.database,
            "connect_timeout": str(_CONNECT_S),
        }

    def _import(self, table: str, into: str) -> str:
        return (
            f"IMPORT FOREIGN SCHEMA {SCHEMA} LIMIT TO ({table})"
            f" FROM SERVER {identifier(self._server)} INTO {identifier(into)}"
        )

    def _connected(self, connection: Connection, lines: tuple[str, ...]) -> Step:
        if not lines:
            why = f"foreign server {self._server} reads {self._place}"
            return Step(name="source", status=Status.OK, why=why)
        known = _options(connection, _SERVER, self._server)
        elsewhere = known is not None and common.unlike(known, self._server_options)
        tables = len(self.made(connection))
        if elsewhere and tables:
            raise common.tables_hang(elsewhere, tables)
        reached("upstream.connect.source:before")
        self._run(connection, "CREATE EXTENSION IF NOT EXISTS postgres_fdw")
        with connection.transaction():
            self._make(connection)
        reached("upstream.connect.source:after")
        return Step(
            name="source",
            status=Status.CHANGED,
            why=f"made foreign server {self._server}, which reads {self._place}",
            diff=lines,
        )

    def _make(self, connection: Connection) -> None:
        """Make all anew but the schema of the tables, in the transaction that is open."""
        server = identifier(self._server)
        options = _as_options(self._server_options)
        for schema in self._wanted_schemas:
            self._run(connection, f"CREATE SCHEMA IF NOT EXISTS {identifier(schema)}")
        if _options(connection, _SERVER, self._server) is None:
            self._run(
                connection,
                f"CREATE SERVER {server} FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({options})",
            )
        else:
            self._alter(connection)
        for name, value in _UNSEEN.items():
            self._run(connection, f"SET LOCAL {name} = {literal(value)}")
        self._run(connection, f"DROP USER MAPPING IF EXISTS FOR CURRENT_USER SERVER {server}")
        of_role = _as_options({"user": self._link.role, "password": self._link.password})
        self._run(
            connection,
            f"CREATE USER MAPPING FOR CURRENT_USER SERVER {server} OPTIONS ({of_role})",
        )
        if not self._sees_catalog(connection):
            self._run(
                connection,
                f"IMPORT FOREIGN SCHEMA pg_catalog LIMIT TO ({_CATALOG})"
                f" FROM SERVER {server} INTO {identifier(self._server)}",
            )

    def _alter(self, connection: Connection) -> None:
        known = _options(connection, _SERVER, self._server) or {}
        changes = ", ".join(
            f"{'SET' if name in known else 'ADD'} {name} {literal(value)}"
            for name, value in self._server_options.items()
        )
        self._run(connection, f"ALTER SERVER {identifier(self._server)} OPTIONS ({changes})")

    def _agreed(self, connection: Connection) -> Step:
        seen = self.references(connection)
        lines = common.reference_differences(seen, self._link.tables)
        if lines:
            raise common.other_references(
                lines, "`upstream.status` shows what is published; `upstream.up` brings it about."
            )
        return Step(name="references", status=Status.OK, why=f"{len(seen):,} tables can be read")

    def _any(self, connection: Connection) -> bool:
        """Say whether anything of the source is there."""
        return _options(connection, _SERVER, self._server) is not None or any(
            _has_schema(connection, each) for each in self._wanted_schemas
        )

    def _sees_catalog(self, connection: Connection) -> bool:
        rows = connection.execute(_NAMES, (self._server,))
        return (_CATALOG,) in rows.fetchall()

    def _ask(self, connection: Connection, statement: str) -> list[tuple[Any, ...]]:
        """Ask the upstream, and leave no connection to it behind."""
        try:
            return self._run(connection, statement).fetchall()
        finally:
            if not connection.closed:
                self._run(connection, f"SELECT postgres_fdw_disconnect({literal(self._server)})")

    def _run(self, connection: Connection, statement: str) -> psycopg.Cursor[tuple[Any, ...]]:
        return common.execute(
            connection, statement, self._link, classify=troubles.classify, diagnose=self.diagnose
        )


def _options(connection: Connection, query: str, server: str) -> dict[str, str] | None:
    """Return the options of a foreign server, or of its user mapping; None where it is missing."""
    row = connection.execute(query, (server,)).fetchone()
    if row is None:
        return None
    pairs = (str(option).partition("=") for option in row[0] or ())
    return {name: value for name, _, value in pairs}


def _as_options(options: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {literal(value)}" for name, value in options.items())


def _has_schema(connection: Connection, name: str) -> bool:
    row = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (name,)).fetchone()
    return row is not None
