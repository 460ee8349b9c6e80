"""What the lab remembers of an upstream that it brought up: ``.lab/upstream/``.

``record.json`` says what was brought up, so that later commands find it without being told again;
``password`` (mode 600) is that of the role as which a source reads.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec

from lab.core.errors import PreconditionError
from lab.core.files import create_exclusively, explained, read_struct, write_struct
from lab.core.workspace import Workspace


class UpstreamRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was brought up: the provider, the column list, and the tables from 1 on.

    ``server`` is which one it is where ``lab.toml`` names it (host:port/database), else empty.
    ``adopted`` says that somebody else's server may be changed; ``made_at`` is ISO 8601, UTC;
    ``made_role`` says that the lab made the source's role there, so that it may set it right.
    """

    provider: str
    columns: str
    tables: int
    server: str = ""
    adopted: bool = False
    made_at: str = ""
    made_role: bool = False


class UpstreamRecords(msgspec.Struct, frozen=True):
    """The files of the upstream of one workspace. Whoever writes holds the workspace's lock."""

    folder: Path

    @classmethod
    def of(cls, workspace: Workspace) -> UpstreamRecords:
        """Return those of ``workspace``."""
        return cls(workspace.private / "upstream")

    def read(self) -> UpstreamRecord | None:
        """Return the record; None where no upstream was brought up."""
        return read_struct(self.folder / "record.json", UpstreamRecord)

    def require(self) -> UpstreamRecord:
        """Return the record. Raises PreconditionError (``upstream.missing``) for none."""
        record = self.read()
        if record is None:
            raise missing()
        return record

    def write(self, record: UpstreamRecord) -> None:
        """Replace the record."""
        write_struct(self.folder / "record.json", record)

    def forget(self, *, keep_password: bool = False) -> None:
        """Remove the record and, unless its role lives on elsewhere, the password."""
        for name in ("record.json", *(() if keep_password else ("password",))):
            with explained(self.folder / name, "removing"):
                (self.folder / name).unlink(missing_ok=True)

    def password(self) -> str:
        """Return the password of the role; empty where none was made yet."""
        path = self.folder / "password"
        with explained(path, "reading"):
            return path.read_text(encoding="utf-8").strip() if path.exists() else ""

    def ensure_password(self) -> str:
        """Return the password of the role; a random one is made where there is none."""
        made = f"{secrets.token_urlsafe(24)}\n".encode()
        create_exclusively(self.folder / "password", made, mode=0o600)
        return self.password()


def missing() -> PreconditionError:
    """Return the error that says that no upstream was brought up."""
    return PreconditionError(
        "There is no upstream.",
        code="upstream.missing",
        why="None was brought up in this workspace yet.",
        remedy="`upstream.up` brings one up.",
    )
