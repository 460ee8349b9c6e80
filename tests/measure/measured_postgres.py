"""A PostgreSQL of its own for the tests of measuring: the real target, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.core.config import Config, PostgresConfig
from lab.core.progress import SilentProgress
from lab.core.workspace import Workspace
from lab.servers.connection import Connection
from lab.targets.registry import target


class Altered:
    """An environment as another, but for what is given here."""

    def __init__(self, environment: Any, **changes: Any) -> None:
        self._environment = environment
        self._changes = changes

    def __getattr__(self, name: str) -> Any:
        return self._changes[name] if name in self._changes else getattr(self._environment, name)


class MeasuredPostgres(Altered):
    """A running environment whose server can be killed and started again."""

    def __init__(self, directory: Path) -> None:
        # Nothing here has to survive a power cut, and the tests are to be fast.
        config = Config(postgres=PostgresConfig(settings={"fsync": "off"}))
        super().__init__(target("postgres").environment(Workspace(directory), config))
        self.start(SilentProgress())

    def kill(self) -> None:
        """Kill the server as by ``kill -9``, every process of it."""
        pid = self.inspect().process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (pid, *map(int, children)):
            os.kill(each, signal.SIGKILL)
        while Path(f"/proc/{pid}/exe").exists():
            time.sleep(0.01)

    def recover(self) -> None:
        """Start the server again after `kill`."""
        self.start(SilentProgress())


@contextmanager
def served() -> Iterator[MeasuredPostgres]:
    # Not in pytest's folder, which the user that PostgreSQL runs as under root cannot enter.
    directory = Path(tempfile.mkdtemp(prefix="lab-measure-"))
    directory.chmod(0o755)
    server = MeasuredPostgres(directory)
    try:
        yield server
    finally:
        server.stop(SilentProgress())
        shutil.rmtree(directory)


def value(connection: Connection, sql: str) -> Any:
    row = connection.execute(sql.encode()).fetchone()
    assert row is not None
    return row[0]
