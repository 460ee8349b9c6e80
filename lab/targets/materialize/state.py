"""The files of a state, and whether they and the metadata store belong together.

A state is the schemas ``consensus``, ``tsoracle`` and ``storage`` of the metadata store **plus** a
data folder, laid out as a checkout's ``mzdata``:

``environment-id``
    names the environment; the catalog's shard follows from it, so that without it environmentd
    would silently begin an empty catalog.
``persist/blob``, ``secrets``
    blobs and secrets.
``ddl-lab.json``
    which metadata store the lab saw this folder with.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import uuid
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec

from lab.core.errors import LabError, StateMismatchError
from lab.core.files import explained, read_struct, write_atomically, write_struct
from lab.servers.connection import Connection

_ID = re.compile(r"^.+-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-\d+$")
# The last component of the key of a rollup, which holds a shard's whole state.
_ROLLUP = re.compile(rb"/(r[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_CATALOG_SEED = 1
_NEWEST_ROWS = 400
_NEWEST_ROLLUPS = 3


class Bond(msgspec.Struct, frozen=True):
    """``ddl-lab.json``: the identity of the metadata store that the data folder was used with."""

    metadata: str = ""


class StateFiles(msgspec.Struct, frozen=True):
    """The data folder of a state."""

    folder: Path

    @property
    def blobs(self) -> Path:
        """Where persist keeps its blobs."""
        return self.folder / "persist" / "blob"

    @property
    def secrets(self) -> Path:
        """Where the secrets controller keeps secrets."""
        return self.folder / "secrets"

    @property
    def scratch(self) -> Path:
        """Where clusterd spills to."""
        return self.folder / "scratch"

    @property
    def discovery(self) -> Path:
        """Where environmentd lists the ports of its processes' metrics."""
        return self.folder / "prometheus"

    @property
    def environment_id(self) -> str:
        """The environment's id; empty where there is none yet."""
        try:
            return self._id_file.read_text(encoding="utf-8").strip()
        except OSError:
            return ""

    @property
    def exists(self) -> bool:
        """Whether there is anything of a state."""
        return bool(self.environment_id) or self.has_blobs()

    def has_blobs(self) -> bool:
        """Say whether there is at least one blob."""
        return any(self._blob_names())

    def make(self) -> bool:
        """Make the folder and a new environment id where there is none; say whether it was made."""
        made = not self.environment_id
        with explained(self.folder, "making"):
            for each in (self.blobs, self.secrets, self.scratch, self.discovery):
                each.mkdir(parents=True, exist_ok=True)
            if made:
                write_atomically(self._id_file, f"local-az1-{uuid.uuid4()}-0\n".encode())
        return made

    def bind(self, metadata: str) -> None:
        """Write down which metadata store this folder belongs to."""
        if read_struct(self._bond_file, Bond) != Bond(metadata):
            write_struct(self._bond_file, Bond(metadata))

    def require_bond(self, connection: Connection, metadata: str) -> None:
        """Refuse to start on halves that do not belong together: it would ruin both.

        ``connection`` leads to the metadata store, ``metadata`` is its identity.

        Raises
        ------
        StateMismatchError
            ``state.halves``; which half lacks what is said.
        """
        problem = self.broken_bond(connection, metadata)
        if problem is not None:
            raise problem

    def broken_bond(self, connection: Connection, metadata: str) -> LabError | None:
        """Return why data folder and metadata store do not belong together; None where they do."""
        shards = _has_shards(connection)
        identity = self.environment_id
        if shards and not identity:
            return _apart(
                f"{self._id_file} is missing, and the metadata store is not empty.",
                "The catalog is found by that id: without it an empty environment would be made.",
                "Put the file back from a copy; a running environment's `mz_environment_id()` and"
                " its log name the id.",
            )
        if not shards:
            if not self.has_blobs():
                return None
            return _apart(
                f"The metadata store is empty, and {self.blobs} is not.",
                "The blobs are those of another metadata store, or it was lost.",
                "Set `metadata` under [materialize] in lab.toml to the store that belongs to them,"
                " or `data` to another folder.",
            )
        bond = read_struct(self._bond_file, Bond)
        if bond is not None and bond.metadata != metadata:
            return _apart(
                f"{self.folder} belongs to another metadata store.",
                f"It was used with {bond.metadata} before, and this one is {metadata}.",
                "Set `metadata` under [materialize] in lab.toml to that store. Where the store was"
                f" moved on purpose, remove {self._bond_file.name} from the folder.",
            )
        return self._strange_catalog(connection, identity)

    def destroy(self) -> None:
        """Remove what a state consists of; other files in the folder stay."""
        with explained(self.folder, "removing"):
            for each in (self.folder / "persist", self.secrets, self.scratch, self.discovery):
                shutil.rmtree(each, ignore_errors=True)
            for file in (self._id_file, self._bond_file):
                file.unlink(missing_ok=True)
            if self.folder.is_dir() and not any(self.folder.iterdir()):
                self.folder.rmdir()

    @property
    def _id_file(self) -> Path:
        return self.folder / "environment-id"

    @property
    def _bond_file(self) -> Path:
        return self.folder / "ddl-lab.json"

    def _strange_catalog(self, connection: Connection, identity: str) -> LabError | None:
        """Look for the environment's catalog in the metadata store, and for its blobs."""
        shard = catalog_shard(identity)
        if not shard:
            return None
        rows = connection.execute(_NEWEST, (shard, _NEWEST_ROWS)).fetchall()
        if not rows:
            return _apart(
                f"The metadata store holds no catalog of {identity}.",
                "environmentd would begin an empty one beside the one that is there.",
                f"Put the right id into {self._id_file}, or set `metadata` under [materialize] in"
                " lab.toml to the store that belongs to it.",
            )
        rollups = _rollups(bytes(data) for (data,) in rows)
        there = frozenset(name.rpartition("∕")[2] for name in self._blob_names(shard))
        if rollups and not there.intersection(rollups):
            return _apart(
                f"The blobs of {identity}'s catalog are not in {self.blobs}.",
                "The metadata store names blobs that are missing: they were deleted, or are those"
                " of another state.",
                "Set `data` under [materialize] in lab.toml to the folder that belongs to the"
                " metadata store, or put the blobs back from a copy.",
            )
        return None

    def _blob_names(self, prefix: str = "") -> Iterator[str]:
        if self.blobs.is_dir():
            for path in self.blobs.iterdir():
                if path.name.startswith(prefix) and not path.name.endswith((".tmp", ".bak")):
                    yield path.name


_NEWEST = """
SELECT data FROM consensus.consensus WHERE shard = %s ORDER BY sequence_number DESC LIMIT %s
"""


def catalog_shard(environment_id: str) -> str:
    """Return the id of the catalog's shard, which follows from the environment's; "" if none does.

    As `shard_id` in src/catalog/src/durable/persist.rs (v26.24): SHA-256 over the organization's
    id, which is the UUID in the environment's, and the seed 1; its first 16 bytes as a UUID.
    """
    found = _ID.match(environment_id)
    if not found:
        return ""
    digest = hashlib.sha256(f"{found[1]}{_CATALOG_SEED}".encode()).digest()
    return f"s{uuid.UUID(bytes=digest[:16])}"


def _has_shards(connection: Connection) -> bool:
    """Say whether persist has written anything into the metadata store."""
    row = connection.execute("SELECT to_regclass('consensus.consensus') IS NOT NULL").fetchone()
    if not (row and row[0]):
        return False
    return connection.execute("SELECT 1 FROM consensus.consensus LIMIT 1").fetchone() is not None


def _rollups(rows: Iterator[bytes]) -> frozenset[str]:
    """Return the names of the rollups that ``rows``, newest first, mention first."""
    names = (found.decode() for data in rows for found in reversed(_ROLLUP.findall(data)))
    return frozenset(islice(dict.fromkeys(names), _NEWEST_ROLLUPS))


def _apart(what: str, why: str, remedy: str) -> StateMismatchError:
    return StateMismatchError(
        f"{what} Blobs and metadata store do not belong together.",
        code="state.halves",
        why=why,
        remedy=remedy,
    )
