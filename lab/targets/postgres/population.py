"""How PostgreSQL is seeded: what its catalog is asked."""

from __future__ import annotations

from lab.servers.connection import Connection
from lab.targets import seeding

BATCH = 200
"""Statements in one string, which is one transaction. A string of 200 is as fast as one of 1,000
(five to six times as fast as one statement a string), and loses less when it is interrupted."""

_RELKINDS = {"table": "r", "view": "v", "materialized-view": "m", "index": "i"}

_EXISTING = """
SELECT substring(c.relname FROM %(digits)s)::bigint
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %(schema)s AND c.relkind = %(relkind)s::"char" AND c.relname ~ %(pattern)s
"""


class _Catalog:
    """See `lab.targets.seeding.Catalog`."""

    def has_relation(self, connection: Connection, schema: str, name: str) -> bool:
        row = connection.execute(
            "SELECT to_regclass(%s) IS NOT NULL", (f'"{schema}".{name}',)
        ).fetchone()
        return bool(row and row[0])

    def numbers(self, connection: Connection, schema: str, kind: str, prefix: str) -> set[int]:
        rows = connection.execute(
            _EXISTING,
            {
                "schema": schema,
                "relkind": _RELKINDS[kind],
                "pattern": f"^{prefix}[1-9][0-9]{{0,17}}$",
                "digits": f"^{prefix}(.*)$",
            },
        )
        return {number for (number,) in rows}


_DIALECT = seeding.Dialect(
    product="PostgreSQL",
    schemas=("information_schema", "pg_catalog"),
    prefixes=("pg_",),
    batch=BATCH,
    catalog=_Catalog(),
)


def scheme(kind: str, schema: str) -> seeding.Scheme:
    """Return how objects of ``kind`` are seeded into ``schema``; see `lab.targets.seeding`."""
    return seeding.scheme(_DIALECT, kind, schema)
