"""Where the time of a statement goes: a declared containment tree, filled in from a delta."""

from __future__ import annotations

import msgspec


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A declared part of a statement's latency.

    ``time`` names counters in ns, ``calls`` counters that count (none where nothing does); each
    are added up. ``whole`` says that the calls per statement are expected to be a whole number. A
    node ``overlaps`` where it runs beside its siblings, so that it is left out of their sum. It
    ``disturbs`` where it is time that the host took away: its siblings' timers contain part of it.
    ``generation`` names the versions of the server that have such a timer, empty for all: on others
    the node is left out without a word.
    """

    label: str
    time: tuple[str, ...]
    calls: tuple[str, ...] = ()
    whole: bool = False
    overlaps: bool = False
    disturbs: bool = False
    generation: str = ""
    children: tuple[Node, ...] = ()


class Quantity(msgspec.Struct, frozen=True):
    """A declared amount that is not time: bytes written, rows left dead.

    ``series`` are added up.
    """

    label: str
    series: tuple[str, ...]
    unit: str


class CostSheet(msgspec.Struct, frozen=True, kw_only=True):
    """What a target declares about the costs of its statements; a pure part of it.

    ``roots`` lie directly under the client's latency. ``rest`` names what is expected to be left
    over where the target has no timer for it (CPU time, the round trip); where it is empty, a large
    rest is warned of. ``quantities`` are given per statement. ``disturbances`` are work of the
    server's own that falsifies the costs of a statement: warned of where it moved at all.
    """

    roots: tuple[Node, ...]
    quantities: tuple[Quantity, ...]
    rest: str = ""
    disturbances: tuple[Quantity, ...] = ()


class Attributed(msgspec.Struct, frozen=True, kw_only=True):
    """A node, filled in. ``ns`` is per statement; ``share`` is of the mean client latency.

    ``calls`` is per statement, None where nothing counts them. ``self_ns`` is what the sequential
    children leave of it. ``nested`` is False where the node is larger than its parent: it is left
    out of sums then.
    """

    label: str
    ns: float
    share: float
    calls: float | None
    self_ns: float
    overlaps: bool
    nested: bool
    disturbs: bool = False
    children: tuple[Attributed, ...] = ()
