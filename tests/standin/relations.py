"""Queries on the catalog: SQLite, over tables that follow it.

What PostgreSQL's dialect has and SQLite's has not is rewritten where it is simple. Column names and
types of the result are derived from the select list.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from standin.catalog import SYSTEM_OBJECTS, Catalog, oid_of
from standin.errors import SqlError
from standin.lexer import Token, tokenize
from standin.store import Change

BOOL, INT8, INT4, TEXT, FLOAT8, TEXTS, TIMELINE = 16, 20, 23, 25, 701, 1009, 16464
_SCHEMAS = ("mz_catalog", "mz_internal", "mz_introspection", "pg_catalog", "mz_unsafe")
_SCHEMA = """
CREATE TABLE all_objects (id TEXT PRIMARY KEY, oid INTEGER, schema_id TEXT, name TEXT, type TEXT,
    owner_id TEXT, cluster_id TEXT, on_id TEXT, source_id TEXT, create_sql TEXT);
CREATE TABLE mz_object_dependencies (object_id TEXT, referenced_object_id TEXT,
    PRIMARY KEY (object_id, referenced_object_id));
CREATE TABLE mz_columns (id TEXT, name TEXT, position INTEGER, nullable INTEGER, type TEXT);
CREATE TABLE mz_schemas (id TEXT PRIMARY KEY, oid INTEGER, database_id TEXT, name TEXT,
    owner_id TEXT);
CREATE TABLE mz_databases (id TEXT PRIMARY KEY, oid INTEGER, name TEXT, owner_id TEXT);
CREATE TABLE mz_roles (id TEXT PRIMARY KEY, oid INTEGER, name TEXT, inherit INTEGER);
CREATE TABLE mz_clusters (id TEXT PRIMARY KEY, name TEXT, owner_id TEXT, managed INTEGER,
    size TEXT, replication_factor INTEGER);
CREATE TABLE mz_cluster_replicas (id TEXT PRIMARY KEY, name TEXT, cluster_id TEXT, size TEXT,
    owner_id TEXT);
CREATE TABLE mz_cluster_replica_statuses (replica_id TEXT, process_id INTEGER, status TEXT,
    reason TEXT);
CREATE TABLE mz_sessions (id TEXT, connection_id INTEGER, role_id TEXT, connected_at TEXT);
CREATE TABLE mz_source_references (source_id TEXT, namespace TEXT, name TEXT, columns TEXT);
CREATE TABLE mz_postgres_sources (id TEXT, replication_slot TEXT, timeline_id INTEGER);
CREATE TABLE pg_settings (name TEXT, setting TEXT);
INSERT INTO pg_settings VALUES ('max_index_keys', '1000');
CREATE VIEW mz_objects AS
    SELECT id, oid, schema_id, name, type, owner_id, cluster_id FROM all_objects;
CREATE VIEW mz_relations AS SELECT * FROM mz_objects
    WHERE type IN ('table', 'source', 'view', 'materialized-view');
CREATE VIEW pg_class AS SELECT oid, name AS relname, schema_id AS relnamespace,
    CASE type WHEN 'table' THEN 'r' WHEN 'source' THEN 'r' WHEN 'index' THEN 'i'
    WHEN 'view' THEN 'v' ELSE 'm' END AS relkind FROM all_objects
    WHERE type IN ('table', 'source', 'index', 'view', 'materialized-view');
CREATE TABLE source_errors (id TEXT PRIMARY KEY, error TEXT);
CREATE VIEW mz_source_statuses AS SELECT o.id, o.name, o.type, CASE
    WHEN e.error IS NOT NULL THEN 'stalled'
    WHEN o.source_id IS NOT NULL THEN 'running'
    WHEN EXISTS (SELECT 1 FROM all_objects t WHERE t.source_id = o.id) THEN 'running'
    ELSE 'created' END AS status, e.error AS error
    FROM all_objects o LEFT JOIN source_errors e ON e.id = COALESCE(o.source_id, o.id)
    WHERE o.type = 'source' OR o.source_id IS NOT NULL;
CREATE INDEX columns_by_id ON mz_columns (id);
CREATE INDEX references_by_id ON mz_source_references (source_id);
CREATE INDEX objects_by_source ON all_objects (source_id);
"""
_VIEWS = {
    "mz_tables": ("table", "id, oid, schema_id, name, owner_id, create_sql, source_id"),
    "mz_views": ("view", "id, oid, schema_id, name, owner_id, create_sql"),
    "mz_materialized_views": (
        "materialized-view",
        "id, oid, schema_id, name, cluster_id, owner_id, create_sql",
    ),
    "mz_indexes": ("index", "id, oid, name, on_id, cluster_id, owner_id, create_sql"),
    "mz_sources": (
        "source",
        "id, oid, schema_id, name, 'postgres' AS type, on_id AS connection_id, "
        "cluster_id, owner_id, create_sql",
    ),
    "mz_secrets": ("secret", "id, oid, schema_id, name, owner_id"),
    "mz_connections": (
        "connection",
        "id, oid, schema_id, name, 'postgres' AS type, owner_id, create_sql",
    ),
}
_INTEGERS = {"oid", "position", "process_id", "connection_id", "replication_factor"}
_BOOLEANS = {"nullable", "inherit", "managed"}
_COMPARISON = re.compile(r"\bIS\s+(NOT\s+)?NULL\b|<>|!=|<=|>=|=|<|>|\bLIKE\b|\bIN\b", re.IGNORECASE)
_NO_ALIAS = {"null", "end", "true", "false", "not", "is", "and", "or", "like", "in"}
_CAST = re.compile(r"(\w+\([^()]*\)|[\w.]+|'[^']*'|\$\d+)\s*::\s*(\w+)")
_CASTS = {"text": "TEXT", "int": "INTEGER", "bigint": "INTEGER", "int8": "INTEGER"}


@dataclass(frozen=True)
class Column:
    """A column of a result."""

    name: str
    oid: int


@dataclass(frozen=True)
class Rows:
    """A result: values are text, as they are sent, or None."""

    columns: tuple[Column, ...]
    rows: list[tuple[str | None, ...]]


class Relations:
    """The catalog as relations."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.executescript(_SCHEMA)
        self._database.execute("PRAGMA case_sensitive_like = ON")
        for view, (kind, columns) in _VIEWS.items():
            sql = f"CREATE VIEW {view} AS SELECT {columns} FROM all_objects WHERE type = '{kind}'"
            self._database.execute(sql)
        self._database.create_function("regexp", 2, _matches)
        self._database.create_function("split_part", 3, _split_part)
        self._database.create_function("starts_with", 2, lambda text, p: int(text.startswith(p)))
        self._fill_system()

    def set_functions(self, functions: dict[str, Callable[[], Any]]) -> None:
        """Define functions without arguments, such as ``mz_version``."""
        with self._lock:
            self._define(functions)

    def query(
        self,
        sql: str,
        parameters: Iterable[str | None] = (),
        functions: dict[str, Callable[[], Any]] | None = None,
    ) -> Rows:
        """Run a query, with functions that are the session's own.

        Raises
        ------
        SqlError
            What it names does not exist, or SQLite does not understand it.

        """
        translated = translate(sql)
        with self._lock:
            self._define(functions or {})
            try:
                cursor = self._database.execute(translated, list(parameters))
                rows = cursor.fetchall()
            except sqlite3.Error as error:
                raise _explained(error) from None
            names = [column[0] for column in cursor.description or ()]
        return _typed(tokenize(sql), names, rows)

    def _define(self, functions: dict[str, Callable[[], Any]]) -> None:
        for name, function in functions.items():
            self._database.create_function(name, 0, function)

    def follow(self, changes: Iterable[Change], catalog: Catalog) -> None:
        """Take over what changed in the catalog, which has it already."""
        with self._lock:
            for collection, key, value in changes:
                follow = getattr(self, f"_follow_{collection}", None)
                if follow is not None:
                    follow(key, value, catalog)
            self._database.commit()

    def set_sessions(self, sessions: Iterable[tuple[int, str]]) -> None:
        """Replace the sessions that are listed: number and role of each."""
        rows = [(f"00000000-{number:012}", number, role, "") for number, role in sessions]
        with self._lock:
            self._database.execute("DELETE FROM mz_sessions")
            self._database.executemany("INSERT INTO mz_sessions VALUES (?, ?, ?, ?)", rows)

    def set_source_errors(self, errors: dict[str, str]) -> None:
        """Replace why sources are stalled, by their ids."""
        with self._lock:
            self._database.execute("DELETE FROM source_errors")
            self._database.executemany("INSERT INTO source_errors VALUES (?, ?)", errors.items())

    def _follow_item(self, key: str, value: dict[str, Any] | None, catalog: Catalog) -> None:
        run = self._database.execute
        for table, column in (
            ("all_objects", "id"),
            ("mz_object_dependencies", "object_id"),
            ("mz_columns", "id"),
            ("mz_source_references", "source_id"),
            ("mz_postgres_sources", "id"),
        ):
            run(f"DELETE FROM {table} WHERE {column} = ?", (key,))
        if value is None:
            return
        on = value["uses"][0] if value["uses"] else None
        owner = catalog.named("role", value["owner"])
        row = (value["schema"], value["name"], value["type"], owner, value["cluster"] or None)
        row = (key, oid_of(int(key[1:])), *row, on, on if value["reference"] else None)
        run("INSERT INTO all_objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, value["sql"]))
        for used in value["uses"]:
            run("INSERT INTO mz_object_dependencies VALUES (?, ?)", (key, used))
        columns = value["columns"] if value["type"] == "table" else []
        for position, (name, type_) in enumerate(columns, start=1):
            run("INSERT INTO mz_columns VALUES (?, ?, ?, 1, ?)", (key, name, position, type_))
        if value["type"] == "source":
            row = (key, value["slot"], 1)
            run("INSERT INTO mz_postgres_sources VALUES (?, ?, ?)", row)
        for namespace, name, names in value.get("published", []):
            row = (key, namespace, name, "{" + ",".join(names) + "}")
            run("INSERT INTO mz_source_references VALUES (?, ?, ?, ?)", row)

    def _follow_schema(self, key: str, value: dict[str, Any] | None, _: Catalog) -> None:
        fields = () if value is None else (_number(key), value["database"], value["name"], "s1")
        self._replace("mz_schemas", key, fields)

    def _follow_database(self, key: str, value: dict[str, Any] | None, _: Catalog) -> None:
        self._replace("mz_databases", key, () if not value else (_number(key), value["name"], "s1"))

    def _follow_role(self, key: str, value: dict[str, Any] | None, _: Catalog) -> None:
        self._replace("mz_roles", key, () if not value else (_number(key), value["name"], 1))

    def _follow_cluster(self, key: str, value: dict[str, Any] | None, _: Catalog) -> None:
        self._replace("mz_clusters", key, () if not value else (value["name"], "s1", 1, None, 1))

    def _follow_replica(self, key: str, value: dict[str, Any] | None, _: Catalog) -> None:
        fields = () if not value else (value["name"], value["cluster"], value["size"], "s1")
        self._replace("mz_cluster_replicas", key, fields)
        run = self._database.execute
        run("DELETE FROM mz_cluster_replica_statuses WHERE replica_id = ?", (key,))
        if value:
            row = (key, 0, "online", None)
            run("INSERT INTO mz_cluster_replica_statuses VALUES (?, ?, ?, ?)", row)

    def _replace(self, table: str, key: str, fields: tuple[Any, ...]) -> None:
        self._database.execute(f"DELETE FROM {table} WHERE id = ?", (key,))
        if fields:
            marks = ", ".join("?" * (len(fields) + 1))
            self._database.execute(f"INSERT INTO {table} VALUES ({marks})", (key, *fields))

    def _fill_system(self) -> None:
        number = 0
        for kind, count in SYSTEM_OBJECTS.items():
            for index in range(count):
                number += 1
                name = f"mz_{kind.replace('-', '_')}_{index}"
                row = (f"s{number}", number, "s2", name, kind, "s1", None, None, None, None)
                self._database.execute(
                    "INSERT INTO all_objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row
                )


def translate(sql: str) -> str:
    """Return a query in SQLite's dialect."""
    parts = re.split(r"('(?:[^']|'')*')", sql)
    for index in range(0, len(parts), 2):
        text = parts[index]
        for schema in _SCHEMAS:
            text = re.sub(rf'"?\b{schema}\b"?\s*\.\s*', "", text)
        text = re.sub(r"\bcurrent_user\b(?!\()", "current_user()", text, flags=re.IGNORECASE)
        text = re.sub(r"\b(current_database|now|version)\s*\(\s*\)", r"pg_\1()", text)
        text = re.sub(r"(?<![<>!])!?~\s*(?=$|\$)", _regexp_operator, text)
        parts[index] = re.sub(r"\$(\d+)", r"?\1", text)
    joined = "".join(parts)
    return _CAST.sub(_cast, joined).rstrip("; \n")


def _cast(found: re.Match[str]) -> str:
    return f"CAST({found[1]} AS {_CASTS.get(found[2].lower(), 'TEXT')})"


def _regexp_operator(found: re.Match[str]) -> str:
    return " NOT REGEXP " if found[0].startswith("!") else " REGEXP "


def _typed(tokens: list[Token], names: list[str], rows: list[tuple[Any, ...]]) -> Rows:
    items = _select_list(tokens)
    if len(items) != len(names):  # an asterisk, or a query of another form
        items = [[] for _ in names]
    columns = []
    for position, (item, name) in enumerate(zip(items, names, strict=True)):
        values = [row[position] for row in rows if row[position] is not None]
        columns.append(_column(item, name, values))
    shown = [
        tuple(_shown(value, column.oid) for value, column in zip(row, columns, strict=True))
        for row in rows
    ]
    return Rows(tuple(columns), shown)


def _select_list(tokens: list[Token]) -> list[list[Token]]:
    """Return the tokens of each item between SELECT and FROM."""
    if not tokens or tokens[0].value != "select":
        return []
    items: list[list[Token]] = [[]]
    depth = 0
    for token in tokens[1:]:
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        ends = token.kind == "word" and token.value in {"from", "order", "limit", "union", "where"}
        if depth == 0 and ends:
            break
        if depth == 0 and token.text == ",":
            items.append([])
        elif token.value not in {"distinct"}:
            items[-1].append(token)
    return items


def _column(item: list[Token], name: str, values: list[Any]) -> Column:
    body, alias = _aliased(item)
    oid = _type(body, name, values)
    if alias:
        return Column(alias, oid)
    return Column(_named(body[:-2] if _is_cast(body) else body, name), oid)


def _aliased(item: list[Token]) -> tuple[list[Token], str]:
    """Return the expression and its alias, if it has one."""
    if len(item) < 2 or item[-1].kind not in {"word", "quoted"}:
        return item, ""
    last, before = item[-1], item[-2]
    if before.value == "as":
        return item[:-2], last.value
    implied = before.text == ")" or before.kind in {"word", "quoted", "number", "string"}
    if implied and last.value not in _NO_ALIAS and before.value not in _NO_ALIAS:
        return item[:-1], last.value
    return item, ""


def _is_cast(item: list[Token]) -> bool:
    return len(item) > 2 and item[-2].text == "::"


def _named(item: list[Token], name: str) -> str:
    """Return the name that PostgreSQL gives an expression."""
    if not item:
        return name
    if item[-1].text == ")" and item[0].kind == "word":
        return item[0].value
    names = all(token.kind in {"word", "quoted"} for token in item[::2])
    if names and all(token.text == "." for token in item[1::2]):
        return item[-1].value
    return "?column?"


def _type(item: list[Token], name: str, values: list[Any]) -> int:
    text = " ".join(token.text for token in item)
    first = item[0].value if item else ""
    casts = {"text": TEXT, "int": INT4, "int4": INT4, "bigint": INT8, "int8": INT8, "bool": BOOL}
    if _is_cast(item):
        return casts.get(item[-1].value, TEXT)
    if _COMPARISON.search(re.sub(r"\(.*\)", "", text)) or first in {"true", "false", "exists"}:
        return BOOL
    if first in {"count", "sum"}:
        return INT8
    if len(item) == 1 and item[0].kind == "number":
        return INT4
    if first == "mz_version_num" or first == "pg_backend_pid":
        return INT4
    if name == "timeline_id":
        return TIMELINE
    if name == "columns":
        return TEXTS
    if name in _BOOLEANS:
        return BOOL
    if values and all(isinstance(value, int) for value in values):
        return INT8 if name not in _INTEGERS else 26
    if values and all(isinstance(value, int | float) for value in values):
        return FLOAT8
    return TEXT


def _shown(value: Any, oid: int) -> str | None:
    if value is None:
        return None
    if oid == BOOL:
        return "t" if value in (1, True, "t", "true") else "f"
    return str(value)


def _explained(error: sqlite3.Error) -> SqlError:
    text = str(error)
    if found := re.match(r"no such table: (.*)", text):
        return SqlError(f"unknown catalog item '{found[1]}'")
    if found := re.match(r"no such column: (.*)", text):
        return SqlError(f'column "{found[1]}" does not exist')
    if found := re.match(r"no such function: (.*)", text):
        return SqlError(f'function "{found[1]}" does not exist', "42883")
    return SqlError(text, "42601")


def _matches(pattern: str, text: str | None) -> int:
    return int(text is not None and re.search(pattern, text) is not None)


def _split_part(text: str, separator: str, field: int) -> str:
    parts = text.split(separator)
    return parts[field - 1] if 0 < field <= len(parts) else ""


def _number(key: str) -> int:
    return oid_of(int(key[1:]))
