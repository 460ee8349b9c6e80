"""What is known of a server: as it was found, and as it was written down."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from lab.core.processes import ProcessIdentity

KILL_POINTS = (
    "env.start.initdb:before",
    "env.start.initdb:made",
    "env.start.initdb:after",
    "env.start.launch:before",
    "env.start.launch:after",
    "env.start.record:after",
    "env.start.ready:after",
)
"""The points of a first start at which a test may kill the command."""


class Condition(StrEnum):
    """What a server is found to be."""

    ABSENT = "absent"
    STOPPED = "stopped"
    CRASHED = "crashed"
    RUNNING = "running"
    FOREIGN = "foreign"


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What `EmbeddedServer.inspect` found; ``started`` as ISO 8601 in UTC.

    ``stopping`` says that the process is shutting down.
    """

    condition: Condition
    port: int = 0
    process: ProcessIdentity | None = None
    stopping: bool = False

    @property
    def started(self) -> str:
        """When the process started; empty where nothing runs."""
        if self.process is None:
            return ""
        return datetime.fromtimestamp(self.process.started, UTC).isoformat(timespec="seconds")


class Record(msgspec.Struct, frozen=True):
    """``.lab/environments/NAME.json``: the port, kept for good, and the process that runs."""

    port: int = 0
    process: ProcessIdentity | None = None


class Launch(msgspec.Struct, frozen=True):
    """``launch.json``: the token on the command line of the server that was launched last."""

    token: str = ""
