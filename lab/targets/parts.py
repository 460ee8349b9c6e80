"""What an environment may have besides: builds, variables, a profiler, boots, a source.

Each is a part of `lab.targets.base.Environment` that is None, or empty, where a target has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from lab.core.errors import LabError
from lab.core.progress import Progress
from lab.core.results import Check, Step
from lab.metrics.stacks import Stack
from lab.servers.connection import Connection
from lab.targets.changes import Change


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """One compiled set of binaries that the lab keeps.

    ``id`` follows from the hashes of its ``files`` (name → SHA-256). ``profile`` is how it was
    compiled; ``commit`` and ``change`` are ids of the tree it came from (git, jj), ``dirty`` the
    hash of what the tree held besides, each empty where it is not known. ``version`` is what the
    binary says of itself. ``made_at`` is ISO 8601, UTC; ``directory`` holds the files.
    """

    id: str
    profile: str
    files: dict[str, str]
    version: str = ""
    commit: str = ""
    change: str = ""
    dirty: str = ""
    made_at: str = ""
    origin: str = ""
    directory: str = ""


class Builds(Protocol):
    """The builds of a target that is compiled from a checkout."""

    profiles: tuple[str, ...]
    """How a checkout can be compiled."""

    def all(self) -> tuple[Build, ...]:
        """Return the builds that are kept, newest first."""

    def make(self, profile: str, progress: Progress) -> tuple[Build, Step]:
        """Compile the checkout in ``profile`` and keep a copy; ``ok`` where it is kept already."""

    def adopt(self, profile: str, source: Path, progress: Progress) -> tuple[Build, Step]:
        """Keep a copy of the binaries that somebody else compiled in the directory ``source``."""

    def foresee(self, profile: str, source: Path | None = None) -> Step:
        """Say what `make` would do, or `adopt` where there is a ``source``; change nothing."""

    def check(self, build: Build) -> tuple[Check, ...]:
        """Prove that ``build`` is whole and runs on this host."""

    def find(self, wanted: str) -> Build:
        """Return the build with that id (or a prefix of it), or the newest of that profile.

        Raises UsageError where there is none, or where several begin so.
        """

    def prune(self, keep: int, *, check: bool) -> tuple[Step, ...]:
        """Remove all but the ``keep`` newest of each profile; never one that runs."""


class Variable(msgspec.Struct, frozen=True):
    """A setting of a running server: its name and value."""

    name: str
    value: str


class Variables(Protocol):
    """The system variables of a server: settings that can be changed while it runs.

    All that is set is recorded, with what it was before.
    """

    declared: Mapping[str, str]
    """The values that ``lab.toml`` declares."""

    def read(self, names: Sequence[str]) -> tuple[Variable, ...]:
        """Return the variables of these names, all where there is none given.

        Raises UsageError for an unknown one, naming the nearest.
        """

    def set(
        self, name: str, value: str | None, *, by: str, session: str = ""
    ) -> tuple[Variable, Variable]:
        """Set one, None for its default, and record it; return it before and after.

        ``by`` is the task that does it; ``session`` the id of the session that it is for, empty
        where it is to stay. Raises UsageError (unknown name, bad value), ExternalError.
        """

    def changes(self) -> tuple[Change, ...]:
        """Return what was set through the lab, the oldest first; needs no server."""

    def expected(self) -> Mapping[str, str]:
        """Return what was declared or set, as the server shows it; needs no server."""


class Profiler(Protocol):
    """What can say where a server spends its CPU time."""

    def cpu(self, seconds: int, hertz: int) -> tuple[bytes, tuple[Stack, ...]]:
        """Sample the server's stacks for ``seconds``; return an HTML page and what is in it."""

    def heap(self) -> bytes:
        """Return a heap profile. Raises PreconditionError where the server makes none."""


class BootPhase(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a server's start, as it told itself; ``children`` lie within it."""

    label: str
    duration_ns: int
    children: tuple[BootPhase, ...] = ()


class Boot(msgspec.Struct, frozen=True, kw_only=True):
    """One start of a server: when, with what, and what each part of it took."""

    id: str
    started_at: str
    build: str
    ready_ns: int
    phases: tuple[BootPhase, ...]
    objects: int | None = None


class SourceState(msgspec.Struct, frozen=True):
    """What a source says of itself, and its error.

    ``created`` (no table was made from it yet), ``starting``, ``running`` or ``stalled``.
    """

    name: str
    error: str = ""


class Sourcing(Protocol):
    """How tables are made from the tables of one upstream database.

    Everything that it makes lies in schemas of the lab's own, whose objects are counted apart.
    Tables are known by the number of the upstream's table, from 1.
    """

    statement: str
    """The kind of statement: ``create-table-from-source``, ``import-foreign-table``."""

    product: str
    """What is measured, in words: ``postgres_fdw: IMPORT FOREIGN SCHEMA … LIMIT TO``."""

    needs: str
    """What one table's purification needs of the upstream: two free slots, or nothing; in words."""

    cluster: str
    """The cluster that the source runs in; empty for a target that has none."""

    warm_up: tuple[str, ...]
    """Statements to be executed, untimed, on a new connection before its first batch."""

    def look(self, connection: Connection) -> tuple[str, ...]:
        """Say what of the source is missing or other than declared; ``+`` and ``-`` in front."""

    def connect(self, connection: Connection, progress: Progress) -> tuple[Step, ...]:
        """Make the source and what it needs, and wait until it can see the published tables.

        Idempotent. Raises what `diagnose` returns, StateMismatchError (it sees other tables than
        are published), LabTimeoutError.
        """

    def disconnect(self, connection: Connection, progress: Progress) -> tuple[Step, ...]:
        """Drop the tables, the source and what it needed; ``ok`` where there is nothing."""

    def references(self, connection: Connection) -> frozenset[int]:
        """Return the numbers of the upstream's tables that can be read."""

    def state(self, connection: Connection) -> SourceState:
        """Return how the source fares."""

    def made(self, connection: Connection) -> frozenset[int]:
        """Return the numbers of the tables that are made."""

    def drop_tables(self, connection: Connection, progress: Progress) -> int:
        """Drop all tables that are made; return how many that were. Leaves an empty schema."""

    def create(self, number: int) -> str:
        """Return the statement that makes table ``number``."""

    def make_room(self, tables: int) -> tuple[tuple[Variable, Variable], ...]:
        """Raise the limits so that ``tables`` more fit; return what was changed, before and after.

        For good, as for seeding: a limit that is not met changes no latency.
        """

    def diagnose(self, error: str) -> LabError | None:
        """Say what an error (SQLSTATE and message) means and what to do; None where unknown."""
