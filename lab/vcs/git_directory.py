"""The two files of a git directory that get in the way of recording: the index lock and HEAD.

In a colocated repository jj moves git's HEAD *before* it records its own operation. If it fails or
dies in between (an ``index.lock`` suffices), HEAD names a rewritten commit that jj does not know.
The next jj command imports that as a second version of the same change (seen with jj 0.46), so HEAD
is put back before it can.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import zlib
from pathlib import Path

import msgspec

from lab.core.errors import ExternalError

PATIENCE_S = 3.0
_STEP_S = 0.1


class GitDirectory(msgspec.Struct, frozen=True):
    """The git directory of a working copy; ``common`` holds the objects of a worktree."""

    path: Path
    common: Path

    @classmethod
    def of(cls, root: Path) -> GitDirectory | None:
        """Return the git directory of the working copy at ``root``; None where it has none."""
        path = root / ".git"
        if path.is_file():
            target = path.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
            path = (root / target).resolve()
        if not path.is_dir():
            return None
        common = path / "commondir"
        if common.is_file():
            return cls(path, (path / common.read_text(encoding="utf-8").strip()).resolve())
        return cls(path, path)

    @property
    def index_lock(self) -> Path:
        """The file that says that a git command is changing the index."""
        return self.path / "index.lock"

    def wait_for_index(self, patience_s: float = PATIENCE_S) -> None:
        """Wait until no git command holds the index.

        Raises
        ------
        ExternalError
            It is still held after ``patience_s`` seconds. The lock is never removed from here.

        """
        deadline = time.monotonic() + patience_s
        while (age_s := self._lock_age_s()) is not None:
            if time.monotonic() >= deadline:
                raise ExternalError(
                    f"Another git command holds the index of {self.path.parent}.",
                    code="vcs.index-locked",
                    why=f"{self.index_lock} exists; it is {age_s:.0f} s old.",
                    remedy="Let that command finish and run the same command again. If no git runs "
                    "(an editor's counts, too), a crash left the file behind: remove it by hand.",
                )
            time.sleep(_STEP_S)

    def _lock_age_s(self) -> float | None:
        try:
            return max(0.0, time.time() - self.index_lock.stat().st_mtime)
        except FileNotFoundError:
            return None

    def head(self) -> bytes:
        """Return what the HEAD file holds: a commit id, or ``ref:`` and a branch."""
        return (self.path / "HEAD").read_bytes()

    def put_head_back(self, content: bytes) -> None:
        """Replace HEAD by ``content`` under git's own lock, unless another git has that."""
        lock = self.path / "HEAD.lock"
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                lock.replace(self.path / "HEAD")
            except BaseException:
                lock.unlink(missing_ok=True)
                raise

    def head_change(self) -> str:
        """Return the change id in the header of the commit that a detached HEAD names.

        Empty where HEAD is on a branch, or where the commit is packed or not one of jj's: what jj
        has just written is a loose object with a ``change-id`` header.
        """
        commit = self.head().decode("ascii", "replace").strip()
        if not re.fullmatch(r"[0-9a-f]{40,64}", commit):
            return ""
        try:
            stored = (self.common / "objects" / commit[:2] / commit[2:]).read_bytes()
        except FileNotFoundError:
            return ""
        header = zlib.decompress(stored).partition(b"\n\n")[0]
        found = re.search(rb"^change-id ([k-z]+)$", header, flags=re.MULTILINE)
        return found[1].decode("ascii") if found else ""
