"""Counts of objects, with the lab's own kept apart from those of users."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lab.targets.base import ObjectCounts
from lab.targets.sourcing import is_for_batches, is_for_upstream

FIXTURE_SCHEMA = "ddl_lab_fixture"
"""Where the lab keeps what it measures with; left out of the counts of user objects."""


def tally(rows: Iterable[tuple[Any, ...]]) -> ObjectCounts:
    """Add up rows of type, schema and number of objects."""
    by_type: dict[str, int] = {}
    fixtures = upstream = batches = 0
    for kind, schema, number in rows:
        if schema == FIXTURE_SCHEMA:
            fixtures += number
        elif is_for_upstream(schema):
            upstream += number
            batches += number if is_for_batches(schema) else 0
        else:
            by_type[kind] = by_type.get(kind, 0) + number
    return ObjectCounts(by_type, fixtures, upstream, batches)


def is_labs_own(schema: str) -> bool:
    """Say whether what lies in ``schema`` is left out of the counts of user objects."""
    return schema == FIXTURE_SCHEMA or is_for_upstream(schema)
