"""User objects: what ``mz_objects`` lists under ids that begin with ``u``, counted exactly.

Clusters, roles, schemas and databases are not in it (src/catalog/src/builtin.rs, `MZ_OBJECTS`).
"""

from __future__ import annotations

from lab.servers.connection import Connection
from lab.targets.base import ObjectCounts
from lab.targets.counting import tally
from lab.targets.materialize.sql import DATABASE

# Temporary objects live and die with their session: their schema is in no row of mz_schemas.
_COUNT = """
SELECT o.type, s.name, count(*)
  FROM mz_catalog.mz_objects o JOIN mz_catalog.mz_schemas s ON o.schema_id = s.id
 WHERE o.id LIKE 'u%'
 GROUP BY 1, 2
"""

_NAMES = """
SELECT o.name
  FROM mz_catalog.mz_objects o
  JOIN mz_catalog.mz_schemas s ON o.schema_id = s.id
  JOIN mz_catalog.mz_databases d ON s.database_id = d.id
 WHERE d.name = %s AND s.name = %s AND o.type = %s
"""


def count(connection: Connection) -> ObjectCounts:
    """Count user objects by type, and the lab's own by themselves.

    The catalog's cluster answers, which takes its time after a start; the query is asked once, and
    is to be waited for.
    """
    return tally(connection.execute(_COUNT))


def names(connection: Connection, schema: str, kind: str) -> frozenset[str]:
    """Return the names of the objects of the type ``kind`` in ``schema`` of the lab's database."""
    rows = connection.execute(_NAMES, (DATABASE, schema, kind))
    return frozenset(name for (name,) in rows)
