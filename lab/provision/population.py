"""Seeding: an environment is brought to exactly so many user objects, and resumes anywhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from itertools import count as counting
from itertools import islice

import msgspec
import psycopg

from lab.core.errors import LabError, StateMismatchError
from lab.core.progress import Progress
from lab.core.results import Outcome, Status, gravest
from lab.provision.environment import EnvironmentStep
from lab.provision.failures import explained
from lab.provision.filling import Filling, counted
from lab.provision.quicker import Quick, hint, offer
from lab.provision.steps import Look, converge
from lab.servers.connection import Connection
from lab.targets.base import Environment, Phase, PopulationScheme

_PURPOSE = "lab.seed"


class PopulationStep(msgspec.Struct, frozen=True, kw_only=True):
    """Exactly ``count`` user objects, whoever made them.

    Those that are missing are made as ``kind`` in ``schema``, the lowest free numbers first, so
    that holes are refilled. Those that are too many are dropped only with ``drop_surplus``, and
    only objects of this population, the highest numbers first.
    """

    environment: Environment
    count: int
    kind: str
    schema: str
    drop_surplus: bool = False

    @property
    def name(self) -> str:
        """``population``."""
        return "population"

    def look(self) -> Look:
        """Count user objects; of an environment that has no state yet it is known to be none."""
        phase = self.environment.inspect().phase
        if phase is Phase.ABSENT:
            return self._compared(0, None)
        if phase in (Phase.STOPPED, Phase.CRASHED):
            return Look(
                declared=self._declared(),
                found="not known",
                unknown="objects can be counted only when the environment runs",
            )
        with self._connected() as connection:
            total = self.environment.count_objects(connection).total
            return self._compared(total, self._obstacle(connection, total))

    def apply(self, progress: Progress) -> str:
        """Make or drop what `look` found; an interruption loses nothing.

        Raises
        ------
        PreconditionError
            No space is left (``disk.full``).
        ExternalError
            The server went away and does not come back, refuses a statement, or has a limit that
            cannot be raised.
        StateMismatchError
            Meanwhile there are more than ``count``.

        """
        filling = Filling(self.environment, self.count, progress)
        started_ns = time.perf_counter_ns()
        try:
            with explained(self.environment, filling.how_far):
                self._bring_about(filling)
        except KeyboardInterrupt:
            progress.say(f"{filling.how_far()} The same command goes on from here.")
            raise
        return filling.done((time.perf_counter_ns() - started_ns) / 1e9)

    def _bring_about(self, filling: Filling) -> None:
        while True:
            try:
                with contextlib.closing(self.environment.connect(_PURPOSE)) as connection:
                    self._approach(connection, filling)
                return
            except psycopg.Error as error:
                if not filling.got_over(error):
                    raise

    def _approach(self, connection: Connection, filling: Filling) -> None:
        scheme = self.environment.population(self.kind, self.schema)
        total = self.environment.count_objects(connection).total
        filling.look(total)
        obstacle = self._obstacle(connection, total)
        if obstacle is not None:
            raise obstacle
        if total < self.count:
            self._fill(connection, scheme, filling, total)
        else:
            self._drop(connection, scheme, filling, total - self.count)

    def _fill(
        self, connection: Connection, scheme: PopulationScheme, filling: Filling, total: int
    ) -> None:
        filling.now = total + scheme.prepare(connection)
        number_missing = max(0, self.count - filling.now)
        existing = scheme.existing(connection)
        free = (number for number in counting(1) if number not in existing)
        missing = list(islice(free, number_missing))
        said_at_first = offer(self.environment, connection, len(missing), filling.progress)
        filling.send(connection, missing, scheme.create, scheme.batch, said_at_first)

    def _drop(
        self, connection: Connection, scheme: PopulationScheme, filling: Filling, surplus: int
    ) -> None:
        highest_first = sorted(scheme.existing(connection), reverse=True)
        filling.send(connection, highest_first[:surplus], scheme.drop, scheme.batch)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Connection]:
        with (
            explained(self.environment),
            contextlib.closing(self.environment.connect(_PURPOSE)) as connection,
        ):
            yield connection

    def _declared(self) -> str:
        return f"{counted(self.count)} (kind {self.kind}, schema {self.schema})"

    def _compared(self, total: int, obstacle: LabError | None) -> Look:
        diff = () if total == self.count else (f"- {counted(total)}", f"+ {counted(self.count)}")
        return Look(declared=self._declared(), found=counted(total), diff=diff, obstacle=obstacle)

    def _obstacle(self, connection: Connection, total: int) -> LabError | None:
        if total <= self.count:
            return None
        scheme = self.environment.population(self.kind, self.schema)
        own = len(scheme.existing(connection))
        others = total - own
        if self.count >= others and self.drop_surplus:
            return None
        whose = (
            f"Only {counted(own)} belong to this population "
            f"(kind {self.kind}, schema {self.schema})"
        )
        if self.count < others:
            return StateMismatchError(
                f"There are {counted(total)}, and {self.count:,} cannot be reached.",
                code="population.not-the-labs",
                why=f"{whose}; the other {others:,} were made otherwise and are left alone.",
                remedy=f"Ask for at least {others:,}, name the kind and the schema that the others "
                "were seeded with, or take them away yourself.",
            )
        return StateMismatchError(
            f"There are {counted(total)}, more than the {self.count:,} asked for.",
            code="population.surplus",
            why="Objects are never dropped unless that is asked for.",
            remedy="Ask for a larger count, or let `lab.seed` drop the newest objects of its own "
            "with --drop-surplus.",
        )


def seed(
    environment: Environment,
    *,
    count: int,
    kind: str,
    schema: str,
    drop_surplus: bool,
    check: bool,
    progress: Progress,
    by: str = "",
    self_checks: bool = True,
) -> Outcome:
    """Bring ``environment``, started where it is not running, to exactly ``count`` user objects.

    With a build to do it ``by``, or without ``self_checks``, the server is restarted so for that,
    and restarted as it was before this returns.

    Raises
    ------
    UsageError
        There is no such build, or none to choose from.
    StateMismatchError
        There are more than ``count``: dropping was not asked for, or they are not the lab's own.
    PreconditionError
        No space is left (``disk.full``); the same call goes on later.
    ExternalError
        The server went away and does not come back, or refuses a statement.

    """
    population = PopulationStep(
        environment=environment,
        count=count,
        kind=kind,
        schema=schema,
        drop_surplus=drop_surplus,
    )
    started_ns = time.perf_counter_ns()
    if by or not self_checks:
        quick = Quick(environment=environment, by=by, self_checks=self_checks)
        steps = quick.bring_about(population, check=check, progress=progress)
    else:
        steps = converge(
            (EnvironmentStep(environment=environment), population), check=check, progress=progress
        ).require()
    duration_ns = time.perf_counter_ns() - started_ns
    status = gravest(steps)
    done = status in (Status.OK, Status.CHANGED)
    return Outcome(
        summary=f"The environment holds exactly {counted(count)}." if done else "",
        status=status,
        steps=steps,
        data={
            "count": count,
            "kind": kind,
            "schema": schema,
            "by": by,
            "self_checks": self_checks,
            "duration_ns": duration_ns,
        },
        hint="" if done or by or not self_checks else hint(environment),
    )
