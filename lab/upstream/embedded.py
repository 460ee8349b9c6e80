"""The upstream that comes with the lab: an embedded PostgreSQL of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg

from lab.core.config import UpstreamConfig
from lab.core.errors import PreconditionError
from lab.core.files import explained
from lab.core.progress import Progress
from lab.core.results import Step
from lab.core.workspace import Workspace
from lab.servers import logs
from lab.servers.connection import Connection
from lab.servers.mounts import in_memory
from lab.servers.ports import LOOPBACK
from lab.servers.postgres import EmbeddedServer
from lab.servers.records import Condition
from lab.upstream.base import DATABASE, Found
from lab.upstream.failures import not_running, refused

STATE = "upstream"

SETTINGS = {
    "wal_level": "logical",
    # A table from a source needs two free slots at each statement, and so do snapshots beside it.
    "max_wal_senders": "64",
    "max_replication_slots": "64",
    # Each statement of a batch opens a connection of its own.
    "max_connections": "200",
    "max_locks_per_transaction": "1024",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.max": "10000",
    # What purification asks is planned as often as it is executed.
    "pg_stat_statements.track_planning": "on",
    "log_connections": "on",
    "log_disconnections": "on",
}
"""What an upstream needs, and what is watched on it."""


class EmbeddedProvider:
    """An embedded PostgreSQL on the state ``upstream``, beside that of the environment."""

    name: str = "embedded"
    owned: bool = True
    identity: str = ""
    database: str = DATABASE

    def __init__(self, workspace: Workspace, config: UpstreamConfig) -> None:
        self.server = EmbeddedServer(
            states=workspace.states,
            environments=workspace.environments,
            name=STATE,
            user_settings=SETTINGS,
            port=config.port,
        )

    def __repr__(self) -> str:
        return f"EmbeddedProvider({self.server!r})"

    def inspect(self) -> Found:
        """Look, and change nothing."""
        found = self.server.inspect()
        there = found.condition is not Condition.ABSENT
        memory = there and in_memory(self.server.data)
        return Found(
            provider=self.name,
            condition=found.condition,
            address=f"{LOOPBACK}:{found.port}" if found.process else "",
            started=found.started,
            volatile=f"{self.server.data} lies in memory" if memory else "",
            detail=f"PostgreSQL {self.server.binaries.version()}"
            + (f", pid {found.process.pid}" if found.process else ""),
            directory=str(self.server.data) if there else "",
        )

    def start(self, progress: Progress) -> tuple[Step, ...]:
        """Start or adopt the server; one that runs with other settings is started anew."""
        stopped: tuple[Step, ...] = ()
        if self.server.inspect().condition is Condition.RUNNING:
            stopped = self.server.stop(progress) if self.server.settings_differences() else ()
        try:
            return (*stopped, *self.server.start(progress))
        except PreconditionError as error:
            if error.code == "port.taken":
                error.remedy = (
                    "Stop that program, or set `port` under [upstream] in lab.toml to one that is"
                    " free."
                )
            raise

    def stop(self, progress: Progress) -> tuple[Step, ...]:
        """Stop the server; its data stay."""
        return self.server.stop(progress)

    def destroy(self, progress: Progress) -> tuple[Step, ...]:
        """Stop the server and remove its data."""
        return self.server.reset(progress)

    def address(self) -> tuple[str, int]:
        """Return host and port; raises PreconditionError where nothing runs."""
        found = self.server.inspect()
        if found.process is None:
            raise not_running(f"Its state {STATE} is {found.condition.value}.")
        return LOOPBACK, found.port

    def connect(self, purpose: str, database: str = "") -> Connection:
        """Open an autocommit connection as the superuser."""
        self.address()
        try:
            return self.server.connect(database or self.database, f"ddl-lab {purpose}")
        except psycopg.OperationalError as error:
            raise refused(error) from error

    def log_tail(self, lines: int) -> str:
        """Return the last ``lines`` lines of its log."""
        return self.server.log_tail(lines)

    def follow_log(self) -> Callable[[], str]:
        """Return what gives the lines written since it was last called."""
        return LogFollower(self.server.log)


class LogFollower:
    """Gives what was written to a log file since the last call, in whole lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = logs.size(path)

    def __call__(self) -> str:
        """Return the lines written since; a log that was begun anew is read from its start."""
        if logs.size(self._path) < self._offset:
            self._offset = 0
        if not self._path.exists():
            return ""
        with explained(self._path, "reading"), self._path.open("rb") as file:
            file.seek(self._offset)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.decode(errors="replace")
