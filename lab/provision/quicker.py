"""Seeding by a quicker server on the same state, and going back to the usual one afterwards.

A debug build that checks itself does more work the more objects there are. What is seeded is the
same without that; what is measured is not, so that the usual server is back before a task ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

import msgspec

from lab.core.errors import LabError, StateMismatchError, UsageError
from lab.core.progress import Progress, duration_text
from lab.core.results import Status, Step
from lab.provision.failures import explained
from lab.provision.steps import DeclaredStep, converge
from lab.servers.connection import Connection
from lab.targets.base import (
    AS_DECLARED,
    BUILD_ID,
    BUILD_PROFILE,
    SELF_CHECKS,
    SHAPES_ONLY,
    Environment,
    Launch,
    Phase,
)
from lab.targets.parts import Builds

_PURPOSE = "lab.seed"
# With fewer objects missing, or less time left, two restarts would take longer than they save.
_FEW = 200
_SOON_S = 60.0
_OFF = "off"


class Quick(msgspec.Struct, frozen=True, kw_only=True):
    """A server that the build ``by`` (empty: the one that runs) makes quicker for a while."""

    environment: Environment
    by: str
    self_checks: bool

    def bring_about(
        self, population: DeclaredStep, *, check: bool, progress: Progress
    ) -> tuple[Step, ...]:
        """Start the quick server, bring about ``population``, start the usual server again.

        Nothing is restarted where the population is as declared already. An interruption leaves
        the quick server running, and says so.

        Raises
        ------
        UsageError
            The environment has no builds to choose from, or not this one.
        StateMismatchError
            What runs was not started by the lab.
        LabError
            As ``population`` says, and as `Environment.start`.
        """
        builds = self._require_builds()
        by = builds.find(self.by).id if self.by else ""
        facts = self._facts()
        if facts is not None:
            foreseen = converge((population,), check=True, progress=progress).require()
            if all(step.status is Status.OK for step in foreseen):
                return foreseen
        quick, usual = self._launches(builds, by, facts)
        if check:
            return self._foreseen(population, quick, progress)
        first = self._restarted("quick server", quick, facts, progress)
        try:
            converged = converge((population,), check=False, progress=progress)
        except KeyboardInterrupt:
            progress.say(
                "The server runs on as it was started to seed. The same command goes on from here; "
                "`lab.up` starts the server as declared."
            )
            raise
        last = self._back(usual, converged.error, progress)
        return (first, *converged.require(), last)

    def _require_builds(self) -> Builds:
        if self.environment.builds is None:
            raise UsageError(
                f"The target {self.environment.target} has one build, without self-checks.",
                code="seed.one-build",
                why="--by and --no-self-checks are for targets that are compiled.",
                remedy="Leave them out.",
            )
        return self.environment.builds

    def _facts(self) -> Mapping[str, str] | None:
        """Return the facts of what runs; None where nothing does."""
        situation = self.environment.inspect()
        if situation.phase is Phase.FOREIGN or situation.adopted:
            raise StateMismatchError(
                "What runs was not started by the lab, and is not restarted by it.",
                code="environment.foreign",
                why=situation.detail,
                remedy="Seed without --by and --no-self-checks, or stop it the way it was started.",
            )
        if situation.phase is not Phase.RUNNING:
            return None
        with (
            explained(self.environment),
            contextlib.closing(self.environment.connect(_PURPOSE)) as connection,
        ):
            return self.environment.facts(connection)

    def _launches(
        self, builds: Builds, by: str, facts: Mapping[str, str] | None
    ) -> tuple[Launch, Launch]:
        """Return how to start the server for seeding, and how afterwards."""
        running = _kept(builds, facts.get(BUILD_ID, "")) if facts else ""
        quick = Launch(build=by or running, self_checks=self.self_checks)
        if facts is None or self._is_quick(quick, facts):
            # Where an interrupted command left it: what ran before that is not known any more.
            return quick, AS_DECLARED
        return quick, Launch(build=running)

    def _is_quick(self, quick: Launch, facts: Mapping[str, str]) -> bool:
        right = not self.by or facts.get(BUILD_ID) == quick.build
        return right and (quick.self_checks or facts.get(SELF_CHECKS) == _OFF)

    def _restarted(
        self, name: str, quick: Launch, facts: Mapping[str, str] | None, progress: Progress
    ) -> Step:
        if facts is not None and self._is_quick(quick, facts):
            return Step(name=name, status=Status.OK, why="runs so already")
        if facts is not None:
            self.environment.stop(progress)
        self.environment.start(progress, quick)
        return Step(name=name, status=Status.CHANGED, why=_words(quick))

    def _back(self, usual: Launch, error: LabError | None, progress: Progress) -> Step:
        """Start the usual server; an ``error`` of the seeding counts more than one of this."""
        try:
            self.environment.stop(progress)
            self.environment.start(progress, usual)
        except LabError:
            if error is not None:
                raise error from None
            raise
        return Step(name="usual server", status=Status.CHANGED, why=_words(usual))

    def _foreseen(
        self, population: DeclaredStep, quick: Launch, progress: Progress
    ) -> tuple[Step, ...]:
        would = Status.WOULD_CHANGE
        return (
            Step(name="quick server", status=would, why=f"would be {_words(quick)}"),
            *converge((population,), check=True, progress=progress).require(),
            Step(name="usual server", status=would, why="would be started again"),
        )


def offer(
    environment: Environment, connection: Connection, missing: int, progress: Progress
) -> Callable[[float, int], None] | None:
    """Return what says, from what the first objects took, how seeding would be quicker.

    None where it would not, or where few are missing.
    """
    ways = "" if missing <= _FEW else _ways(environment, connection)
    if not ways:
        return None

    def say(seconds: float, left: int) -> None:
        if seconds * left < _SOON_S:
            return
        progress.say(
            f"At {1 / seconds:.1f}/s the other {left:,} take {duration_text(seconds * left)} at "
            f"least: the server is a debug build that checks itself, the more the more objects "
            f"there are. To be quicker, interrupt this and give {ways} besides: it goes on from "
            "here, and the usual server is back before anything is measured."
        )

    return say


def hint(environment: Environment) -> str:
    """Return the command that would seed quicker, where the environment runs and there is one."""
    if environment.inspect().phase is not Phase.RUNNING:
        return ""
    with explained(environment), contextlib.closing(environment.connect(_PURPOSE)) as connection:
        ways = _ways(environment, connection)
    return f"invoke lab.seed is quicker with {ways}" if ways else ""


def _ways(environment: Environment, connection: Connection) -> str:
    """Return the flags that make seeding quicker on what runs; empty where none does."""
    if environment.builds is None:
        return ""
    facts = environment.facts(connection)
    if SHAPES_ONLY not in facts or facts.get(SELF_CHECKS) == _OFF:
        return ""
    profile = facts.get(BUILD_PROFILE)
    others = dict.fromkeys(each.profile for each in environment.builds.all())
    flags = ["--no-self-checks", *(f"--by {other}" for other in others if other != profile)]
    return " or ".join(f"`{flag}`" for flag in flags)


def _kept(builds: Builds, build: str) -> str:
    """Return ``build`` where the lab keeps it, so that it can be started again; else nothing."""
    return build if any(each.id == build for each in builds.all()) else ""


def _words(launch: Launch) -> str:
    build = f"build {launch.build}" if launch.build else "the declared build"
    return f"started with {build}{'' if launch.self_checks else ', without self-checks'}"
