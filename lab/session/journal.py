"""The journal of a session: every step is written down before and after it happens."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from lab.core.files import explained, sync_directory
from lab.core.killpoints import reached

BEGUN = "begun"
DONE = "done"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a journal: ``phase`` is ``begun`` or ``done``; ``data`` is what the step left."""

    at: str
    step: str
    phase: str
    data: dict[str, Any] = {}


class Journal:
    """An append-only file of records; a line cut short by a crash is passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def records(self) -> list[Record]:
        """Return all whole records, oldest first."""
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            try:
                found.append(msgspec.json.decode(line, type=Record))
            except msgspec.DecodeError:
                continue
        return found

    def begun(self, step: str) -> dict[str, Any] | None:
        """Return what was written when ``step`` was last begun; None where it never was."""
        return self._last(step, BEGUN)

    def done(self, step: str) -> dict[str, Any] | None:
        """Return what ``step`` left when it was done; None where it is not done."""
        return self._last(step, DONE)

    def write(self, step: str, phase: str, data: dict[str, Any]) -> None:
        """Append one record durably."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = msgspec.json.encode(Record(at=at, step=step, phase=phase, data=data)) + b"\n"
        with explained(self.path, "writing the journal"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as file:
                size = file.seek(0, os.SEEK_END)
                if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                    line = b"\n" + line
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            sync_directory(self.path.parent)

    def step(
        self,
        name: str,
        action: Callable[[], dict[str, Any]],
        *,
        intent: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Carry out ``action`` once and return what it left.

        A step that is done is not repeated. One that was begun may have happened wholly, in part
        or not at all, so ``action`` looks at the world first. ``intent`` is written beforehand and
        kept over a crash: `begun` gives it back.
        """
        left = self.done(name)
        if left is not None:
            return left
        if self.begun(name) is None:
            self.write(name, BEGUN, intent or {})
        reached(f"session.{name}:before")
        left = action()
        reached(f"session.{name}:after")
        self.write(name, DONE, left)
        return left

    def _last(self, step: str, phase: str) -> dict[str, Any] | None:
        for record in reversed(self.records()):
            if record.step == step and record.phase == phase:
                return record.data
        return None
