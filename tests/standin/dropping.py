"""What a DROP takes away."""

from __future__ import annotations

from standin.catalog import Catalog
from standin.errors import SqlError
from standin.plans import Context, Plan, remove, resolve
from standin.statements import Statement


def drop(statement: Statement, catalog: Catalog, context: Context) -> Plan:
    """Plan a DROP; raise as `standin.planning.plan` does."""
    plan = Plan()
    for name in statement.names:
        if statement.kind in {"schema", "database", "role", "cluster"}:
            _drop_container(statement, name, catalog, context, plan)
        else:
            _drop_item(statement, name, catalog, context, plan)
    return plan


def _drop_item(
    statement: Statement,
    name: tuple[str, ...],
    catalog: Catalog,
    context: Context,
    plan: Plan,
) -> None:
    kind = statement.kind
    try:
        item = resolve(name, catalog, context)
    except SqlError:
        if "if exists" not in statement.flags:
            raise
        plan.notices.append(f'{kind.upper()} "{".".join(name)}" does not exist, skipping')
        return
    value = catalog.items[item]
    if value["type"] != kind.replace(" ", "-"):
        raise SqlError(f'"{catalog.full_name(item)}" is not of type {kind}')
    if kind == "index":
        _notice_users_of_index(catalog, item, plan)
    blocking = _all_dependents(catalog, item)
    users = [user for user in blocking if catalog.items[user]["type"] != "index"]
    if users and "cascade" not in statement.flags:
        user = catalog.items[users[0]]
        raise SqlError(
            f'cannot drop {kind} "{value["name"]}": still depended upon by '
            f'{user["type"].replace("-", " ")} "{user["name"]}"',
            hint="Use DROP ... CASCADE to drop the dependent objects too.",
        )
    if blocking and "cascade" in statement.flags:
        plan.notices.append(f"drop cascades to {len(blocking)} other objects")
    for user in (*reversed(blocking), item):
        remove(catalog, user, plan)


def _all_dependents(catalog: Catalog, item: str) -> list[str]:
    found: dict[str, None] = {}
    waiting = [item]
    while waiting:
        for user in catalog.dependents(waiting.pop()):
            if user not in found:
                found[user] = None
                waiting.append(user)
    return list(found)


def _notice_users_of_index(catalog: Catalog, index: str, plan: Plan) -> None:
    """Tell what was planned with an index: dataflows made later that read what it is on."""
    on = catalog.items[index]["uses"][0]
    number = int(index[1:])
    names = [
        catalog.full_name(user)
        for user in sorted(_all_dependents(catalog, on), key=lambda u: int(u[1:]))
        if int(user[1:]) > number
        and (
            catalog.items[user]["type"] == "materialized-view"
            or (catalog.items[user]["type"] == "index" and catalog.items[user]["uses"][0] != on)
        )
    ]
    if names:
        plan.notices.append(
            f"The dropped index {catalog.full_name(index)} is being used by the following objects: "
            f"{', '.join(names)}. The index is now dropped from the catalog, but it will continue "
            "to be maintained and take up resources until all dependent objects are dropped, "
            "altered, or Materialize is restarted!"
        )


def _drop_container(
    statement: Statement,
    name: tuple[str, ...],
    catalog: Catalog,
    context: Context,
    plan: Plan,
) -> None:
    kind = statement.kind
    more = {}
    if kind == "schema":
        database = name[0] if len(name) > 1 else context.settings["database"]
        more = {"database": catalog.named("database", database)}
    key = catalog.named(kind, name[-1], **more)
    if not key:
        if "if exists" in statement.flags:
            plan.notices.append(f'{kind.upper()} "{name[-1]}" does not exist, skipping')
            return
        raise SqlError(f"unknown {kind} '{name[-1]}'")
    schemas = {key} if kind == "schema" else set()
    if kind == "database":
        schemas = {s for s, v in catalog.collections["schema"].items() if v["database"] == key}
        plan.changes += [("schema", schema, None) for schema in schemas]
    inside = [
        item
        for item, value in catalog.items.items()
        if value["schema"] in schemas or (kind == "cluster" and value["cluster"] == key)
    ]
    inside = list(dict.fromkeys(u for i in inside for u in (*_all_dependents(catalog, i), i)))
    if inside and kind != "database" and "cascade" not in statement.flags:
        raise SqlError(
            f"{kind} '{'.'.join(filter(None, ('materialize', name[-1])))}' cannot be dropped "
            "without CASCADE while it contains objects"
            if kind == "schema"
            else f"cannot drop {kind} {name[-1]} because other objects depend on it",
            hint="Use DROP ... CASCADE to drop the dependent objects too.",
        )
    if inside and "cascade" in statement.flags:
        plan.notices.append(f"drop cascades to {len(inside)} other objects")
    for item in inside:
        remove(catalog, item, plan)
    if kind == "cluster":
        replicas = catalog.collections["replica"].items()
        plan.changes += [("replica", r, None) for r, v in replicas if v["cluster"] == key]
    plan.changes.append((kind, key, None))
