"""How user objects are seeded: ``SCHEMA.KIND_NUMBER``, numbered from 1.

Views and materialized views select from a table ``base``; indexes are all on a table
``base_of_indexes``, since planning a query on a table takes time in proportion to its indexes. Each
of the two is one object itself, made when it is needed.
"""

from __future__ import annotations

import msgspec

from lab.core.errors import UsageError
from lab.core.nearest import did_you_mean
from lab.targets.base import Connection
from lab.targets.counting import is_labs_own

BATCH = 200
"""Statements in one string, which is one transaction. A string of 200 is as fast as one of 1,000
(five to six times as fast as one statement a string), and loses less when it is interrupted."""

_COLUMNS = "(a int, b text)"
_SYSTEM = ("information_schema", "pg_catalog")

_EXISTING = """
SELECT substring(c.relname FROM %(digits)s)::bigint
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %(schema)s AND c.relkind = %(relkind)s::"char" AND c.relname ~ %(pattern)s
"""


class _Kind(msgspec.Struct, frozen=True):
    """``create`` and ``drop`` take ``schema`` and ``name``; ``base`` may be empty: none needed."""

    relkind: str
    name: str
    create: str
    drop: str
    base: str = ""


_KINDS = {
    "table": _Kind(
        "r",
        "table_",
        f"CREATE TABLE {{schema}}.{{name}} {_COLUMNS}",
        "DROP TABLE {schema}.{name}",
    ),
    "view": _Kind(
        "v",
        "view_",
        "CREATE VIEW {schema}.{name} AS SELECT a, b FROM {schema}.base",
        "DROP VIEW {schema}.{name}",
        "base",
    ),
    "materialized-view": _Kind(
        "m",
        "materialized_view_",
        "CREATE MATERIALIZED VIEW {schema}.{name} AS SELECT a, b FROM {schema}.base",
        "DROP MATERIALIZED VIEW {schema}.{name}",
        "base",
    ),
    "index": _Kind(
        "i",
        "index_",
        "CREATE INDEX {name} ON {schema}.base_of_indexes (a)",
        "DROP INDEX {schema}.{name}",
        "base_of_indexes",
    ),
}


class Scheme:
    """The population of one kind in one schema; see `lab.targets.base.PopulationScheme`."""

    batch: int = BATCH

    def __init__(self, kind: _Kind, schema: str) -> None:
        self._kind = kind
        self._name = schema
        # Quoted: the name may be a word of SQL.
        self._schema = f'"{schema}"'

    def prepare(self, connection: Connection) -> int:
        """Make schema and base table where they are missing; return how many objects that added."""
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {self._schema}".encode())
        base = f"{self._schema}.{self._kind.base}"
        if not self._kind.base or _exists(connection, base):
            return 0
        connection.execute(f"CREATE TABLE {base} {_COLUMNS}".encode())
        return 1

    def existing(self, connection: Connection) -> frozenset[int]:
        """Return the numbers of the objects that exist."""
        rows = connection.execute(
            _EXISTING,
            {
                "schema": self._name,
                "relkind": self._kind.relkind,
                "pattern": f"^{self._kind.name}[1-9][0-9]{{0,17}}$",
                "digits": f"^{self._kind.name}(.*)$",
            },
        )
        return frozenset(number for (number,) in rows)

    def create(self, number: int) -> str:
        """Return the statement that makes object ``number``."""
        return self._kind.create.format(schema=self._schema, name=f"{self._kind.name}{number}")

    def drop(self, number: int) -> str:
        """Return the statement that drops object ``number``."""
        return self._kind.drop.format(schema=self._schema, name=f"{self._kind.name}{number}")


def scheme(kind: str, schema: str) -> Scheme:
    """Return how objects of ``kind`` are seeded into ``schema``.

    Raises
    ------
    UsageError
        An unknown kind, or a schema that is PostgreSQL's or the lab's own.

    """
    if kind not in _KINDS:
        raise UsageError(
            f"PostgreSQL is not seeded with objects of the kind `{kind}`.",
            code="population.unknown-kind",
            why=f"Known: {', '.join(_KINDS)}.",
            remedy=did_you_mean(kind, _KINDS, "Choose from these."),
        )
    system = schema in _SYSTEM or schema.startswith("pg_")
    if system or is_labs_own(schema) or '"' in schema:
        raise UsageError(
            f"Objects are not seeded into the schema `{schema}`.",
            code="population.schema",
            why="It is PostgreSQL's or the lab's own, and what is in it does not count.",
            remedy="Name another schema.",
        )
    return Scheme(_KINDS[kind], schema)


def _exists(connection: Connection, table: str) -> bool:
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table,)).fetchone()
    return bool(row and row[0])
