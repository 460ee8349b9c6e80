"""What sources keep upstream while they run: a replication slot, and a session each.

A source begins with its first table. It asks once a second how far the upstream's log has come, and
copies each new table once. Some time after it is dropped, so is its slot.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import psycopg

from standin.upstream import Place, explained

if TYPE_CHECKING:
    from collections.abc import Sequence

_POLL_S = 1.0
_UNTIL_DROPPED_S = 0.3
_RETRY_S = 0.5
_LSN = b"SELECT pg_current_wal_lsn()"
_MAKE = """
SELECT pg_create_logical_replication_slot(%s, 'pgoutput')
 WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %s)
"""
_DROP = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s"
_NO_DATABASE = "3D000"


class Replication:
    """The sources that run, by their ids."""

    def __init__(self) -> None:
        self._readers: dict[str, _Reader] = {}

    def begin(self, source: str, place: Place, slot: str, table: str) -> None:
        """Have ``source`` read ``table``, too."""
        reader = self._readers.get(source)
        if reader is None:
            reader = self._readers[source] = _Reader(place, slot)
            threading.Thread(target=reader.run, daemon=True).start()
        reader.copy(table)

    def end(self, source: str) -> None:
        """Have a source end, if it runs."""
        reader = self._readers.pop(source, None)
        if reader is not None:
            reader.stopped.set()

    def errors(self) -> dict[str, str]:
        """Return why sources do not go on, as they find now."""
        found = {source: reader.look() for source, reader in list(self._readers.items())}
        return {source: f"postgres: {error}" for source, error in found.items() if error}


class _Reader:
    """One source, in a thread of its own."""

    def __init__(self, place: Place, slot: str) -> None:
        self.stopped = threading.Event()
        self._place = place
        self._slot = slot
        self._lock = threading.Lock()
        self._connection: psycopg.Connection | None = None
        self._to_copy: list[str] = []
        self._asked = threading.Event()

    def run(self) -> None:
        while not self.stopped.is_set():
            if not self.look():
                self._copy_all()
            self._asked.wait(_POLL_S)
            self._asked.clear()
        self._leave()

    def copy(self, table: str) -> None:
        """Have a table copied that was added."""
        self._to_copy.append(table)
        self._asked.set()

    def look(self) -> str:
        """Ask upstream how far it is; return why it does not answer, nothing where it does."""
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._place.open()
                    self._connection.execute(_MAKE.encode(), (self._slot, self._slot))
                self._connection.execute(_LSN)
            except psycopg.Error as error:
                self._close()
                return explained(error)
            return ""

    def _copy_all(self) -> None:
        tables: Sequence[str] = tuple(self._to_copy)
        if not tables:
            return
        # What cannot be copied (the upstream went, the table was dropped) is tried no more: a real
        # source puts an error into the table, which nobody asks for here.
        with contextlib.suppress(psycopg.Error), contextlib.closing(self._place.open()) as session:
            session.execute(b"BEGIN READ ONLY ISOLATION LEVEL REPEATABLE READ")
            for table in tables:
                with session.cursor() as cursor:
                    cursor.execute(f"SELECT count(*) FROM {table}".encode())
                    with cursor.copy(f"COPY {table} TO STDOUT".encode()) as rows:
                        for _ in rows:
                            pass
            session.execute(b"COMMIT")
        del self._to_copy[: len(tables)]

    def _leave(self) -> None:
        """Drop the slot, however long the upstream is away."""
        threading.Event().wait(_UNTIL_DROPPED_S)
        while not self._dropped():
            threading.Event().wait(_RETRY_S)

    def _dropped(self) -> bool:
        with self._lock:
            self._close()
            try:
                with contextlib.closing(self._place.open()) as connection:
                    connection.execute(_DROP.encode(), (self._slot,))
            except psycopg.Error as error:
                return error.sqlstate == _NO_DATABASE or "does not exist" in str(error)
            return True

    def _close(self) -> None:
        connection: Any = self._connection
        self._connection = None
        if connection is not None:
            connection.close()
