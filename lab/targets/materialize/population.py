"""How Materialize is seeded: what its catalog is asked.

Indexes and materialized views run on the session's cluster, ``quickstart`` unless that was changed.
"""

from __future__ import annotations

import re

from lab.servers.connection import Connection
from lab.targets import seeding
from lab.targets.materialize import objects

# A string of several statements is a transaction, which takes no second DDL statement (25001).
BATCH = 1


class _Catalog:
    """See `lab.targets.seeding.Catalog`."""

    def has_relation(self, connection: Connection, schema: str, name: str) -> bool:
        return name in objects.names(connection, schema, "table")

    def numbers(self, connection: Connection, schema: str, kind: str, prefix: str) -> set[int]:
        pattern = re.compile(rf"{prefix}([1-9][0-9]{{0,17}})")
        matches = map(pattern.fullmatch, objects.names(connection, schema, kind))
        return {int(match[1]) for match in matches if match}


_DIALECT = seeding.Dialect(
    product="Materialize",
    schemas=("information_schema", "pg_catalog"),
    prefixes=("mz_", "pg_"),
    batch=BATCH,
    catalog=_Catalog(),
)


def scheme(kind: str, schema: str) -> seeding.Scheme:
    """Return how objects of ``kind`` are seeded into ``schema``; see `lab.targets.seeding`."""
    return seeding.scheme(_DIALECT, kind, schema)
