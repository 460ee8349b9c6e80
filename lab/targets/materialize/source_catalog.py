"""What the catalog says of a source: its secret, connection, references, status, and tables.

Relations and columns are those of src/catalog/src/builtin.rs.
"""

from __future__ import annotations

import re

import msgspec

from lab.servers.connection import Connection
from lab.targets.materialize.sql import DATABASE
from lab.targets.parts import SourceState
from lab.targets.sourcing import STALLED, Schemas, numbers
from lab.upstream.base import SCHEMA

SECRET = "password"  # noqa: S105  the name of the secret, not what it holds
CONNECTION = "upstream"
SOURCE = "source"

_CREATED = "created"
_STANDING = ("stalled", "failed", "paused")
# As the catalog spells a definition, or as it was sent.
_OPTION = re.compile(
    r"\b(HOST|PORT|DATABASE|USER|PUBLICATION)\b\s*=?\s*('(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\w+)",
    re.IGNORECASE,
)
_IN_SCHEMA = """
  JOIN mz_catalog.mz_schemas s ON x.schema_id = s.id
  JOIN mz_catalog.mz_databases d ON s.database_id = d.id
 WHERE d.name = %s AND s.name = %s AND x.name = %s
"""
_SCHEMAS = """
SELECT s.name FROM mz_catalog.mz_schemas s
  JOIN mz_catalog.mz_databases d ON s.database_id = d.id
 WHERE d.name = %s
"""
_SECRET = f"SELECT x.name FROM mz_catalog.mz_secrets x {_IN_SCHEMA}"  # noqa: S608  constants
_CONNECTION = f"SELECT x.create_sql FROM mz_catalog.mz_connections x {_IN_SCHEMA}"  # noqa: S608
_SOURCE = f"""
SELECT x.id, c.name, x.create_sql
  FROM mz_catalog.mz_sources x JOIN mz_catalog.mz_clusters c ON x.cluster_id = c.id {_IN_SCHEMA}
"""  # noqa: S608
_REFERENCES = """
SELECT r.name FROM mz_internal.mz_source_references r WHERE r.source_id = %s AND r.namespace = %s
"""
_STATUS = "SELECT t.status, t.error FROM mz_internal.mz_source_statuses t WHERE t.id = %s"
_TABLES = "SELECT count(*) FROM mz_catalog.mz_tables t WHERE t.source_id = %s"
_BY_TYPE = "SELECT o.type, count(*) FROM mz_catalog.mz_objects o WHERE o.id LIKE 'u%' GROUP BY 1"


class Source(msgspec.Struct, frozen=True):
    """A source: its id, where it runs, and what it reads."""

    id: str
    cluster: str
    publication: str


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What there is of a source.

    ``schemas`` are those of its two that exist; ``connection`` holds the options of the connection,
    by their names in lower case; None where there is none.
    """

    schemas: frozenset[str]
    all_schemas: int
    secret: bool = False
    connection: dict[str, str] | None = None
    source: Source | None = None


def find(connection: Connection, schemas: Schemas) -> Found:
    """Look for a source in ``schemas`` of the lab's database."""
    there = [name for (name,) in connection.execute(_SCHEMAS, (DATABASE,))]
    own = frozenset(there) & {schemas.upstream, schemas.batch}
    if schemas.upstream not in own:
        return Found(schemas=own, all_schemas=len(there))
    place = (DATABASE, schemas.upstream)
    secret = connection.execute(_SECRET.encode(), (*place, SECRET)).fetchone()
    made = connection.execute(_CONNECTION.encode(), (*place, CONNECTION)).fetchone()
    source = connection.execute(_SOURCE.encode(), (*place, SOURCE)).fetchone()
    return Found(
        schemas=own,
        all_schemas=len(there),
        secret=secret is not None,
        connection=options(made[0]) if made else None,
        source=Source(source[0], source[1], options(source[2]).get("publication", ""))
        if source
        else None,
    )


def options(create_sql: str) -> dict[str, str]:
    """Return the options of a connection or a source by their names in lower case."""
    # The name, which may be one of these words, stands before.
    _, _, text = create_sql.partition("(")
    return {name.lower(): _unquoted(value) for name, value in _OPTION.findall(text)}


def references(connection: Connection, source: str) -> frozenset[int]:
    """Return the numbers of the bench tables that the source knew of when it last looked."""
    rows = connection.execute(_REFERENCES, (source, SCHEMA))
    return numbers(name for (name,) in rows)


def status(connection: Connection, source: str) -> SourceState:
    """Return the status of the source; ``created`` until the first table is made from it.

    One that failed, or is paused since its cluster has no replica, is stalled as well.
    """
    row = connection.execute(_STATUS, (source,)).fetchone()
    if row is None:
        return SourceState(_CREATED)
    name, error = str(row[0]), str(row[1] or "")
    if name in _STANDING:
        return SourceState(STALLED, error or f"its status is {name}")
    return SourceState(name, error)


def tables(connection: Connection, source: str) -> int:
    """Return how many tables are made from the source, wherever they lie."""
    row = connection.execute(_TABLES, (source,)).fetchone()
    return int(row[0]) if row else 0


def counts(connection: Connection) -> dict[str, int]:
    """Return how many objects there are by type, the lab's own included: limits count them all."""
    return {kind: int(number) for kind, number in connection.execute(_BY_TYPE)}


def _unquoted(value: str) -> str:
    quote = value[:1]
    if quote in ("'", '"'):
        return value[1:-1].replace(quote * 2, quote)
    return value
