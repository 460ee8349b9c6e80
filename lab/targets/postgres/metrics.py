"""Read PostgreSQL's own counters: what one backend did, and what the server did besides.

What one backend wrote, read and flushed comes from ``pg_stat_get_backend_io`` and
``pg_stat_get_backend_wal`` (PostgreSQL 18), so that background work is not in it. A backend reports
its figures at most once a second, when it becomes idle, unless it is told to
(``pg_stat_force_next_flush``, which takes effect before that very statement's ready message): that
is what `settle` does. The I/O times stay zero unless ``track_io_timing`` and
``track_wal_io_timing`` are on. Source: PostgreSQL's documentation, "Monitoring Database Activity".
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import msgspec

from lab.core.processes import ProcessIdentity
from lab.metrics.reading import Kind, Reading, Series
from lab.servers.connection import Connection

CATALOGS = (
    "pg_attrdef",
    "pg_attribute",
    "pg_class",
    "pg_constraint",
    "pg_depend",
    "pg_index",
    "pg_rewrite",
    "pg_shdepend",
    "pg_statistic",
    "pg_type",
)
"""The system catalogs that DDL writes most to."""

_MS = 1e6  # the views give milliseconds
_SAME_START_S = 5.0  # what clocks and their adjustment may differ by

_BACKEND_IO = """
SELECT object, context,
       reads, read_bytes, read_time, writes, write_bytes, write_time,
       extends, extend_bytes, extend_time, fsyncs, fsync_time, hits
  FROM pg_stat_get_backend_io(%s)
 WHERE (object, context) IN (('relation', 'normal'), ('relation', 'bulkread'),
                             ('relation', 'bulkwrite'), ('relation', 'vacuum'),
                             ('wal', 'normal'), ('wal', 'init'))
"""

_BACKEND_WAL = """
SELECT wal_records AS records, wal_fpi AS fpi, wal_bytes AS bytes,
       wal_buffers_full AS buffers_full
  FROM pg_stat_get_backend_wal(%s)
"""

_SERVER = """
SELECT w.wal_records AS "server.wal.records", w.wal_fpi AS "server.wal.fpi",
       w.wal_bytes AS "server.wal.bytes", w.wal_buffers_full AS "server.wal.buffers_full",
       c.num_done AS "server.checkpoints", c.buffers_written AS "server.checkpoint.buffers",
       c.write_time AS "server.checkpoint.write_time", c.sync_time AS "server.checkpoint.sync_time",
       d.xact_commit AS "database.commits", d.xact_rollback AS "database.rollbacks",
       d.blks_hit AS "database.hits", d.blks_read AS "database.reads",
       d.tup_returned AS "database.rows.returned", d.tup_fetched AS "database.rows.fetched",
       d.tup_inserted AS "database.rows.inserted", d.tup_updated AS "database.rows.updated",
       d.tup_deleted AS "database.rows.deleted"
  FROM pg_stat_wal w, pg_stat_checkpointer c, pg_stat_database d
 WHERE d.datname = current_database()
"""

# The functions under pg_stat_sys_tables, asked for named catalogs: they look names up in caches,
# while a plan for the view may choose to read through pg_class, however many objects there are.
_CATALOGS = """
SELECT name, pg_total_relation_size(oid), pg_stat_get_dead_tuples(oid),
       pg_stat_get_tuples_inserted(oid), pg_stat_get_tuples_updated(oid),
       pg_stat_get_tuples_deleted(oid), pg_stat_get_autovacuum_count(oid)
  FROM (SELECT name, name::regclass::oid AS oid FROM unnest(%s::text[]) AS name) AS catalog
"""


def settle(connection: Connection) -> None:
    """Make PostgreSQL's figures about this ``connection`` current; takes well under 1 ms."""
    connection.execute("SELECT pg_stat_force_next_flush()")


def read(connection: Connection, subject: int, boot: str) -> Reading:
    """Read all series; ``subject`` is the pid of the backend whose own work is wanted.

    Where that backend is gone its series are missing, so that a difference to an earlier reading is
    void. Nothing is read that grows with the number of objects.
    """
    started_ns = time.monotonic_ns()
    series = (
        *_backend(connection, subject),
        *_processor(connection, subject),
        *_server(connection),
        *_catalogs(connection),
    )
    return Reading(
        boot=boot,
        taken_ns=started_ns,
        cost_ns=time.monotonic_ns() - started_ns,
        series=series,
    )


def browse(connection: Connection, boot: str, match: str) -> Reading:
    """Read all series of the server whose name contains ``match``.

    Those of a backend are left out: none is being measured, and the reading one is of no interest.
    """
    reading = read(connection, connection.info.backend_pid, boot)
    series = tuple(
        each
        for each in reading.series
        if match in each.name and not each.name.startswith("subject.")
    )
    return msgspec.structs.replace(reading, series=series)


def _counter(name: str, value: float | Decimal) -> Series:
    if name.endswith("_time"):
        return Series(name, Kind.COUNTER, "ns", float(round(float(value) * _MS)))
    unit = "bytes" if name.endswith("bytes") else "count"
    return Series(name, Kind.COUNTER, unit, float(value))


def _backend(connection: Connection, subject: int) -> Iterator[Series]:
    cursor = connection.execute(_BACKEND_IO, (subject,))
    columns = [column.name for column in cursor.description or ()]
    for kind, context, *values in cursor:
        for column, value in zip(columns[2:], values, strict=True):
            # NULL where a kind of work does not exist there.
            if value is not None:
                yield _counter(f"subject.io.{kind}.{context}.{column}", value)
    cursor = connection.execute(_BACKEND_WAL, (subject,))
    columns = [column.name for column in cursor.description or ()]
    for row in cursor:
        for column, value in zip(columns, row, strict=True):
            if value is not None:
                yield _counter(f"subject.wal.{column}", value)


def _processor(connection: Connection, subject: int) -> Iterator[Series]:
    """Read the backend's time on a CPU, and waiting for one, where this kernel tells it.

    PostgreSQL has no figure for it. The pid is taken for the backend's only where a process of that
    pid started when the backend did: the server may run elsewhere, or in a container.
    """
    identity = ProcessIdentity.of(subject)
    if identity is None:
        return
    row = connection.execute(
        "SELECT backend_start FROM pg_stat_get_activity(%s)", (subject,)
    ).fetchone()
    began: datetime | None = row[0] if row else None
    if began is None or abs(began.timestamp() - identity.started) > _SAME_START_S:
        return
    try:
        ran, waited = Path(f"/proc/{subject}/schedstat").read_text().split()[:2]
    except (OSError, ValueError):
        return
    yield Series("subject.cpu.run_time", Kind.COUNTER, "ns", float(ran))
    yield Series("subject.cpu.wait_time", Kind.COUNTER, "ns", float(waited))


def _server(connection: Connection) -> Iterator[Series]:
    cursor = connection.execute(_SERVER)
    columns = [column.name for column in cursor.description or ()]
    for row in cursor:
        for column, value in zip(columns, row, strict=True):
            yield _counter(column, value)


def _catalogs(connection: Connection) -> Iterator[Series]:
    inserted = updated = deleted = vacuumed = 0
    for name, size, dead, *counts in connection.execute(_CATALOGS, (list(CATALOGS),)):
        yield Series(f"catalog.{name}.bytes", Kind.GAUGE, "bytes", float(size))
        yield Series(f"catalog.{name}.dead", Kind.GAUGE, "count", float(dead))
        inserted += counts[0]
        updated += counts[1]
        deleted += counts[2]
        vacuumed += counts[3]
    yield _counter("catalog.rows.inserted", inserted)
    yield _counter("catalog.rows.updated", updated)
    yield _counter("catalog.rows.deleted", deleted)
    yield _counter("catalog.autovacuums", vacuumed)
