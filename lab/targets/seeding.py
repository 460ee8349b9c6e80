"""How user objects are seeded: ``SCHEMA.KIND_NUMBER``, numbered from 1.

The SQL is such that every target takes it.

Views and materialized views select from a table ``base``; indexes are all on a table
``base_of_indexes``, since planning a query on a table takes time in proportion to its indexes. Each
of the two is one object itself, made when it is needed.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from lab.core.errors import UsageError
from lab.core.nearest import did_you_mean
from lab.servers.connection import Connection
from lab.targets.counting import is_labs_own

_COLUMNS = "(a int, b text)"


class Kind(msgspec.Struct, frozen=True):
    """``create`` and ``drop`` take ``schema`` and ``name``; ``base`` may be empty: none needed."""

    prefix: str
    create: str
    drop: str
    base: str = ""


KINDS = {
    "table": Kind(
        "table_", f"CREATE TABLE {{schema}}.{{name}} {_COLUMNS}", "DROP TABLE {schema}.{name}"
    ),
    "view": Kind(
        "view_",
        "CREATE VIEW {schema}.{name} AS SELECT a, b FROM {schema}.base",
        "DROP VIEW {schema}.{name}",
        "base",
    ),
    "materialized-view": Kind(
        "materialized_view_",
        "CREATE MATERIALIZED VIEW {schema}.{name} AS SELECT a, b FROM {schema}.base",
        "DROP MATERIALIZED VIEW {schema}.{name}",
        "base",
    ),
    "index": Kind(
        "index_",
        "CREATE INDEX {name} ON {schema}.base_of_indexes (a)",
        "DROP INDEX {schema}.{name}",
        "base_of_indexes",
    ),
}
"""The kinds of objects, by name."""


class Catalog(Protocol):
    """What seeding asks of a target's catalog."""

    def has_relation(self, connection: Connection, schema: str, name: str) -> bool:
        """Say whether there is a relation of that name."""

    def numbers(self, connection: Connection, schema: str, kind: str, prefix: str) -> set[int]:
        """Return the numbers of the objects of a kind that are named ``prefix`` and a number."""


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """What is particular to a target.

    ``product`` is its name for people; ``schemas`` and ``prefixes`` name the schemas that are its
    own; ``batch`` is how many statements one string may carry.
    """

    product: str
    schemas: tuple[str, ...]
    prefixes: tuple[str, ...]
    batch: int
    catalog: Catalog


class Scheme:
    """The population of one kind in one schema; see `lab.targets.base.PopulationScheme`."""

    def __init__(self, dialect: Dialect, kind: str, schema: str) -> None:
        self.batch: int = dialect.batch
        self._catalog = dialect.catalog
        self._type = kind
        self._kind = KINDS[kind]
        self._name = schema
        # Quoted: the name may be a word of SQL.
        self._schema = f'"{schema}"'

    def prepare(self, connection: Connection) -> int:
        """Make schema and base table where they are missing; return how many objects that added."""
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {self._schema}".encode())
        base = self._kind.base
        if not base or self._catalog.has_relation(connection, self._name, base):
            return 0
        connection.execute(f"CREATE TABLE {self._schema}.{base} {_COLUMNS}".encode())
        return 1

    def existing(self, connection: Connection) -> frozenset[int]:
        """Return the numbers of the objects that exist."""
        prefix = self._kind.prefix
        return frozenset(self._catalog.numbers(connection, self._name, self._type, prefix))

    def create(self, number: int) -> str:
        """Return the statement that makes object ``number``."""
        return self._kind.create.format(schema=self._schema, name=f"{self._kind.prefix}{number}")

    def drop(self, number: int) -> str:
        """Return the statement that drops object ``number``."""
        return self._kind.drop.format(schema=self._schema, name=f"{self._kind.prefix}{number}")


def scheme(dialect: Dialect, kind: str, schema: str) -> Scheme:
    """Return how objects of ``kind`` are seeded into ``schema``.

    Raises
    ------
    UsageError
        An unknown kind, or a schema that is the target's or the lab's own.
    """
    if kind not in KINDS:
        raise UsageError(
            f"{dialect.product} is not seeded with objects of the kind `{kind}`.",
            code="population.unknown-kind",
            why=f"Known: {', '.join(KINDS)}.",
            remedy=did_you_mean(kind, KINDS, "Choose from these."),
        )
    system = schema in dialect.schemas or schema.startswith(dialect.prefixes)
    if system or is_labs_own(schema) or '"' in schema:
        raise UsageError(
            f"Objects are not seeded into the schema `{schema}`.",
            code="population.schema",
            why=f"It is {dialect.product}'s or the lab's own, and what is in it does not count.",
            remedy="Name another schema.",
        )
    return Scheme(dialect, kind, schema)
