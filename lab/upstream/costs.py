"""What the upstream's counters can say about where the latency of a statement goes."""

from __future__ import annotations

import msgspec

from lab.metrics.reading import Change, Delta
from lab.metrics.tree import Node
from lab.upstream.shapes import SHAPES, SNAPSHOT

CONNECTIONS = "upstream.connections"
SESSION_TIME = "upstream.session_time"
ROUND_TRIPS = "upstream.round_trips.time"

# Nothing waits for what runs beside the statements.
_ASKED = tuple(shape for shape in SHAPES if shape != SNAPSHOT)
_CALLS = tuple(f"upstream.{shape}.calls" for shape in _ASKED)


def roots(*, sessions: bool) -> tuple[Node, ...]:
    """Return the upstream's part of a cost tree.

    With ``sessions``, for a target that opens a session for each statement, one root that is the
    time of these sessions, of which logging in, and what a session waited for besides, are its own
    part. It needs `SESSION_TIME`, which a server whose log is unseen does not have. Without, the
    root is the sum of its parts, and what runs beside the statements is a root of its own.
    """
    asked = tuple(_shape(shape) for shape in _ASKED)
    trips = Node(label="round trips (from the probe)", time=(ROUND_TRIPS,), calls=_CALLS)
    beside = _shape(SNAPSHOT)
    if sessions:
        return (
            Node(
                label="upstream, as seen from there",
                time=(SESSION_TIME,),
                calls=(CONNECTIONS,),
                children=(*asked, beside, trips),
            ),
        )
    return (
        Node(
            label="upstream (queries and round trips)",
            time=(*(name for node in asked for name in node.time), ROUND_TRIPS),
            # A round trip is no call of its own: it is that of a query.
            calls=_CALLS,
            children=(*asked, trips),
        ),
        beside,
    )


def with_round_trips(delta: Delta, round_trip_ns: float) -> Delta:
    """Return ``delta`` with `ROUND_TRIPS`: one round trip for each statement that was asked.

    What the upstream times is the work on a statement, not the way there and back. Replication and
    initial copies are left out: nothing waits for them. A driver that prepares a statement takes
    more than one round trip for it, and logging in takes some: this is the least there is.
    """
    if delta.void:
        return delta
    calls = sum(change.amount for change in delta.changes if change.name in _CALLS)
    added = Change(ROUND_TRIPS, "ns", calls * round_trip_ns)
    return msgspec.structs.replace(delta, changes=(*delta.changes, added))


def _shape(shape: str) -> Node:
    return Node(
        label=shape,
        time=(f"upstream.{shape}.time",),
        calls=(f"upstream.{shape}.calls",),
        overlaps=shape == SNAPSHOT,
    )
