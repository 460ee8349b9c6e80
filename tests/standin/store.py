"""The durable state: rows in the metadata store, files in the blob store.

The metadata store holds a table of the real one's shape: shard, sequence number, data. One shard,
whose name follows from the environment id, is the journal of the catalog; each object with data of
its own has another, and a blob of that name. Every writer appends at the next sequence number, so
two cannot both go on: who finds another's row in its way has been fenced off.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from standin import log

Change = tuple[str, str, Any]
"""Collection, key, value; value None where the key is gone."""
T = TypeVar("T")

_SEPARATOR = "\N{DIVISION SLASH}"
_RETRY_S = 0.2
_TABLE = """
CREATE TABLE IF NOT EXISTS consensus (
    shard text NOT NULL, sequence_number bigint NOT NULL, data bytea NOT NULL,
    PRIMARY KEY (shard, sequence_number))
"""


class FencedError(Exception):
    """Another environmentd has taken the state over."""

    def __init__(self, mine: int, theirs: int) -> None:
        epochs = f"Epoch {{ current_epoch: {mine}, fence_epoch: {theirs} }}"
        super().__init__(
            f"unable to advance catalog upper: Catalog(Error {{ kind: Durable(Fence({epochs})) }})"
        )


class Store:
    """The state of one environment."""

    def __init__(self, url: str, environment_id: str, blobs: Path) -> None:
        # libpq wants encoded what environmentd takes as it is.
        base, _, options = url.partition("?options=")
        self._url = f"{base}?options={urllib.parse.quote(options, safe='')}" if options else url
        self._lock = threading.RLock()
        self._connection: psycopg.Connection | None = None
        self._shard = catalog_shard(environment_id)
        self._blobs = blobs
        self._upper = 0
        self.epoch = 0

    def open(self) -> list[list[Change]]:
        """Return all changes ever made, in order."""
        self._blobs.mkdir(parents=True, exist_ok=True)
        self._retrying(lambda c: c.execute(_TABLE))
        return self._read()

    def take_over(self, epoch: int, version: str) -> None:
        """Fence off whoever wrote until now."""
        self.epoch = epoch
        if self._upper == 0:
            self._write_blob(self._shard)
        self.append([("config", "epoch", epoch), ("config", "version", version)])

    def append(self, changes: list[Change], shards: list[str] | None = None) -> None:
        """Write changes, with new shards, as one transaction.

        Raises
        ------
        FencedError
            Somebody else has written since.

        """
        for shard in shards or []:
            self._write_blob(shard)
        # Each row names the rollup, as rows of the real one do.
        data = json.dumps({"changes": changes, "rollup": f"v0/{_rollup(self._shard)}"}).encode()
        rows = [(self._shard, self._upper, data), *((shard, 0, b"") for shard in shards or [])]

        def insert(connection: psycopg.Connection) -> bool:
            with connection.transaction():
                for row in rows:
                    connection.execute("INSERT INTO consensus VALUES (%s, %s, %s)", row)
            return True

        with self._lock:
            try:
                self._retrying(insert)
            except psycopg.errors.UniqueViolation:
                # After a lost connection the row in the way may be this very one.
                mine = "SELECT data FROM consensus WHERE shard = %s AND sequence_number = %s"
                row = self._retrying(lambda c: c.execute(mine, rows[0][:2]).fetchone())
                if row is None or bytes(row[0]) != data:
                    self._check_epoch(self._read())
                    raise
            self._upper += 1

    def poll(self) -> None:
        """See whether somebody else has written.

        Raises
        ------
        FencedError
            So it is.

        """
        with self._lock:
            self._check_epoch(self._read())

    def missing_blob(self, shard: str) -> str:
        """Return the name of the blob that a shard refers to and that is not there, or nothing."""
        name = self._blob(shard)
        return "" if (self._blobs / name).exists() else name.replace(_SEPARATOR, "/")

    def catalog_blob_missing(self) -> str:
        """Return the same for the catalog's own shard."""
        return self.missing_blob(self._shard)

    def forget(self, shards: list[str]) -> None:
        """Drop shards and their blobs."""
        for shard in shards:
            (self._blobs / self._blob(shard)).unlink(missing_ok=True)
        if shards:
            delete = "DELETE FROM consensus WHERE shard = ANY(%s)"
            self._retrying(lambda c: c.execute(delete, (shards,)))

    def _blob(self, shard: str) -> str:
        return f"{shard}{_SEPARATOR}v0{_SEPARATOR}{_rollup(shard)}"

    def _write_blob(self, shard: str) -> None:
        target = self._blobs / self._blob(shard)
        new = target.with_name(f"{target.name}.tmp")
        while True:
            try:
                new.write_bytes(b"\0" * 180)
                new.replace(target)
            except OSError as error:
                _tell_and_wait("blob::set", error)
            else:
                return

    def _read(self) -> list[list[Change]]:
        query = """
            SELECT sequence_number, data FROM consensus
             WHERE shard = %s AND sequence_number >= %s ORDER BY 1
        """
        with self._lock:
            rows = self._retrying(lambda c: c.execute(query, (self._shard, self._upper)).fetchall())
            if rows:
                self._upper = rows[-1][0] + 1
        return [
            [tuple(change) for change in json.loads(bytes(data))["changes"]] for _, data in rows
        ]

    def _check_epoch(self, written: list[list[Change]]) -> None:
        for changes in written:
            for collection, key, value in changes:
                if (collection, key) == ("config", "epoch"):
                    raise FencedError(self.epoch, value)

    def _retrying(self, action: Callable[[psycopg.Connection], T]) -> T:
        """Carry out ``action``, however long the metadata store is away."""
        with self._lock:
            while True:
                try:
                    if self._connection is None or self._connection.closed:
                        self._connection = psycopg.connect(self._url, autocommit=True)
                    return action(self._connection)
                except psycopg.OperationalError as error:
                    self._connection = None
                    _tell_and_wait("consensus", error)


def catalog_shard(environment_id: str) -> str:
    """Return the name of the catalog's shard: as in the real one, a hash of the id's UUID."""
    organization = environment_id[-38:-2] if len(environment_id) > 38 else environment_id
    digest = hashlib.sha256(f"{organization}1".encode()).digest()
    return f"s{uuid.UUID(bytes=digest[:16])}"


def _tell_and_wait(operation: str, error: Exception) -> None:
    where = "mz_persist_client::internal::retry"
    log.log(f"external operation {operation} failed, retrying: {error}", where=where)
    time.sleep(_RETRY_S)


def _rollup(shard: str) -> str:
    return f"r{uuid.uuid5(uuid.NAMESPACE_URL, shard)}"
