"""Replication on the upstream: slots, WAL senders, sessions of the source's role."""

from __future__ import annotations

import msgspec

from lab.servers.connection import Connection
from lab.upstream.base import ROLE

_SLOTS = """
SELECT slot_name, coalesce(database, ''), active,
       coalesce(pg_wal_lsn_diff(
         CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
              ELSE pg_current_wal_lsn() END, restart_lsn), 0)::bigint
  FROM pg_replication_slots ORDER BY 1
"""
_ROOM = """
SELECT current_setting('max_replication_slots')::int,
       current_setting('max_wal_senders')::int,
       (SELECT count(*) FROM pg_replication_slots),
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'),
       (SELECT count(*) FROM pg_stat_activity WHERE usename = %s)
"""


class Slot(msgspec.Struct, frozen=True):
    """A replication slot; ``retained_bytes`` is the WAL that the server keeps because of it."""

    name: str
    database: str
    active: bool
    retained_bytes: int


class Room(msgspec.Struct, frozen=True):
    """What replication may take, and what it takes now; ``sessions`` are those of the role."""

    max_slots: int
    max_senders: int
    slots: int
    senders: int
    sessions: int

    @property
    def free_slots(self) -> int:
        """How many slots can still be made."""
        return self.max_slots - self.slots


def read_slots(connection: Connection) -> tuple[Slot, ...]:
    """Return the replication slots of the server, of whatever database."""
    return tuple(Slot(*row) for row in connection.execute(_SLOTS))


def read_room(connection: Connection) -> Room:
    """Return what of slots, WAL senders and sessions is taken."""
    row = connection.execute(_ROOM, (ROLE,)).fetchone()
    assert row is not None
    return Room(*row)


def drop_slot(connection: Connection, name: str) -> bool:
    """Drop the slot ``name`` where nobody uses it; say whether it is gone."""
    found = connection.execute(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
        " WHERE slot_name = %s AND NOT active",
        (name,),
    )
    return found.rowcount > 0
