"""What a test can set: the latency law, and how the stand-in behaves otherwise."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

FILE = "src/adapter/standin.json"
"""Where a checkout keeps both. It is a source file: to change it dirties the tree, and the next
build takes it in."""


@dataclasses.dataclass(frozen=True)
class Law:
    """How long a DDL statement takes.

    At n user objects, ``floor_ms + per_1000_objects_ms * n / 1000``, times the kind's factor of
    ``kinds`` (such as ``{"create-view": 0.5}``; kinds as in `standin.costs`), times
    ``soft_assertion_factor`` where soft assertions are on, times ``optimized_factor`` in optimized
    builds. A statement of a DDL transaction takes half of that, and ``per_position_ms`` more for
    each statement before it, as where each one carries out those before it anew: O(n²) for the
    whole. ``jitter`` is the relative standard deviation of a normal factor on top, 0 for none.
    """

    floor_ms: float = 4.0
    per_1000_objects_ms: float = 20.0
    soft_assertion_factor: float = 1.5
    optimized_factor: float = 0.5
    per_position_ms: float = 0.0
    jitter: float = 0.0
    kinds: dict[str, float] = dataclasses.field(default_factory=dict)

    def seconds_at(
        self, position: int, kind: str, objects: int, *, optimized: bool, soft_assertions: bool
    ) -> float:
        """Return the same of a DDL transaction's statement with ``position`` others before it."""
        alone = self.seconds(kind, objects, optimized=optimized, soft_assertions=soft_assertions)
        return alone / 2 + self.per_position_ms * position / 1000

    def seconds(self, kind: str, objects: int, *, optimized: bool, soft_assertions: bool) -> float:
        """Return the law's latency, without jitter."""
        base = self.floor_ms + self.per_1000_objects_ms * objects / 1000
        factor = self.kinds.get(kind, 1.0)
        factor *= self.soft_assertion_factor if soft_assertions else 1.0
        factor *= self.optimized_factor if optimized else 1.0
        return base * factor / 1000


@dataclasses.dataclass(frozen=True)
class Behaviour:
    """Everything but the law.

    ``generation`` is that of the metrics, ``head`` or ``spike``. ``boot_ms`` (plus
    ``boot_per_1000_objects_ms``) passes until the adapter is up, ``catalog_cluster_ms`` more until
    queries on the catalog answer, and ``query_ms`` in each of those. ``build_seconds`` is what
    compiling takes. Without ``table_series`` the metrics page does not grow with the tables.
    """

    generation: str = "head"
    boot_ms: float = 300.0
    boot_per_1000_objects_ms: float = 200.0
    catalog_cluster_ms: float = 100.0
    query_ms: float = 2.0
    build_seconds: float = 0.2
    table_series: bool = True
    idle_drift: bool = True
    seed: int = 1


def write(checkout: Path, law: Law, behaviour: Behaviour) -> None:
    """Write both into a checkout."""
    file = checkout / FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    both = {"law": dataclasses.asdict(law), "behaviour": dataclasses.asdict(behaviour)}
    file.write_text(json.dumps(both, indent=2) + "\n")


def read(both: dict[str, Any]) -> tuple[Law, Behaviour]:
    """Return both from what `write` wrote."""
    return Law(**both["law"]), Behaviour(**both["behaviour"])
