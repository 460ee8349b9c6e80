"""Comparing tables with a declared column list on a server where nothing may be made.

A column list is SQL, which only a server can read in full. What it says of constraints and defaults
takes a table to be compared; names and types do not: a server resolves them in a query that asks
for no row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg

from lab.core.errors import UsageError
from lab.servers.connection import Connection
from lab.upstream.base import PREFIX, SCHEMA

_WORD = re.compile(r"""\s+ | "(?:[^"]|"")*" | '(?:[^']|'')*' | \w+ | .""", re.VERBOSE | re.DOTALL)
_COMMENT = re.compile(r"--|/\*|\$")
# What an element begins with that is no column.
_NO_COLUMN = frozenset({"constraint", "primary", "unique", "check", "foreign", "exclude"})
# What ends the type of a column.
_AFTER_TYPE = frozenset(
    (
        "not",
        "null",
        "primary",
        "unique",
        "check",
        "default",
        "references",
        "generated",
        "constraint",
        "collate",
        "storage",
        "compression",
        "deferrable",
        "initially",
    )
)
_SERIALS = {
    "smallserial": "smallint",
    "serial2": "smallint",
    "serial": "int",
    "serial4": "int",
    "bigserial": "bigint",
    "serial8": "bigint",
}
# Classes of SQLSTATEs: syntax or access rule, data, a feature that is not supported.
_UNFIT = ("42", "22", "0A")
_FOUND = """
SELECT substring(c.relname FROM %s)::int,
       coalesce(array_agg(concat_ws(' ', quote_ident(attname), format_type(atttypid, atttypmod))
         ORDER BY attnum) FILTER (WHERE attname IS NOT NULL), '{}')
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped
 WHERE n.nspname = %s AND c.relkind = 'r' AND c.relname ~ %s
 GROUP BY 1
"""
_RESOLVED = """
SELECT quote_ident(name) || ' ' || format_type(type, modifier)
  FROM unnest(%s::text[], %s::oid[], %s::int[]) WITH ORDINALITY AS x(name, type, modifier, place)
 ORDER BY place
"""


def unlike(connection: Connection, columns: str, pattern: str) -> dict[int, tuple[str, str]]:
    """Return the tables whose names or types of columns are others: number → (declared, found).

    Nothing is made, and no transaction number is taken: a standby and a user who may only read
    answer, too. ``pattern`` is that of the tables' names. Where no name and type can be made out of
    ``columns`` (``LIKE``), no table is unlike.

    Raises
    ------
    UsageError
        PostgreSQL knows no such type (``upstream.columns``).
    """
    bare = names_and_types(columns)
    if bare is None:
        return {}
    declared = _resolved(connection, columns, bare)
    rows = connection.execute(_FOUND, (len(PREFIX) + 1, SCHEMA, pattern)).fetchall()
    return {
        number: (", ".join(declared), ", ".join(found))
        for number, found in rows
        if found != declared
    }


def names_and_types(columns: str) -> str | None:
    """Return ``columns`` without constraints and defaults; None where that cannot be told."""
    if _COMMENT.search(columns):
        return None
    bare = []
    for element in _elements(columns):
        if not element or element[0].lower() in _NO_COLUMN:
            continue
        name, *rest = element
        of_type = _type(rest)
        if not of_type or name.lower() == "like":
            return None
        bare.append(f"{name} {of_type}")
    return ", ".join(bare) or None


def refused_list(columns: str, error: psycopg.Error) -> UsageError | None:
    """Return the error for a column list that PostgreSQL does not take; None for any other."""
    of_the_list = (error.sqlstate or "")[:2] in _UNFIT
    if not of_the_list or isinstance(error, psycopg.errors.InsufficientPrivilege):
        return None
    return UsageError(
        f"PostgreSQL takes no table of the columns `{columns}`.",
        code="upstream.columns",
        why=str(error).strip().splitlines()[0],
        remedy="Give --columns a column list as in CREATE TABLE, such as"
        " `id int PRIMARY KEY, a int, b text`, or the number of columns.",
    )


def _resolved(connection: Connection, columns: str, bare: str) -> list[str]:
    asked = f"SELECT * FROM json_to_record(NULL) AS declared({bare}) LIMIT 0"  # noqa: S608
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SET TRANSACTION READ ONLY")
            # In the binary format a string holds one statement only, whatever the list holds.
            cursor = connection.cursor(binary=True).execute(asked.encode())
    except psycopg.Error as error:
        refused = refused_list(columns, error)
        if refused is None:
            raise
        raise refused from error
    result = cursor.pgresult
    assert result is not None
    assert cursor.description is not None
    places = range(result.nfields)
    names = [column.name for column in cursor.description]
    types = [result.ftype(place) for place in places]
    modifiers = [result.fmod(place) for place in places]
    return [row for (row,) in connection.execute(_RESOLVED, (names, types, modifiers))]


def _elements(columns: str) -> Iterator[list[str]]:
    """Yield the words of each element between commas that stand in no brackets."""
    element: list[str] = []
    depth = 0
    for word in _WORD.findall(columns):
        depth += (word in "([") - (word in ")]")
        if word == "," and not depth:
            yield element
            element = []
        elif not word.isspace():
            element.append(word)
    yield element


def _type(after_name: list[str]) -> str:
    """Return the words up to the first constraint, as SQL."""
    words = []
    for word in after_name:
        if word.lower() in _AFTER_TYPE:
            break
        words.append(word)
    if len(words) == 1:
        return _SERIALS.get(words[0].lower(), words[0])
    return " ".join(words)
