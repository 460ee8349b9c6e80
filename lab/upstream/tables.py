"""The published tables of one database: found, compared with what is declared, and made.

Reading takes a few statements however many tables there are.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Sequence

import msgspec
import psycopg

from lab.core.errors import UsageError
from lab.servers.connection import Connection
from lab.upstream.base import MOST_TABLES, PREFIX, PUBLICATION, ROLE, SCHEMA
from lab.upstream.columns import refused_list, unlike

_SHOWN = 5
_MOST_COLUMNS = 1600
_PATTERN = f"^{PREFIX}[1-9][0-9]{{0,8}}$"

_EXISTING = """
SELECT substring(c.relname FROM %(start)s)::int, c.relreplident::text,
       coalesce(has_table_privilege(r.oid, c.oid, 'SELECT'), false)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_roles r ON r.rolname = %(role)s
 WHERE n.nspname = %(schema)s AND c.relkind = 'r' AND c.relname ~ %(pattern)s
"""
_PUBLISHED = """
SELECT substring(tablename FROM %(start)s)::int FROM pg_publication_tables
 WHERE pubname = %(publication)s AND schemaname = %(schema)s AND tablename ~ %(pattern)s
"""
_NAMES = {
    "start": len(PREFIX) + 1,
    "pattern": _PATTERN,
    "schema": SCHEMA,
    "role": ROLE,
    "publication": PUBLICATION,
}
# What of a table its column list decides: columns in their order, and constraints. Sequences of
# serial columns are named after the table.
_SHAPES = r"""
SELECT c.relname, coalesce(a.columns, ''), coalesce(k.constraints, '')
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN LATERAL (
    SELECT string_agg(concat_ws(' ', quote_ident(attname), format_type(atttypid, atttypmod),
             CASE WHEN attnotnull THEN 'NOT NULL' END,
             CASE WHEN attcollation NOT IN (0, 100)  -- none, the default one
                  THEN 'COLLATE ' || attcollation::regcollation END,
             nullif(attidentity, ''), nullif(attgenerated, ''),
             'default ' || regexp_replace(
               pg_get_expr(d.adbin, d.adrelid), 'nextval\(.*?\)', 'nextval')
           ), ', ' ORDER BY attnum) AS columns
      FROM pg_attribute LEFT JOIN pg_attrdef d ON d.adrelid = attrelid AND d.adnum = attnum
     WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) a ON true
  LEFT JOIN LATERAL (
    SELECT string_agg(pg_get_constraintdef(oid), ', ' ORDER BY pg_get_constraintdef(oid))
           AS constraints
      FROM pg_constraint WHERE conrelid = c.oid AND contype <> 'n') k ON true
 WHERE c.relkind = 'r' AND (
       (n.nspname = %(schema)s AND c.relname ~ %(pattern)s) OR c.oid = %(declared)s::regclass)
"""
_DECLARED = "ddl_lab_declared"


class Tables(msgspec.Struct, frozen=True):
    """The numbers of the tables that exist, and of those that lack something."""

    existing: frozenset[int]
    not_full: frozenset[int]
    not_granted: frozenset[int]


def find(connection: Connection) -> Tables:
    """Return which tables there are."""
    rows = connection.execute(_EXISTING, _NAMES).fetchall()
    return Tables(
        frozenset(number for number, _, _ in rows),
        frozenset(number for number, identity, _ in rows if identity != "f"),
        frozenset(number for number, _, granted in rows if not granted),
    )


def published(connection: Connection) -> frozenset[int]:
    """Return the numbers of the tables that the publication holds."""
    return frozenset(number for (number,) in connection.execute(_PUBLISHED, _NAMES))


def otherwise(
    connection: Connection, columns: str, *, only_look: bool = False
) -> dict[int, tuple[str, str]]:
    """Return the tables whose columns are other than ``columns``: number → (declared, found).

    The declared list is made into a temporary table, which is taken back at once; with
    ``only_look`` nothing is made, and names and types alone are compared.

    Raises
    ------
    UsageError
        PostgreSQL takes no such column list (``upstream.columns``).
    """
    if only_look:
        return unlike(connection, columns, _PATTERN)
    with undone(connection):
        try_columns(connection, columns)
        names = {**_NAMES, "declared": f"pg_temp.{_DECLARED}"}
        shapes = {name: _shape(a, b) for name, a, b in connection.execute(_SHAPES, names)}
    declared = shapes.pop(_DECLARED)
    return {
        int(name.removeprefix(PREFIX)): (declared, shape)
        for name, shape in shapes.items()
        if shape != declared
    }


@contextlib.contextmanager
def undone(connection: Connection) -> Iterator[None]:
    """Take back at the end whatever is done within."""
    with connection.transaction(force_rollback=True):
        yield


def try_columns(connection: Connection, columns: str) -> None:
    """Make a temporary table of ``columns``. Raises UsageError where PostgreSQL refuses them."""
    made = f"CREATE TEMPORARY TABLE {_DECLARED} ({columns})"
    try:
        # In the binary format a string holds one statement only: a list that ends it is refused.
        connection.cursor(binary=True).execute(made.encode())
    except psycopg.Error as error:
        refused = refused_list(columns, error)
        if refused is None:
            raise
        raise refused from error


def require_count(count: int, asked_by: str) -> int:
    """Return ``count``, the number of tables that ``asked_by`` asks for.

    Raises
    ------
    UsageError
        It is more than the lab makes (``upstream.too-many-tables``).
    """
    if count > MOST_TABLES:
        raise UsageError(
            f"{asked_by} takes at most {MOST_TABLES:,}, not {count:,}.",
            code="upstream.too-many-tables",
            why="So many published tables are what the lab makes in one database at most.",
            remedy=f"Give a number from 0 to {MOST_TABLES:,}.",
        )
    return count


def column_list(text: str) -> str:
    """Return the column list that ``text`` means: its own, or one of so many columns.

    Raises
    ------
    UsageError
        Not even one column, or more than a table can have.
    """
    if not re.fullmatch(r"\s*-?[0-9]+\s*", text):
        return text.strip()
    number = int(text)
    if not 1 <= number <= _MOST_COLUMNS:
        raise UsageError(
            f"A table has 1 to {_MOST_COLUMNS:,} columns, not {number:,}.",
            code="upstream.columns",
            why="That is what PostgreSQL takes.",
            remedy="Give --columns such a number, or a column list as in CREATE TABLE.",
        )
    return ", ".join(["id int PRIMARY KEY", *(f"c{each} text" for each in range(2, number + 1))])


def _shape(columns: str, constraints: str) -> str:
    return ", ".join(filter(None, (columns, constraints)))


def create(number: int, columns: str) -> str:
    """Return the statements that make table ``number`` ready to be published."""
    return f"CREATE TABLE {named(number)} ({columns}); {prepare(number)}"


def prepare(number: int) -> str:
    """Return the statements that make table ``number`` readable by a source."""
    return (
        f"ALTER TABLE {named(number)} REPLICA IDENTITY FULL;"
        f" GRANT SELECT ON {named(number)} TO {ROLE}"
    )


def publish(numbers: Sequence[int]) -> str:
    """Return the statement that adds the tables ``numbers`` to the publication."""
    return f"ALTER PUBLICATION {PUBLICATION} ADD TABLE {', '.join(map(named, numbers))}"


def named(number: int) -> str:
    """Return the name of table ``number`` in SQL."""
    return f"{SCHEMA}.{PREFIX}{number}"


def missing(wanted: int, found: Collection[int]) -> list[int]:
    """Return the numbers from 1 to ``wanted`` that are not ``found``, in order."""
    return [number for number in range(1, wanted + 1) if number not in found]


def contiguous(numbers: Collection[int]) -> int:
    """Return the largest N for which all of 1 … N are among ``numbers``."""
    last = 0
    while last + 1 in numbers:
        last += 1
    return last


def counted(number: int) -> str:
    """Return ``1 table``, ``1,200 tables``."""
    return f"{number:,} table{'' if number == 1 else 's'}"


def in_short(numbers: Collection[int]) -> str:
    """Return numbers for people, ranges drawn together: ``1…17, 19 and 3 more``."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    shown = [f"{a}" if a == b else f"{a}…{b}" for a, b in parts[:_SHOWN]]
    rest = sum(b - a + 1 for a, b in parts[_SHOWN:])
    return ", ".join(shown) + (f" and {rest:,} more" if rest else "")
