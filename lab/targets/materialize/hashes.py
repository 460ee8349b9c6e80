"""Hashes of large files, kept so that an unchanged file is not read again."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from lab.core.errors import PreconditionError
from lab.core.files import explained, read_struct, write_struct

_KEPT = 64


class FileHashes:
    """SHA-256 of files, remembered in the JSON file ``memory``.

    A file counts as unchanged while device, inode, size and both of its times stay as they were.
    ``memory`` and its folder are made, but not what that lies in: a mere look makes no workspace.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory

    def of(self, path: Path) -> str:
        """Return the SHA-256 of the file ``path`` in hexadecimal digits.

        Raises
        ------
        PreconditionError
            The file cannot be read.

        """
        with explained(path, "reading"):
            key = signature(path)
            known = self._remembered()
            if key in known:
                return known[key]
            found = digest(path)
            if signature(path) == key:
                self._remember({**known, key: found})
            return found

    def _remembered(self) -> dict[str, str]:
        with contextlib.suppress(PreconditionError):
            return read_struct(self._memory, dict[str, str]) or {}
        return {}

    def _remember(self, known: dict[str, str]) -> None:
        # Only speed is lost where it cannot be written.
        with contextlib.suppress(PreconditionError):
            if self._memory.parents[1].is_dir():
                write_struct(self._memory, dict(list(known.items())[-_KEPT:]))


def signature(path: Path) -> str:
    """Return what changes whenever the content of ``path`` does."""
    stat = path.stat()
    times = f"{stat.st_mtime_ns}:{stat.st_ctime_ns}"
    return f"{stat.st_dev}:{stat.st_ino}:{stat.st_size}:{times}"


def digest(path: Path) -> str:
    """Return the SHA-256 of the file ``path``, read now."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
