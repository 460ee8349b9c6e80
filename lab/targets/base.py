"""What a database under study must offer; all that the layers above know of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from lab.core.config import Config
from lab.core.processes import ProcessIdentity
from lab.core.progress import Progress
from lab.core.results import Check, Step
from lab.core.workspace import Workspace
from lab.metrics.reading import Reading
from lab.metrics.tree import CostSheet
from lab.servers.connection import Connection
from lab.targets.parts import Boot, Builds, Profiler, Sourcing, Variable, Variables
from lab.upstream.base import Link

if TYPE_CHECKING:
    import psycopg


SETTINGS_CHANGED = "settings.changed"
"""The fact that names the settings which are other than as shipped, separated by blanks."""

SHAPES_ONLY = "build.shapes-only"
"""The fact that is there where figures show shapes alone: absolute ones and proportions mislead.

Its text says why, such as ``debug build``.
"""

BUILD_PROFILE = "build.profile"
"""The fact that says how the running build was compiled."""

BUILD_ID = "build.id"
"""The fact that names the running build."""

SELF_CHECKS = "build.self-checks"
"""The fact that says whether the server checks itself besides its work: ``on`` or ``off``."""


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
    CONFLICT = "conflict"  # another session changed the catalog within the transaction
    UPSTREAM = "upstream"  # the upstream does not answer, or not as it should
    LIMIT = "limit"  # a setting of the server allows no more objects of this kind
    REFUSED = "refused"  # anything else


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """How an environment is to be started.

    ``build`` is a build's id or a profile (``debug``, ``optimized``); empty for the declared one.
    Without ``self_checks`` the server leaves out what it checks of itself besides its work, where
    it has such checks: quicker, and not to be measured.
    """

    build: str = ""
    self_checks: bool = True


OTHER_BUILD = "environment.other-build"
"""The code of the error that another build runs than was asked for."""

AS_DECLARED = Launch()
"""The declared build, with whatever checks it makes of itself."""


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What is there, found without changing anything.

    ``started`` is when the running server started (ISO 8601, UTC); ``address`` is ``host:port``;
    ``directory`` holds the state; ``detail`` adds what a person would want to know. ``drift`` says,
    a line each with a leading ``-`` or ``+``, in what a running server's settings are other than
    declared. ``adopted`` says that somebody else started what runs, and that it may be measured all
    the same; the lab never stops it.
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
    adopted: bool = False


class ObjectCounts(msgspec.Struct, frozen=True):
    """Exact numbers of user objects by type (``table``, ``view``, …), the lab's own left out.

    ``fixtures`` counts the objects that the lab itself keeps for measuring, ``upstream`` those by
    which it reads an upstream: the source, what that needs, and the tables made from it, of which
    there are ``batches``.
    """

    by_type: dict[str, int]
    fixtures: int = 0
    upstream: int = 0
    batches: int = 0

    @property
    def total(self) -> int:
        """All user objects, the lab's own left out."""
        return sum(self.by_type.values())


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

    builds: Builds | None
    """The builds it may run; None where there is only the one that is installed."""

    variables: Variables | None
    """Its system variables; None where settings are declared in ``lab.toml`` alone."""

    profiler: Profiler | None
    """None where the server cannot be profiled."""

    idle_s: float
    """How long its counters are watched at rest before costs are taken; 0 where they stand still
    then."""

    def inspect(self) -> Situation:
        """Look, and change nothing."""

    def start(self, progress: Progress, launch: Launch = AS_DECLARED) -> tuple[Step, ...]:
        """Start or adopt the server, on the state as it is; never a second one.

        Raises UsageError (no such build), PreconditionError (port taken, state held by somebody
        else), StateMismatchError (it runs otherwise than asked for), ExternalError (the server does
        not come up), LabTimeoutError.
        """

    def stop(self, progress: Progress) -> tuple[Step, ...]:
        """Stop what the lab started; the state stays."""

    def reset(self, progress: Progress) -> tuple[Step, ...]:
        """Destroy the state. Callers have asked for a reason and a confirmation."""

    def alarms(self) -> tuple[str, ...]:
        """Return what endangers the state, a sentence each: a store that a reboot would empty."""

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

    def boots(self) -> tuple[Boot, ...]:
        """Return what is known of its starts, newest first; empty where it tells nothing."""

    def await_return(self, progress: Progress) -> bool:
        """Wait for a server that went away and comes back by itself; say whether it did."""

    def make_room(self, error: psycopg.Error, objects: int) -> tuple[Variable, Variable] | None:
        """Raise the limit that ``error`` (`Trouble.LIMIT`) names, so that ``objects`` fit.

        Return the system variable before and after; None where nothing could be done.
        """

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

    def browse_metrics(self, connection: Connection, match: str) -> Reading:
        """Read all series whose name contains ``match``, for people; all that there are if empty.

        Raises ExternalError, LabTimeoutError.
        """

    def save_metrics(self, connection: Connection, path: Path) -> int:
        """Write all that the server tells of its counters to ``path``; return the bytes."""

    def sourcing(self, link: Link, cluster: str) -> Sourcing:
        """Return how tables are made from the upstream that ``link`` names.

        ``cluster`` is where the source runs, for a target that has clusters.
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

    def cost_sheet(self, statement: str, mode: str) -> CostSheet:
        """Return what the target declares about the costs of ``statement``; needs no server.

        ``mode`` is how it is sent: ``autocommit``, or ``transaction`` (between BEGIN and COMMIT).
        """

    def environment(self, workspace: Workspace, config: Config) -> Environment:
        """Return the environment that ``config`` describes."""
