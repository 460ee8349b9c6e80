"""What a DDL statement changes in the catalog, or why it cannot."""

from __future__ import annotations

import uuid
from typing import Any

from standin import errors, variables
from standin.catalog import SYSTEM_SCHEMAS, Catalog
from standin.dropping import drop
from standin.errors import SqlError
from standin.plans import TEMPORARY, Context, Plan, remove, resolve, schema_of
from standin.statements import Statement

_LIMITED = {
    "table": ("table", "max_tables"),
    "source": ("source", "max_sources"),
    "materialized view": ("materialized view", "max_materialized_views"),
    "secret": ("secret", "max_secrets"),
}
_HOLDS_DATA = {"table", "source", "materialized-view"}


def plan(statement: Statement, catalog: Catalog, context: Context) -> Plan:
    """Plan a statement against the catalog as it is now.

    Raises
    ------
    SqlError
        As environmentd's.

    """
    planner = {
        "create": _create,
        "drop": drop,
        "rename": _rename,
        "refresh": _refresh,
        "alter system": _alter_system,
    }.get(statement.verb)
    return planner(statement, catalog, context) if planner else Plan()


def _create(statement: Statement, catalog: Catalog, context: Context) -> Plan:
    if context.user == "mz_support":
        raise SqlError(
            'permission denied for SCHEMA "materialize.public"',
            "42501",
            "The 'mz_support' role needs CREATE privileges on SCHEMA \"materialize.public\"",
        )
    if statement.kind in {"schema", "database", "role", "cluster"}:
        return _create_container(statement, catalog, context)
    return _create_item(statement, catalog, context)


def _create_container(statement: Statement, catalog: Catalog, context: Context) -> Plan:
    kind, name = statement.kind, statement.name[-1]
    more: dict[str, Any] = {}
    if kind == "schema":
        names = (*statement.name[:-1], "public") if len(statement.name) > 1 else ("public", "")
        database = statement.name[0] if len(statement.name) > 1 else context.settings["database"]
        more = {"database": catalog.named("database", database)}
        if not more["database"]:
            raise SqlError(f"unknown database '{names[0]}'")
    if catalog.named(kind, name, **more):
        if "if not exists" in statement.flags:
            return Plan(notices=[f'{kind} "{name}" already exists, skipping'])
        raise SqlError(f"{kind} '{name}' already exists")
    plan = Plan()
    if kind == "cluster":
        if statement.value not in context.sizes:
            valid = ", ".join(context.sizes)
            raise SqlError(
                f"unknown cluster replica size {statement.value}",
                hint=f"Valid cluster replica sizes are: {valid}",
            )
        _check_limit("cluster", "max_clusters", _users(catalog, "cluster"), context)
    if kind == "schema":
        current = sum(s["database"] == more["database"] for s in catalog.collections[kind].values())
        _check_limit("schema", "max_schemas_per_database", current, context)
    if kind == "database":
        _check_limit("database", "max_databases", _users(catalog, kind), context)
    key, taken = catalog.next_id(kind)
    plan.changes += [taken, (kind, key, {"name": name, **more})]
    if kind == "database":
        schema, taken = catalog.next_id("schema")
        plan.changes += [taken, ("schema", schema, {"name": "public", "database": key})]
    if kind == "cluster":
        replica, taken = catalog.next_id("replica")
        value = {"name": "r1", "cluster": key, "size": statement.value}
        plan.changes += [taken, ("replica", replica, value)]
    return plan


def _create_item(statement: Statement, catalog: Catalog, context: Context) -> Plan:
    kind = statement.kind
    for column, type_ in statement.columns if kind == "table" else ():
        if type_.startswith("?"):
            raise SqlError(f'type "{type_[1:]}" does not exist' if column else "")
    plan = Plan()
    uses = _references(statement, catalog, context)
    name = statement.name
    if kind == "index":
        name = _index_name(statement, catalog, context)
    if "temporary" in statement.flags:
        schema = f"{TEMPORARY}{context.connection}"
    elif kind == "index":
        schema = catalog.items[uses[0]]["schema"]
    else:
        schema = schema_of(name, catalog, context)
    if kind == "source":
        _require_tables(statement, context)
    there = catalog.item_named(schema, name[-1])
    if there and "or replace" in statement.flags:
        remove(catalog, there, plan)
    elif there:
        if "if not exists" in statement.flags:
            return Plan(notices=[f'{kind} "{name[-1]}" already exists, skipping'])
        if "from source" in statement.flags:
            raise SqlError(f"catalog item '{name[-1]}' already exists")
        raise SqlError(f'{kind} "{catalog.full_name(there)}" already exists')
    if not there:
        _check_item_limits(kind, schema, catalog, context)
    key, taken = catalog.next_id("item")
    value = _item(statement, name[-1], schema, uses, catalog, context)
    if value["shard"]:
        plan.shards.append(value["shard"])
    plan.changes += [taken, ("item", key, value)]
    return plan


def _item(
    statement: Statement,
    name: str,
    schema: str,
    uses: list[str],
    catalog: Catalog,
    context: Context,
) -> dict[str, Any]:
    kind = statement.kind.replace(" ", "-")
    cluster = ""
    if kind in {"index", "materialized-view", "source"}:
        wanted = statement.new_name or context.settings["cluster"]
        cluster = catalog.named("cluster", wanted)
        if not cluster:
            raise SqlError(f"unknown cluster '{wanted}'")
    durable = not schema.startswith(TEMPORARY)
    return {
        "type": kind,
        "name": name,
        "schema": schema,
        "uses": uses,
        "cluster": cluster,
        "columns": [list(column) for column in statement.columns],
        "sql": statement.sql,
        "owner": context.user,
        "reference": list(statement.reference),
        "publication": statement.value if kind == "source" else "",
        "published": list(statement.published),
        "slot": f"materialize_{uuid.uuid4().hex}" if kind == "source" else "",
        "connection": catalog.items[uses[0]]["sql"] if kind == "source" else "",
        "shard": f"s{uuid.uuid4()}" if kind in _HOLDS_DATA and durable else "",
    }


def _references(statement: Statement, catalog: Catalog, context: Context) -> list[str]:
    found = []
    for name in statement.relations:
        system = name[-1].startswith(("mz_", "pg_")) or name[0] in SYSTEM_SCHEMAS
        if not (system and len(name) < 3):
            found.append(resolve(name, catalog, context))
    return list(dict.fromkeys(found))


def _index_name(statement: Statement, catalog: Catalog, context: Context) -> tuple[str, ...]:
    if statement.name:
        return statement.name
    on = catalog.items[resolve(statement.relations[0], catalog, context)]
    columns = (
        "primary" if "default" in statement.flags else "_".join(c for c, _ in statement.columns)
    )
    base = f"{on['name']}_{columns}_idx"
    names = [base, *(f"{base}{number}" for number in range(1, 1000))]
    return (next(name for name in names if not catalog.item_named(on["schema"], name)),)


def _require_tables(statement: Statement, context: Context) -> None:
    if "subsources" in statement.flags or context.variables.on("enable_create_table_from_source"):
        return
    raise SqlError(
        "POSTGRES source validation: missing TABLES specification",
        hint="provide a FOR TABLES (..), FOR SCHEMAS (..), or FOR ALL TABLES clause",
    )


def _check_item_limits(kind: str, schema: str, catalog: Catalog, context: Context) -> None:
    if kind in _LIMITED:
        noun, variable = _LIMITED[kind]
        _check_limit(noun, variable, catalog.by_type[kind.replace(" ", "-")], context)
    if not schema.startswith(TEMPORARY):
        _check_limit("object", "max_objects_per_schema", catalog.by_schema[schema], context)


def _check_limit(noun: str, variable: str, current: int, context: Context) -> None:
    maximum = context.variables.number(variable)
    if current + 1 > maximum:
        raise errors.limit(noun, variable, maximum, current)


def _users(catalog: Catalog, collection: str) -> int:
    return sum(key.startswith("u") for key in catalog.collections[collection])


def _rename(statement: Statement, catalog: Catalog, context: Context) -> Plan:
    kind = statement.kind
    if kind in {"schema", "cluster"}:
        key = catalog.named(kind, statement.name[-1])
        if not key:
            raise SqlError(f"unknown {kind} '{statement.name[-1]}'")
        value = catalog.collections[kind][key] | {"name": statement.new_name}
        return Plan(changes=[(kind, key, value)])
    try:
        item = resolve(statement.name, catalog, context)
    except SqlError:
        if "if exists" in statement.flags:
            name = ".".join(statement.name)
            return Plan(notices=[f'{kind.upper()} "{name}" does not exist, skipping'])
        raise
    value = catalog.items[item]
    if value["type"] != kind.replace(" ", "-"):
        raise SqlError(f'"{catalog.full_name(item)}" is not of type {kind}')
    if catalog.item_named(value["schema"], statement.new_name):
        raise SqlError(f"catalog item '{statement.new_name}' already exists")
    return Plan(changes=[("item", item, value | {"name": statement.new_name})])


def _refresh(statement: Statement, catalog: Catalog, context: Context) -> Plan:
    source = resolve(statement.name, catalog, context)
    value = catalog.items[source] | {"published": list(statement.published)}
    return Plan(changes=[("item", source, value)])


def _alter_system(statement: Statement, catalog: Catalog, context: Context) -> Plan:
    if context.user != "mz_system":
        raise SqlError(
            "permission denied to alter system", "42501", "You must be the 'mz_system' role"
        )
    if statement.kind == "reset all":
        return Plan(changes=[("setting", name, None) for name in catalog.collections["setting"]])
    name = statement.name[0]
    if name not in variables.SYSTEM:
        raise variables.unknown(name)
    value = None
    if statement.kind == "set":
        value = variables.system_value(name, statement.value)
    notice = (
        f'variable "{name}" was updated for the system, '
        "this will have no effect on the current session"
    )
    return Plan(changes=[("setting", name, value)], notices=[notice])
