"""Seeding: an environment is brought to exactly so many user objects, and resumes anywhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count as counting
from itertools import islice

import msgspec
import psycopg

from lab.core.errors import LabError, StateMismatchError
from lab.core.killpoints import reached
from lab.core.progress import Progress, Stage
from lab.core.results import Outcome, Status, gravest
from lab.provision.environment import EnvironmentStep
from lab.provision.failures import explained
from lab.provision.steps import Look, converge
from lab.targets.base import Connection, Environment, Phase, PopulationScheme, Trouble

KILL_POINT = "lab.seed:batch"
_PURPOSE = "lab.seed"
# The last string of a command that was killed may take effect after this one has looked: its
# names are taken then, or gone. Looking again is all that it needs.
_LOOKS = 3


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
            The server went away, or refuses a statement.

        """
        task = _Task(self.environment, self.count, progress)
        started_ns = time.perf_counter_ns()
        try:
            with self._connected(task.how_far) as connection:
                self._approach(connection, task)
        except KeyboardInterrupt:
            progress.say(f"{task.how_far()} The same command goes on from here.")
            raise
        seconds = (time.perf_counter_ns() - started_ns) / 1e9
        verb = "made" if task.growing else "dropped"
        return f"{verb} {task.sent:,} in {seconds:.1f} s ({task.sent / seconds:,.0f}/s)"

    def _approach(self, connection: Connection, task: _Task) -> None:
        scheme = self.environment.population(self.kind, self.schema)
        for looks_left in reversed(range(_LOOKS)):
            try:
                total = self.environment.count_objects(connection).total
                task.now = total
                if total < self.count:
                    self._fill(connection, scheme, task, total)
                else:
                    self._drop(connection, scheme, task, total - self.count)
            except psycopg.Error as error:
                overtaken = self.environment.trouble(error) is Trouble.OVERTAKEN
                if not (overtaken and looks_left):
                    raise
            else:
                return

    def _fill(
        self, connection: Connection, scheme: PopulationScheme, task: _Task, total: int
    ) -> None:
        task.now = total + scheme.prepare(connection)
        number_missing = max(0, self.count - task.now)
        existing = scheme.existing(connection)
        free = (number for number in counting(1) if number not in existing)
        missing = list(islice(free, number_missing))
        task.send(connection, missing, scheme.create, scheme.batch)

    def _drop(
        self, connection: Connection, scheme: PopulationScheme, task: _Task, surplus: int
    ) -> None:
        highest_first = sorted(scheme.existing(connection), reverse=True)
        task.send(connection, highest_first[:surplus], scheme.drop, scheme.batch)

    @contextlib.contextmanager
    def _connected(self, how_far: Callable[[], str] = lambda: "") -> Iterator[Connection]:
        with (
            explained(self.environment, how_far),
            contextlib.closing(self.environment.connect(_PURPOSE)) as connection,
        ):
            yield connection

    def _declared(self) -> str:
        return f"{_objects(self.count)} (kind {self.kind}, schema {self.schema})"

    def _compared(self, total: int, obstacle: LabError | None) -> Look:
        diff = () if total == self.count else (f"- {_objects(total)}", f"+ {_objects(self.count)}")
        return Look(declared=self._declared(), found=_objects(total), diff=diff, obstacle=obstacle)

    def _obstacle(self, connection: Connection, total: int) -> LabError | None:
        if total <= self.count:
            return None
        scheme = self.environment.population(self.kind, self.schema)
        own = len(scheme.existing(connection))
        others = total - own
        if self.count >= others and self.drop_surplus:
            return None
        whose = (
            f"Only {_objects(own)} belong to this population "
            f"(kind {self.kind}, schema {self.schema})"
        )
        if self.count < others:
            return StateMismatchError(
                f"There are {_objects(total)}, and {self.count:,} cannot be reached.",
                code="population.not-the-labs",
                why=f"{whose}; the other {others:,} were made otherwise and are left alone.",
                remedy=f"Ask for at least {others:,}, name the kind and the schema that the others "
                "were seeded with, or take them away yourself.",
            )
        return StateMismatchError(
            f"There are {_objects(total)}, more than the {self.count:,} asked for.",
            code="population.surplus",
            why="Objects are never dropped unless that is asked for.",
            remedy="Ask for a larger count, or let `lab.seed` drop the newest objects of its own "
            "with --drop-surplus.",
        )


class _Task:
    """The sending of statements in strings, and how far it has come.

    ``now`` is the number of objects as last counted or acknowledged; None before the first look.
    """

    def __init__(self, environment: Environment, goal: int, progress: Progress) -> None:
        self._environment = environment
        self.goal = goal
        self.now: int | None = None
        self.sent = 0
        self.growing = True
        self._progress = progress

    def how_far(self) -> str:
        """Say how many objects there are by now."""
        return "" if self.now is None else f"Reached {_objects(self.now)} of {self.goal:,}."

    def send(
        self,
        connection: Connection,
        numbers: Sequence[int],
        statement: Callable[[int], str],
        batch: int,
    ) -> None:
        """Send a statement for each of ``numbers``, ``batch`` of them in one string.

        A string takes effect whole or not at all; one that is too much is sent in halves.
        """
        self.growing = self.now is None or self.now < self.goal
        title = "making objects" if self.growing else "dropping objects"
        position = 0
        with self._progress.stage(title, total=len(numbers), unit="objects") as stage:
            while position < len(numbers):
                part = numbers[position : position + batch]
                try:
                    # As bytes: the statements are the target's own, not literals of this module.
                    connection.execute(";".join(map(statement, part)).encode(), prepare=False)
                except psycopg.Error as error:
                    too_much = self._environment.trouble(error) is Trouble.TOO_MUCH
                    if not (too_much and len(part) > 1):
                        raise
                    batch = len(part) // 2
                    continue
                position += len(part)
                self._count(len(part), stage)

    def _count(self, number: int, stage: Stage) -> None:
        self.now = (self.now or 0) + (number if self.growing else -number)
        self.sent += number
        stage.advance(number)
        reached(KILL_POINT)


def seed(
    environment: Environment,
    *,
    count: int,
    kind: str,
    schema: str,
    drop_surplus: bool,
    check: bool,
    progress: Progress,
) -> Outcome:
    """Bring ``environment``, started where it is not running, to exactly ``count`` user objects.

    Raises
    ------
    StateMismatchError
        There are more than ``count``: dropping was not asked for, or they are not the lab's own.
    PreconditionError
        No space is left (``disk.full``); the same call goes on later.
    ExternalError
        The server went away, or refuses a statement.

    """
    population = PopulationStep(
        environment=environment,
        count=count,
        kind=kind,
        schema=schema,
        drop_surplus=drop_surplus,
    )
    started_ns = time.perf_counter_ns()
    steps = converge(
        (EnvironmentStep(environment=environment), population), check=check, progress=progress
    ).require()
    duration_ns = time.perf_counter_ns() - started_ns
    status = gravest(steps)
    done = status in (Status.OK, Status.CHANGED)
    return Outcome(
        summary=f"The environment holds exactly {_objects(count)}." if done else "",
        status=status,
        steps=steps,
        data={"count": count, "kind": kind, "schema": schema, "duration_ns": duration_ns},
    )


def _objects(number: int) -> str:
    return f"{number:,} user object{'' if number == 1 else 's'}"
