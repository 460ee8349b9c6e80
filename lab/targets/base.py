"""What a database under study must offer; all that the layers above know of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import msgspec

from lab.core.config import Config
from lab.core.processes import ProcessIdentity
from lab.core.progress import Progress
from lab.core.results import Step
from lab.core.workspace import Workspace
from lab.metrics.reading import Reading
from lab.metrics.tree import CostSheet

if TYPE_CHECKING:
    import psycopg

    Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]
else:
    # Importing psycopg takes longer than most tasks that need no connection.
    Connection = Any


SETTINGS_CHANGED = "settings.changed"
"""The fact that names the settings which are other than as shipped, separated by blanks."""


class Phase(StrEnum):
    """What an environment is found to be."""

    ABSENT = "absent"  # no state yet
    STOPPED = "stopped"
    CRASHED = "crashed"  # stopped, but not by anybody's wish: the next start recovers
    RUNNING = "running"
    FOREIGN = "foreign"  # running, but not started by this lab


class Trouble(StrEnum):
    """What kind of failure an error of a connection is."""

    NO_SPACE = "no space"  # the file system of the server's data is full
    GONE = "gone"  # the server died, goes down, or is not up yet
    TOO_MUCH = "too much"  # more statements in one string than the server takes
    OVERTAKEN = "overtaken"  # what was to be made is there already, or what was to go is gone
    REFUSED = "refused"  # anything else


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What is there, found without changing anything.

    ``started`` is when the running server started (ISO 8601, UTC); ``address`` is ``host:port``;
    ``directory`` holds the state; ``detail`` adds what a person would want to know. ``drift`` says,
    a line each with a leading ``-`` or ``+``, in what a running server's settings are other than
    declared.
    """

    target: str
    state: str
    phase: Phase
    build: str = ""
    address: str = ""
    directory: str = ""
    process: ProcessIdentity | None = None
    started: str = ""
    detail: str = ""
    drift: tuple[str, ...] = ()


class ObjectCounts(msgspec.Struct, frozen=True):
    """Exact numbers of user objects by type (``table``, ``view``, …), fixtures left out.

    ``fixtures`` counts the objects that the lab itself keeps for measuring.
    """

    by_type: dict[str, int]
    fixtures: int = 0

    @property
    def total(self) -> int:
        """All user objects, fixtures left out."""
        return sum(self.by_type.values())


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that `Environment.verify` looked at."""

    name: str
    passed: bool
    found: str
    expected: str = ""
    remedy: str = ""


class Operation(msgspec.Struct, frozen=True):
    """One statement to be timed: its kind (``create-table``) and its SQL."""

    statement: str
    sql: str


class Cycle(msgspec.Struct, frozen=True):
    """Statements that run in a row and together leave the object count as it was.

    ``templates`` holds SQL with ``{i}`` for a number unique in the run; where a cycle has
    ``alternate``, that SQL takes turns with ``templates`` (a rename, and back).
    """

    templates: tuple[Operation, ...]
    alternate: tuple[Operation, ...] = ()

    @property
    def statements(self) -> tuple[str, ...]:
        """The kinds of statement of this cycle, in order."""
        return tuple(template.statement for template in self.templates)

    def operations(self, i: int) -> tuple[Operation, ...]:
        """Return the statements of the cycle's turn number ``i``."""
        chosen = self.alternate if self.alternate and i % 2 else self.templates
        return tuple(Operation(each.statement, each.sql.replace("{i}", str(i))) for each in chosen)


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured: fixtures to make before, cycles to run, and how to take the fixtures away.

    ``setup`` begins by removing what an interrupted run left behind. ``fixtures`` is the number
    of objects that ``setup`` makes.
    """

    setup: tuple[str, ...]
    cycles: tuple[Cycle, ...]
    teardown: tuple[str, ...]
    fixtures: int


class PopulationScheme(Protocol):
    """How user objects of one kind are named, made, found and dropped, by number from 1."""

    batch: int
    """How many statements one string may carry."""

    def prepare(self, connection: Connection) -> int:
        """Make what the objects need (schema, base table); return how many objects that added."""

    def existing(self, connection: Connection) -> frozenset[int]:
        """Return the numbers of the objects of this scheme that exist."""

    def create(self, number: int) -> str:
        """Return the statement that makes object ``number``, without a semicolon."""

    def drop(self, number: int) -> str:
        """Return the statement that drops object ``number``, without a semicolon."""


class Environment(Protocol):
    """A target on one state: may be absent, stopped, or running."""

    target: str
    state: str

    def inspect(self) -> Situation:
        """Look, and change nothing."""

    def start(self, progress: Progress) -> tuple[Step, ...]:
        """Start or adopt the server, on the state as it is; never a second one.

        Raises PreconditionError (port taken, state held by somebody else), ExternalError (the
        server does not come up), LabTimeoutError.
        """

    def stop(self, progress: Progress) -> tuple[Step, ...]:
        """Stop what the lab started; the state stays."""

    def reset(self, progress: Progress) -> tuple[Step, ...]:
        """Destroy the state. Callers have asked for a reason and a confirmation."""

    def log_tail(self, lines: int) -> str:
        """Return the last ``lines`` lines of the server's log; empty where there is none."""

    def connect(self, purpose: str) -> Connection:
        """Open an autocommit connection that the server knows as ``ddl-lab PURPOSE``.

        Raises PreconditionError where nothing runs, ExternalError where it does not answer.
        """

    def trouble(self, error: psycopg.Error, log: str = "") -> Trouble:
        """Say what kind of failure ``error`` is; ``log`` is what the server wrote meanwhile."""

    def boot(self, connection: Connection) -> str:
        """Return what identifies this start of the server."""

    def count_objects(self, connection: Connection) -> ObjectCounts:
        """Count user objects exactly."""

    def verify(self, expected_objects: int | None) -> tuple[Check, ...]:
        """Prove that the environment can be measured."""

    def facts(self, connection: Connection) -> Mapping[str, str]:
        """Return what must be alike for two runs to be compared: build, settings, state.

        Settings have keys that begin with ``setting.``; ``SETTINGS_CHANGED`` may name those that
        are of interest to a reader.
        """

    def settle(self, connection: Connection) -> None:
        """Make the counters of the measured ``connection`` current.

        To be called on it before each `read_metrics`, outside timed regions: a server may report
        what a connection did only now and then.
        """

    def read_metrics(self, connection: Connection, subject: int) -> Reading:
        """Read the server's counters; ``subject`` is the backend pid of the measured connection.

        ``connection`` is another one than the measured one, so that reading is not counted.
        """

    def workload(self, statements: Sequence[str]) -> Workload:
        """Return how to measure ``statements``.

        Raises UsageError for a kind that this target does not know, naming the nearest one.
        """

    def population(self, kind: str, schema: str) -> PopulationScheme:
        """Return how objects of ``kind`` are seeded into ``schema``."""


class Target(Protocol):
    """A kind of database under study."""

    name: str

    least_change_ns: int
    """The smallest change of a median that is worth a verdict, in ns: a part of the margin δ."""

    def cost_sheet(self, statement: str) -> CostSheet:
        """Return what the target declares about the costs of ``statement``; needs no server."""

    def environment(self, workspace: Workspace, config: Config) -> Environment:
        """Return the environment that ``config`` describes."""
