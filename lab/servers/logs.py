"""A server's log: its end, and what was written since."""

from __future__ import annotations

import os
from pathlib import Path

from lab.core.files import explained

_CHUNK = 64 * 1024
MAX_BYTES = 16 * 1024 * 1024
"""A log longer than this is put aside at the next start; one such is kept."""


def tail(path: Path, lines: int) -> str:
    """Return the last ``lines`` lines; empty where there is no log."""
    if lines <= 0 or not path.exists():
        return ""
    with explained(path, "reading"), path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        content = b""
        while position > 0 and content.count(b"\n") <= lines:
            step = min(_CHUNK, position)
            position = file.seek(position - step)
            content = file.read(step) + content
    kept = content.decode(errors="replace").splitlines()[-lines:]
    return "\n".join(kept)


def size(path: Path) -> int:
    """Return the length of the log in bytes; 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def since(path: Path, offset: int) -> str:
    """Return what was written after ``offset`` bytes."""
    if not path.exists():
        return ""
    with explained(path, "reading"), path.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace")


def put_aside(path: Path) -> None:
    """Rename a log that has grown beyond `MAX_BYTES`, in place of the one put aside before."""
    if size(path) > MAX_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
