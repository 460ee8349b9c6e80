"""The catalog in memory: collections of keys and values, as they stand in the journal."""

from __future__ import annotations

import collections
import copy
from collections.abc import Iterable
from typing import Any

from standin.store import Change

SYSTEM_SCHEMAS = (
    "information_schema",
    "mz_catalog",
    "mz_catalog_unstable",
    "mz_internal",
    "mz_introspection",
    "mz_unsafe",
    "pg_catalog",
)
SYSTEM_OBJECTS = {
    "connection": 1,
    "function": 619,
    "index": 264,
    "materialized-view": 11,
    "source": 55,
    "table": 53,
    "type": 90,
    "view": 187,
}
"""How many of each type an empty environment has."""
SYSTEM_ITEMS = 1
"""How many system objects the collection ``item`` of the durable catalog holds, besides the users'
objects: the connection, which users may alter."""
_FIRST_OID = 20000
_COUNTERS = ("item", "schema", "database", "role", "cluster", "replica")


def initial(bootstrap_role: str, bootstrap_size: str) -> list[Change]:
    """Return what a new environment's catalog starts with."""
    small = "scale=1,workers=1"
    changes: list[Change] = [("database", "u1", {"name": "materialize"})]
    for number, name in enumerate(SYSTEM_SCHEMAS, start=1):
        changes.append(("schema", f"s{number}", {"name": name, "database": None}))
    changes.append(("schema", "u3", {"name": "public", "database": "u1"}))
    for number, role in enumerate(("mz_system", "mz_support", "mz_analytics"), start=1):
        changes.append(("role", f"s{number}", {"name": role}))
    changes.append(("role", "u1", {"name": bootstrap_role}))
    system = ("mz_system", "mz_catalog_server", "mz_probe", "mz_support", "mz_analytics")
    for number, name in enumerate(system, start=1):
        changes.append(("cluster", f"s{number}", {"name": name}))
    changes.append(("cluster", "u1", {"name": "quickstart"}))
    for number in (1, 2, 3):
        value = {"name": "r1", "cluster": f"s{number}", "size": small}
        changes.append(("replica", f"s{number}", value))
    changes.append(("replica", "u1", {"name": "r1", "cluster": "u1", "size": bootstrap_size}))
    taken = {"schema": 3, "database": 1, "role": 1, "cluster": 1, "replica": 1}
    return [*changes, *(("id_alloc", name, taken.get(name, 0)) for name in _COUNTERS)]


class Catalog:
    """All collections, with what is asked of them often kept at hand."""

    def __init__(self) -> None:
        self.collections: dict[str, dict[str, Any]] = collections.defaultdict(dict)
        self.revision = 0
        self.by_type: collections.Counter[str] = collections.Counter()
        self.by_schema: collections.Counter[str] = collections.Counter()
        self._items_by_name: dict[tuple[str, str], str] = {}
        self._used_by: dict[str, dict[str, None]] = collections.defaultdict(dict)

    def copy(self) -> Catalog:
        """Return a copy that can be changed by itself."""
        return copy.deepcopy(self)

    def apply(self, changes: Iterable[Change]) -> None:
        """Make the changes."""
        self.revision += 1
        for collection, key, value in changes:
            if collection == "item":
                self._apply_item(key, value)
            elif value is None:
                self.collections[collection].pop(key, None)
            else:
                self.collections[collection][key] = value

    def _apply_item(self, key: str, value: dict[str, Any] | None) -> None:
        items = self.collections["item"]
        old = items.pop(key, None)
        if old is not None:
            self.by_type[old["type"]] -= 1
            self.by_schema[old["schema"]] -= 1
            self._items_by_name.pop((old["schema"], old["name"]), None)
            for used in old["uses"]:
                self._used_by[used].pop(key, None)
        if value is not None:
            # One that is renamed goes to the end: dependents are told in this order.
            items[key] = value
            self.by_type[value["type"]] += 1
            self.by_schema[value["schema"]] += 1
            self._items_by_name[value["schema"], value["name"]] = key
            for used in value["uses"]:
                self._used_by[used][key] = None

    @property
    def items(self) -> dict[str, Any]:
        """All user objects."""
        return self.collections["item"]

    def item_named(self, schema: str, name: str) -> str:
        """Return the id of an item, or nothing."""
        return self._items_by_name.get((schema, name), "")

    def named(self, collection: str, name: str, **more: Any) -> str:
        """Return the id of the entry of that name and those other values, or nothing."""
        wanted = {"name": name, **more}
        for key, value in self.collections[collection].items():
            if all(value.get(field) == text for field, text in wanted.items()):
                return key
        return ""

    def dependents(self, item: str) -> list[str]:
        """Return what directly uses an item."""
        return list(self._used_by.get(item, ()))

    def next_id(self, counter: str, skip: int = 0) -> tuple[str, Change]:
        """Return a new id, and the change that takes it."""
        number = self.collections["id_alloc"].get(counter, 0) + 1 + skip
        return f"u{number}", ("id_alloc", counter, number)

    def full_name(self, item: str) -> str:
        """Return database, schema and name."""
        value = self.items[item]
        schema = self.collections["schema"].get(value["schema"])
        if schema is None:
            return f"mz_temp.{value['name']}"
        database = self.collections["database"].get(schema["database"] or "", {}).get("name")
        return ".".join(filter(None, (database, schema["name"], value["name"])))

    def user_objects(self) -> int:
        """Return how many user objects there are."""
        return len(self.items)


def oid_of(number: int) -> int:
    """Return an object's oid."""
    return _FIRST_OID + number
