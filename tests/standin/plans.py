"""What planning a DDL statement is given, and what it returns."""

from __future__ import annotations

import dataclasses

from standin import variables
from standin.catalog import SYSTEM_SCHEMAS, Catalog
from standin.errors import SqlError
from standin.store import Change

TEMPORARY = "temp:"
"""What the schemas of temporary objects begin with; the connection's number follows."""


@dataclasses.dataclass
class Plan:
    """What is to be done. ``shards`` are those of new objects, ``dropped`` of objects that go."""

    changes: list[Change] = dataclasses.field(default_factory=list)
    notices: list[str] = dataclasses.field(default_factory=list)
    shards: list[str] = dataclasses.field(default_factory=list)
    dropped: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Context:
    """In whose name it is planned."""

    user: str
    connection: int
    settings: dict[str, str]
    sizes: list[str]
    variables: variables.SystemVariables


def schema_of(name: tuple[str, ...], catalog: Catalog, context: Context) -> str:
    """Return the id of the schema that a name is in."""
    if len(name) == 1:
        wanted = context.settings["search_path"].split(",")[0].strip().strip('"')
    else:
        wanted = name[-2]
    database = name[-3] if len(name) > 2 else context.settings["database"]
    found = catalog.named("schema", wanted, database=catalog.named("database", database) or None)
    if not found and wanted in SYSTEM_SCHEMAS:
        found = catalog.named("schema", wanted, database=None)
    if not found:
        raise SqlError(f"unknown schema '{'.'.join(name[:-1]) or wanted}'")
    return found


def resolve(name: tuple[str, ...], catalog: Catalog, context: Context) -> str:
    """Return the id of the item of that name."""
    found = ""
    if len(name) == 1:
        found = catalog.item_named(f"{TEMPORARY}{context.connection}", name[0])
    found = found or catalog.item_named(schema_of(name, catalog, context), name[-1])
    if not found:
        raise SqlError(f"unknown catalog item '{'.'.join(name)}'")
    return found


def remove(catalog: Catalog, item: str, plan: Plan) -> None:
    """Add to a plan that an item goes."""
    change: Change = ("item", item, None)
    if change in plan.changes:
        return
    plan.changes.append(change)
    if catalog.items[item]["shard"]:
        plan.dropped.append(catalog.items[item]["shard"])
