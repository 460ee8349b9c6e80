"""User objects: relations outside PostgreSQL's own schemas, counted exactly."""

from __future__ import annotations

from lab.servers.connection import Connection
from lab.targets.base import ObjectCounts
from lab.targets.counting import tally

KINDS = {
    "r": "table",
    "p": "table",
    "v": "view",
    "m": "materialized-view",
    "i": "index",
    "I": "index",
    "S": "sequence",
    "f": "foreign-table",
}
"""The types of objects by ``pg_class.relkind``. TOAST tables and composite types are none."""

# Temporary objects (in pg_temp_N) live and die with their session: no part of the state.
_COUNT = """
SELECT c.relkind::text, n.nspname, count(*)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = ANY(%(kinds)s::"char"[])
   AND n.nspname NOT IN ('pg_catalog', 'information_schema')
   AND n.nspname !~ '^pg_(toast|temp)'
 GROUP BY 1, 2
"""


def count(connection: Connection) -> ObjectCounts:
    """Count user objects by type, and the lab's own by themselves."""
    rows = connection.execute(_COUNT, {"kinds": list(KINDS)})
    return tally((KINDS[relkind], schema, number) for relkind, schema, number in rows)
