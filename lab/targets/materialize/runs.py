"""How an environmentd is run: what its environment asks of it, whatever it comes out of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import msgspec

from lab.core.processes import ProcessIdentity
from lab.core.progress import Progress
from lab.core.results import Check, Step
from lab.servers.records import Condition
from lab.targets.base import Launch
from lab.targets.materialize.ports import Ports
from lab.targets.materialize.processes import Running
from lab.targets.materialize.record import Records
from lab.targets.parts import Build, Builds


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What is found of an environment.

    ``ours`` says whether the lab launched what runs, ``build`` what that is (None where its files
    cannot be read). ``boot`` identifies this start and ``started`` says when it was (ISO 8601,
    UTC), both empty where nothing runs. ``asked_checks`` is what its launch asked of soft
    assertions, None where it leaves them to the build. ``port`` is where it listens for SQL, 0
    where that is not known.

    Of processes on this host besides: ``server`` is the environmentd that runs on this state,
    ``left`` are clusterds of this environment without an environmentd, ``starting`` what an earlier
    start left that will launch one yet: the checkout's wrapper, compiling or between two launches.
    """

    condition: Condition
    ours: bool = False
    build: Build | None = None
    boot: str = ""
    started: str = ""
    asked_checks: bool | None = None
    port: int = 0
    server: Running | None = None
    left: tuple[Running, ...] = ()
    starting: tuple[Running, ...] = ()

    @property
    def self_checks(self) -> bool:
        """Whether it checks itself with soft assertions, as far as its launch decides that."""
        debug = self.build is not None and self.build.profile == "debug"
        return debug if self.asked_checks is None else self.asked_checks

    @property
    def process(self) -> ProcessIdentity | None:
        """The process that runs, where it is one of this host."""
        return self.server.identity if self.server else None


class Runs(Protocol):
    """An environmentd on one state: as processes of this host, or in a container."""

    records: Records
    """What is written down of it: starts, system variables."""

    @property
    def ports(self) -> Ports:
        """Where it listens, on loopback."""

    @property
    def declared(self) -> str:
        """The build that is started where none is asked for: a profile or a build's id."""

    @property
    def builds(self) -> Builds | None:
        """The builds that it may run; None where that is not the lab's to choose."""

    @property
    def directory(self) -> str:
        """Where the state lies; empty where this host cannot see it."""

    @property
    def state_id(self) -> str:
        """What identifies the state."""

    def inspect(self) -> Found:
        """Look, and change nothing."""

    def start(self, progress: Progress, wanted: Launch) -> tuple[Step, ...]:
        """Start or adopt it and wait until it is ready; errors as of `Environment.start`."""

    def stop(self, progress: Progress) -> tuple[Step, ...]:
        """Stop what the lab started; the state stays."""

    def reset(self, progress: Progress) -> tuple[Step, ...]:
        """Destroy the state."""

    def comes_back(self, progress: Progress) -> bool:
        """Wait for one that halted on purpose to be launched anew; say whether it was."""

    def boot(self) -> str:
        """Return what identifies the start of what runs; empty where nothing does."""

    def log_tail(self, lines: int) -> str:
        """Return the last ``lines`` lines of its log."""

    def misplaced(self, found: Found) -> str:
        """Say why what runs cannot be taken as it is, whatever build it is; empty where it can."""

    def drift(self, found: Found) -> tuple[str, ...]:
        """Say in what it is run otherwise than declared, build, ports and self-checks aside."""

    def alarms(self) -> tuple[str, ...]:
        """Return what endangers the state, a sentence each."""

    def own_checks(self, found: Found) -> Iterator[Check]:
        """Check what holds only of this way of running it."""

    def store_facts(self) -> dict[str, str]:
        """Return what kind of metadata and blob store the state has."""


def fits(build: Build | None, wanted: str) -> bool:
    """Say whether ``build`` is what ``wanted`` names: a profile, or an id or its beginning."""
    # No profile is the beginning of an id: those are hexadecimal.
    return build is not None and (build.profile == wanted or build.id.startswith(wanted))


def named(build: Build | None) -> str:
    """Return what people call ``build``."""
    if build is None:
        return "a build that is not known"
    version = build.version or build.commit[:9]
    return " ".join(filter(None, (build.profile, version, f"[{build.id}]")))
