"""Faults on demand: a file beside the checkout's sources that running processes look into.

`set_faults` replaces the file's content; a process heeds it from its next boot, statement or
request on. A fault that counts (``N``) is written back with what is left of it, and gone at 0.

=====================  ============================================================================
``panic_at_boot``      the message: abort while booting
``halt_at_boot``       N boots end with exit code 166
``hang_before_ready``  true: booting stops before the adapter is up
``readyz_never``       true: the adapter is up, and `readyz` stays 503
``panic_after_ddl``    abort instead of answering the N-th DDL statement from now
``halt_after_ddl``     exit code 166 instead of answering the N-th DDL statement from now
``reset_after_ddl``    reset the connection instead of answering the N-th DDL statement from now,
                       which is carried out
``conflicts``          the next N DDL statements fail with 40001
``refuse``             the message: connections are refused with it (SQLSTATE 57P03)
``extra_ddl_ms``       added to each DDL statement, beside the law and the metrics
``slow_metrics_s``     `/metrics` takes that long
``truncated_metrics``  `/metrics` breaks off after so many bytes
``source_error``       sources are stalled with this error
``catalog_check``      the fault that `/api/catalog/check` finds
``coordinator_check``  the fault that `/api/coordinator/check` finds
``build_fails``        true: compiling ends with an error of rustc's
=====================  ============================================================================
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = ".standin/control.json"


def set_faults(checkout: Path, **faults: Any) -> None:
    """Set exactly these faults; none to clear all."""
    with Control(checkout / FILE).locked() as content:
        content.clear()
        content.update(faults)


class Control:
    """The control file, as processes see it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: tuple[int, int] | None = None
        self._faults: dict[str, Any] = {}

    def get(self, name: str) -> Any:
        """Return the fault's setting; None where it is not set."""
        try:
            now = self._file.stat()
        except FileNotFoundError:
            return None
        if self._seen != (now.st_mtime_ns, now.st_ino):
            self._seen = (now.st_mtime_ns, now.st_ino)
            self._faults = json.loads(self._file.read_text() or "{}")
        return self._faults.get(name)

    def take(self, name: str) -> bool:
        """Use one up; say whether there was one left."""
        if not self.get(name):
            return False
        with self.locked() as content:
            left = int(content.get(name, 0))
            content[name] = max(0, left - 1)
            return left > 0

    def last(self, name: str) -> bool:
        """Use one up; say whether it was the last."""
        return bool(self.get(name)) and self.take(name) and not self.get(name)

    @contextlib.contextmanager
    def locked(self) -> Iterator[dict[str, Any]]:
        """Yield the content for changes, one process at a time."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            content = json.loads(self._file.read_text()) if self._file.exists() else {}
            yield content
            new = self._file.with_suffix(".new")
            new.write_text(json.dumps(content))
            new.replace(self._file)
