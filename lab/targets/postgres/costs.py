"""What PostgreSQL's counters can say about where the latency of a statement goes."""

from __future__ import annotations

from lab.metrics.tree import CostSheet, Node, Quantity
from lab.targets.postgres.metrics import CATALOGS

IMPORT = "import-foreign-table"
"""The statement that asks an upstream."""

_IO = "subject.io"


def _data_file(label: str, what: str, contexts: tuple[str, ...]) -> Node:
    return Node(
        label=label,
        time=tuple(f"{_IO}.relation.{context}.{what}_time" for context in contexts),
        calls=tuple(f"{_IO}.relation.{context}.{what}s" for context in contexts),
    )


_ROOTS = (
    Node(
        label="WAL flush (fsync)",
        time=(f"{_IO}.wal.normal.fsync_time",),
        calls=(f"{_IO}.wal.normal.fsyncs",),
        # One commit, one flush.
        whole=True,
    ),
    Node(
        label="WAL write",
        time=(f"{_IO}.wal.normal.write_time",),
        calls=(f"{_IO}.wal.normal.writes",),
    ),
    Node(
        label="WAL segment creation",
        time=(f"{_IO}.wal.init.write_time", f"{_IO}.wal.init.fsync_time"),
        calls=(f"{_IO}.wal.init.fsyncs",),
    ),
    _data_file("data file read", "read", ("normal", "bulkread", "bulkwrite", "vacuum")),
    _data_file("data file extension", "extend", ("normal", "bulkwrite", "vacuum")),
    _data_file("data file write", "write", ("normal", "bulkread", "bulkwrite", "vacuum")),
    Node(label="backend on a CPU", time=("subject.cpu.run_time",), overlaps=True),
    # A flush ends when its backend runs again, so a wait for a CPU is in its timer, too.
    Node(
        label="backend waiting for a CPU",
        time=("subject.cpu.wait_time",),
        overlaps=True,
        disturbs=True,
    ),
)

_QUANTITIES = (
    Quantity("WAL", ("subject.wal.bytes",), "bytes"),
    Quantity("catalog growth", tuple(f"catalog.{name}.bytes" for name in CATALOGS), "bytes"),
    Quantity("catalog rows written", ("catalog.rows.inserted", "catalog.rows.updated"), "count"),
    # Counted where they die, not where they lie: vacuum does not take from it.
    Quantity("catalog rows left dead", ("catalog.rows.updated", "catalog.rows.deleted"), "count"),
    Quantity("WAL records", ("subject.wal.records",), "count"),
    Quantity("full-page images", ("subject.wal.fpi",), "count"),
    Quantity("buffer hits", (f"{_IO}.relation.normal.hits",), "count"),
)

_DISTURBANCES = (
    Quantity("a checkpoint ended", ("server.checkpoints",), "count"),
    Quantity("autovacuum cleaned a catalog", ("catalog.autovacuums",), "count"),
)


_REST = (
    "server CPU (parsing, catalog work), creating and removing files, locks, and the round "
    "trip: PostgreSQL has no timers for these"
)
_REST_OF_IMPORT = "; of asking the upstream, what cannot be seen there"


def cost_sheet(statement: str) -> CostSheet:
    """Return the cost sheet of ``statement``: nearly the same for each, as PostgreSQL's timers are.

    PostgreSQL times the reads, writes and flushes of a backend and nothing else. The kernel's count
    of the backend's CPU time stands beside them: it overlaps, since a write or a flush runs on a
    CPU for part of its time.
    """
    return CostSheet(
        roots=_ROOTS,
        quantities=_QUANTITIES,
        rest=_REST + (_REST_OF_IMPORT if statement == IMPORT else ""),
        disturbances=_DISTURBANCES,
    )
