"""User objects: relations outside PostgreSQL's own schemas, counted exactly."""

from __future__ import annotations

from lab.targets.base import Connection, ObjectCounts

FIXTURE_SCHEMA = "ddl_lab_fixture"
"""Where the lab keeps what it measures with; left out of the counts of user objects."""

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
SELECT c.relkind::text, n.nspname = %(fixtures)s, count(*)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = ANY(%(kinds)s::"char"[])
   AND n.nspname NOT IN ('pg_catalog', 'information_schema')
   AND n.nspname !~ '^pg_(toast|temp)'
 GROUP BY 1, 2
"""


def count(connection: Connection) -> ObjectCounts:
    """Count user objects by type, and the lab's fixtures by themselves."""
    by_type: dict[str, int] = {}
    fixtures = 0
    rows = connection.execute(_COUNT, {"fixtures": FIXTURE_SCHEMA, "kinds": list(KINDS)})
    for relkind, is_fixture, number in rows:
        if is_fixture:
            fixtures += number
        else:
            kind = KINDS[relkind]
            by_type[kind] = by_type.get(kind, 0) + number
    return ObjectCounts(by_type, fixtures)
