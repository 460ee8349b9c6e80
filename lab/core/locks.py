"""One command at a time where two would get in each other's way."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from lab.core.errors import BusyError, PreconditionError
from lab.core.files import explained, read_struct, write_struct


class Holder(msgspec.Struct, frozen=True):
    """Who holds a lock: process, task, and since when (ISO 8601, UTC)."""

    pid: int
    task: str
    since: str


@contextlib.contextmanager
def exclusive(path: Path, task: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock file ``path`` on behalf of ``task``.

    The operating system releases it when the process ends, however it ends.

    Raises
    ------
    BusyError
        Another process still holds it after ``wait_s`` seconds.

    """
    from filelock import FileLock, Timeout

    with explained(path, "locking"):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=wait_s)
        except Timeout as error:
            raise _busy(path) from error
    try:
        _sign(path, task)
        yield
    finally:
        _holder_path(path).unlink(missing_ok=True)
        lock.release()


def _sign(path: Path, task: str) -> None:
    """Write down who holds the lock; a full disk must not keep anybody from stopping a server."""
    _holder_path(path).unlink(missing_ok=True)
    holder = Holder(os.getpid(), task, datetime.now(UTC).isoformat(timespec="seconds"))
    with contextlib.suppress(PreconditionError):
        write_struct(_holder_path(path), holder)


def current_holder(path: Path) -> Holder | None:
    """Return who wrote its name beside the lock ``path`` last and has not taken it away."""
    return read_struct(_holder_path(path), Holder)


def _holder_path(path: Path) -> Path:
    return path.with_suffix(".holder.json")


def _busy(path: Path) -> BusyError:
    holder = current_holder(path)
    who = f"pid {holder.pid}, {holder.task}, since {holder.since}" if holder else "another process"
    return BusyError(
        f"Another lab command is at work ({who}).",
        code="workspace.busy",
        why="Two commands that change one workspace would get in each other's way.",
        remedy="Wait until it has ended, or stop it, and run this command again.",
    )
