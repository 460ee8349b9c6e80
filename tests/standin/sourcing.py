"""Sources: what connections, sources and tables from sources ask upstream, and what they keep."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from standin import lexer, plans, statements, upstream
from standin.catalog import Catalog
from standin.errors import SqlError
from standin.replication import Replication
from standin.statements import Reader, Statement
from standin.store import Change

if TYPE_CHECKING:
    from standin.session import Session

_OF_CONNECTIONS = "58000"


def purify(session: Session, statement: Statement) -> Statement:
    """Ask upstream what a statement needs from there, before it is planned.

    Raises
    ------
    SqlError
        Upstream does not answer, or has not what is asked for.

    """
    if statement.verb == "refresh":
        source = _item(statement.name, session.catalog, session.context)
        references = _references(session, source["connection"], source["publication"])
        return dataclasses.replace(statement, published=references)
    if statement.verb != "create":
        return statement
    if statement.kind == "connection":
        _try(session, statement)
    if statement.kind == "source":
        sql = _item(statement.relations[0], session.catalog, session.context)["sql"]
        references = _references(session, sql, statement.value)
        return dataclasses.replace(statement, published=references)
    if "from source" in statement.flags:
        return _purify_table(session, statement)
    return statement


def validate(session: Session, statement: Statement) -> None:
    """Try a connection."""
    name = Reader(list(statement.tokens[2:])).name()
    _try(session, _definition(_item(name, session.catalog, session.context)["sql"]))


def follow(
    replication: Replication, changes: Iterable[Change], catalog: Catalog, context: plans.Context
) -> None:
    """Have sources run as the catalog, which has these changes already, says they should."""
    for collection, key, value in changes:
        if collection != "item":
            continue
        if value is None:
            replication.end(key)
        elif value["reference"] and value["uses"][0] in catalog.items and key in catalog.items:
            source = catalog.items[value["uses"][0]]
            try:
                place = _place(_definition(source["connection"]), catalog, context)
            except SqlError:  # its secret is gone: it could not be read
                continue
            table = ".".join(f'"{part}"' for part in value["reference"])
            replication.begin(value["uses"][0], place, source["slot"], table)


def stalled(replication: Replication, catalog: Catalog, fault: str) -> dict[str, str]:
    """Return why sources do not go on, by their ids; one without tables does not try to."""
    if fault:
        items = list(catalog.items.items())
        return {key: fault for key, value in items if value["type"] == "source"}
    return replication.errors()


def _purify_table(session: Session, statement: Statement) -> Statement:
    source = _item(statement.relations[0], session.catalog, session.context)
    place = _place(_definition(source["connection"]), session.catalog, session.context)
    wanted = tuple(statement.reference[-2:])
    with place.connected() as connection:
        upstream.require_replication(connection)
        found = upstream.published(connection, source["publication"])
        table = next((t for t in found if (t.schema, t.name)[-len(wanted) :] == wanted), None)
        if table is None:
            name = ".".join(statement.reference)
            raise SqlError(f"reference to {name} not found in source")
        upstream.require_readable(connection, table)
    return dataclasses.replace(
        statement,
        columns=tuple((column, "text") for column in table.columns),
        reference=(table.schema, table.name),
    )


def _references(session: Session, sql: str, publication: str) -> tuple[list[Any], ...]:
    """Return what a source can see: schema, table and columns of each published table."""
    place = _place(_definition(sql), session.catalog, session.context)
    with place.connected() as connection:
        upstream.require_replication(connection)
        tables = upstream.published(connection, publication)
        connection.execute(b"SELECT timeline_id FROM pg_control_checkpoint()")
    return tuple([table.schema, table.name, list(table.columns)] for table in tables)


def _try(session: Session, statement: Statement) -> None:
    place = _place(statement, session.catalog, session.context)
    with place.connected(_OF_CONNECTIONS) as connection:
        upstream.require_replication(connection)


def _item(name: tuple[str, ...], catalog: Catalog, context: plans.Context) -> dict[str, Any]:
    item: dict[str, Any] = catalog.items[plans.resolve(name, catalog, context)]
    return item


def _definition(sql: str) -> Statement:
    return statements.parse(*lexer.split(sql)[0])


def _place(statement: Statement, catalog: Catalog, context: plans.Context) -> upstream.Place:
    words = [token.value for token in statement.tokens]
    options = {
        key: words[words.index(key) + 1]
        for key in ("host", "port", "database", "user")
        if key in words
    }
    return upstream.Place(
        host=options.get("host"),
        port=int(options.get("port", "5432")),
        dbname=options.get("database", "postgres"),
        user=options.get("user"),
        password=_password(statement, catalog, context),
    )


def _password(statement: Statement, catalog: Catalog, context: plans.Context) -> str | None:
    words = [token.value for token in statement.tokens]
    if "password" not in words:
        return None
    position = words.index("password") + 1
    if words[position] != "secret":
        return words[position]
    name = Reader(list(statement.tokens[position + 1 :])).name()
    return _definition(_item(name, catalog, context)["sql"]).tokens[-1].value
