"""How user objects are seeded: ``SCHEMA.KIND_NUMBER``, numbered from 1.

Views and materialized views select from a table ``base``, indexes are all on a table
``base_of_indexes``; each of the two is one object itself, made when it is needed. Indexes and
materialized views run on the session's cluster, ``quickstart`` unless that was changed.
"""

from __future__ import annotations

import re

import msgspec

from lab.core.errors import UsageError
from lab.core.nearest import did_you_mean
from lab.targets.base import Connection
from lab.targets.counting import is_labs_own
from lab.targets.materialize import objects

# A string of several statements is a transaction, which takes no second DDL statement (25001).
BATCH = 1

_COLUMNS = "(a int, b text)"
_SYSTEM = ("information_schema", "pg_catalog")
_SYSTEM_PREFIXES = ("mz_", "pg_")


class _Kind(msgspec.Struct, frozen=True):
    """``create`` and ``drop`` take ``schema`` and ``name``; ``base`` may be empty: none needed."""

    name: str
    create: str
    drop: str
    base: str = ""


_KINDS = {
    "table": _Kind(
        "table_", f"CREATE TABLE {{schema}}.{{name}} {_COLUMNS}", "DROP TABLE {schema}.{name}"
    ),
    "view": _Kind(
        "view_",
        "CREATE VIEW {schema}.{name} AS SELECT a, b FROM {schema}.base",
        "DROP VIEW {schema}.{name}",
        "base",
    ),
    "materialized-view": _Kind(
        "materialized_view_",
        "CREATE MATERIALIZED VIEW {schema}.{name} AS SELECT a, b FROM {schema}.base",
        "DROP MATERIALIZED VIEW {schema}.{name}",
        "base",
    ),
    "index": _Kind(
        "index_",
        "CREATE INDEX {name} ON {schema}.base_of_indexes (a)",
        "DROP INDEX {schema}.{name}",
        "base_of_indexes",
    ),
}


class Scheme:
    """The population of one kind in one schema; see `lab.targets.base.PopulationScheme`."""

    batch: int = BATCH

    def __init__(self, kind: str, schema: str) -> None:
        self._type = kind
        self._kind = _KINDS[kind]
        self._name = schema
        # Quoted: the name may be a word of SQL.
        self._schema = f'"{schema}"'

    def prepare(self, connection: Connection) -> int:
        """Make schema and base table where they are missing; return how many objects that added."""
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {self._schema}".encode())
        base = self._kind.base
        if not base or base in objects.names(connection, self._name, "table"):
            return 0
        connection.execute(f"CREATE TABLE {self._schema}.{base} {_COLUMNS}".encode())
        return 1

    def existing(self, connection: Connection) -> frozenset[int]:
        """Return the numbers of the objects that exist."""
        pattern = re.compile(rf"{self._kind.name}([1-9][0-9]{{0,17}})")
        matches = map(pattern.fullmatch, objects.names(connection, self._name, self._type))
        return frozenset(int(match[1]) for match in matches if match)

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
        An unknown kind, or a schema that is Materialize's or the lab's own.
    """
    if kind not in _KINDS:
        raise UsageError(
            f"Materialize is not seeded with objects of the kind `{kind}`.",
            code="population.unknown-kind",
            why=f"Known: {', '.join(_KINDS)}.",
            remedy=did_you_mean(kind, _KINDS, "Choose from these."),
        )
    system = schema in _SYSTEM or schema.startswith(_SYSTEM_PREFIXES)
    if system or is_labs_own(schema) or '"' in schema:
        raise UsageError(
            f"Objects are not seeded into the schema `{schema}`.",
            code="population.schema",
            why="It is Materialize's or the lab's own, and what is in it does not count.",
            remedy="Name another schema.",
        )
    return Scheme(kind, schema)
