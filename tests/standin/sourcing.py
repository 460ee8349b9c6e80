"""Sources: what connections, sources and tables from sources ask upstream."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from standin import plans
from standin.errors import SqlError
from standin.statements import Reader, Statement

if TYPE_CHECKING:
    from standin.session import Session

_PUBLISHED = """
SELECT t.schemaname, t.tablename,
       (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
  FROM pg_publication_tables t
  JOIN pg_namespace n ON n.nspname = t.schemaname
  JOIN pg_class c ON c.relname = t.tablename AND c.relnamespace = n.oid
 WHERE t.pubname = %s ORDER BY 1, 2
"""


def purify(session: Session, statement: Statement) -> Statement:
    """Ask upstream what a statement needs from there, before it is planned.

    Raises
    ------
    SqlError
        Upstream does not answer, or has not what is asked for.

    """
    if statement.verb != "create":
        return statement
    if statement.kind == "connection":
        _connect(session, statement).close()
    if statement.kind == "source":
        return dataclasses.replace(statement, published=tuple(_published(session, statement)))
    if "from source" in statement.flags:
        source = _item(session, statement.relations[0])
        wanted = tuple(statement.reference[-2:])
        published = source.get("published", [])
        columns = next((c for s, n, c in published if (s, n)[-len(wanted) :] == wanted), None)
        if columns is None:
            name = ".".join(statement.reference)
            raise SqlError(f"reference to {name} not found in source")
        connection = _connect(session, _definition(source["connection"]))
        connection.execute(_PUBLISHED.encode(), (source["publication"],)).fetchall()
        connection.close()
        return dataclasses.replace(statement, columns=tuple((c, "text") for c in columns))
    return statement


def _published(session: Session, statement: Statement) -> list[Any]:
    """Return what a new source can see: schema, table and columns of each published table."""
    item = _item(session, statement.relations[0])
    connection = _connect(session, _definition(item["sql"]))
    try:
        exists = connection.execute(
            "SELECT 1 FROM pg_publication WHERE pubname = %s", (statement.value,)
        ).fetchone()
        if not exists:
            raise SqlError(
                "failed to connect to PostgreSQL database",
                detail=f"publication {statement.value} does not exist",
            )
        rows = connection.execute(_PUBLISHED.encode(), (statement.value,)).fetchall()
    finally:
        connection.close()
    return [list(row) for row in rows]


def validate(session: Session, statement: Statement) -> None:
    """Try a connection."""
    name = Reader(list(statement.tokens[2:])).name()
    _connect(session, _definition(_item(session, name)["sql"])).close()


def _item(session: Session, name: tuple[str, ...]) -> dict[str, Any]:
    item = session.catalog.items[plans.resolve(name, session.catalog, session.context)]
    result: dict[str, Any] = item
    return result


def _definition(sql: str) -> Statement:
    from standin import lexer, statements

    return statements.parse(*lexer.split(sql)[0])


def _connect(session: Session, statement: Statement) -> Any:
    import psycopg

    words = [token.value for token in statement.tokens]
    options = {
        key: words[words.index(key) + 1]
        for key in ("host", "port", "database", "user")
        if key in words
    }
    try:
        return psycopg.connect(
            host=options.get("host"),
            port=int(options.get("port", "5432")),
            dbname=options.get("database", "postgres"),
            user=options.get("user"),
            password=_password(session, words),
            application_name="materialize",
            autocommit=True,
        )
    except psycopg.OperationalError as error:
        text = str(error)
        if "refused" in text:
            message = "error connecting to server: Connection refused (os error 111)"
            raise SqlError(message, "58000") from None
        raise SqlError(f"db error: {text.rpartition('FATAL:')[2].strip()}", "58000") from None


def _password(session: Session, words: list[str]) -> str | None:
    if "password" not in words:
        return None
    position = words.index("password") + 1
    if words[position] != "secret":
        return words[position]
    secret = _item(session, (words[position + 1],))
    return _definition(secret["sql"]).tokens[-1].value
