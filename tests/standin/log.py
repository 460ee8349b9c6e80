"""Log lines in the form of environmentd's, and ends with its exit codes."""

from __future__ import annotations

import datetime
import os
import resource
import sys
import threading
from typing import NoReturn

HALTED = 166
_lock = threading.Lock()


def stamp() -> str:
    """Return the time now, UTC, in microseconds."""
    now = datetime.datetime.now(datetime.UTC)
    return now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def log(message: str, *, level: str = "INFO", where: str = "mz_adapter::coord") -> None:
    """Write one line, whole."""
    with _lock:
        sys.stderr.write(f"environmentd: {stamp()}  {level} {where}: {message}\n")
        sys.stderr.flush()


def duration(seconds: float) -> str:
    """Return a duration as Rust shows it, such as ``19.453425ms``."""
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.9f}".rstrip("0").rstrip(".") + unit
    return f"{seconds * 1e9:.0f}ns"


def panic(message: str, where: str = "src/adapter/src/catalog.rs:1:1") -> NoReturn:
    """End as a panic does: a message, and SIGABRT (a shell's exit code 134)."""
    with _lock:
        name = threading.current_thread().name
        print(f"environmentd: {stamp()}  thread '{name}' panicked at {where}:", file=sys.stderr)
        print(message, file=sys.stderr, flush=True)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.abort()


def halt(message: str) -> NoReturn:
    """End on purpose, to be started again."""
    log(f"halting process: {message}", level="WARN", where="mz_ore::process")
    os._exit(HALTED)
