"""The metadata store that comes with the lab: an embedded PostgreSQL of its own."""

from __future__ import annotations

import contextlib

import psycopg

from lab.core.errors import PreconditionError
from lab.core.progress import Progress
from lab.core.results import Status, Step
from lab.core.workspace import Workspace
from lab.servers.cluster import Trusted
from lab.servers.connection import Connection
from lab.servers.mounts import in_memory
from lab.servers.ports import LOOPBACK
from lab.servers.postgres import EmbeddedServer
from lab.servers.records import Condition
from lab.targets.materialize import metadata_queries as queries
from lab.targets.materialize.metadata_base import DATABASE, MetadataStore, StoreFound, down, named

USER = "materialize"
"""Owns the database, and logs in without a password: a URL on a command line may hold none."""

_SETTINGS = {
    # Each of environmentd's and clusterd's persist clients opens connections of its own.
    "max_connections": "300",
    "max_locks_per_transaction": "64",
}


class EmbeddedStore(MetadataStore):
    """An embedded PostgreSQL on the state ``NAME-metadata``, beside that of the environment."""

    def __init__(self, workspace: Workspace, state: str) -> None:
        self.server = EmbeddedServer(
            states=workspace.states,
            environments=workspace.environments,
            name=f"{state}-metadata",
            user_settings=_SETTINGS,
            trusted=(Trusted(DATABASE, USER),),
        )

    def __repr__(self) -> str:
        return f"EmbeddedStore({self.server!r})"

    @property
    def url(self) -> str:
        """How environmentd reaches it; empty before the first start."""
        return _url(self.server.inspect().port)

    def inspect(self) -> StoreFound:
        """Look, and change nothing."""
        found = self.server.inspect()
        there = found.condition is not Condition.ABSENT
        memory = there and in_memory(self.server.data)
        return StoreFound(
            condition=found.condition,
            kind="embedded",
            url=_url(found.port),
            volatile=f"{self.server.data} lies in memory" if memory else "",
            detail=f"PostgreSQL {self.server.binaries.version()}",
            process=found.process,
        )

    def start(self, progress: Progress) -> tuple[Step, ...]:
        """Start or adopt the server; make role and database where they are missing."""
        try:
            steps = self.server.start(progress)
        except PreconditionError as error:
            if error.code == "port.taken":
                error.remedy = "Stop that program: the metadata store keeps its port."
            raise
        if self._ensure_database():
            made = Step(name="database", status=Status.CHANGED, why=f"made {DATABASE}")
            steps = (*steps, made)
        return named(steps)

    def stop(self, progress: Progress) -> tuple[Step, ...]:
        """Stop the server."""
        return named(self.server.stop(progress))

    def reset(self, progress: Progress) -> tuple[Step, ...]:
        """Stop the server and remove its files."""
        return named(self.server.reset(progress))

    def connect(self, purpose: str) -> Connection:
        """Open a connection as the superuser, who sees what everybody does."""
        try:
            return self._connect(DATABASE, purpose)
        except psycopg.OperationalError as error:
            raise self._down(str(error).strip()) from error

    def _connect(self, database: str, purpose: str) -> Connection:
        try:
            return self.server.connect(database, f"ddl-lab {purpose}")
        except PreconditionError as error:
            if error.code != "environment.not-running":
                raise
            raise self._down(error.why) from error

    def _ensure_database(self) -> bool:
        def connect(database: str) -> Connection:
            return self._connect(database, "env.start")

        with (
            contextlib.closing(connect(queries.MAINTENANCE)) as connection,
            contextlib.suppress(psycopg.errors.DuplicateObject),
        ):
            connection.execute(f"CREATE ROLE {USER} LOGIN".encode())
        return queries.ensure_database(connect, DATABASE, USER)

    def _down(self, why: str) -> PreconditionError:
        return down(self.server.name, why, "`env.start` starts it together with the environment.")


def _url(port: int) -> str:
    return f"postgres://{USER}@{LOOPBACK}:{port}/{DATABASE}" if port else ""
