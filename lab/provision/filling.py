"""Sending statements in strings, what is said of it, and going on after what can be got over."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

import psycopg

from lab.core.errors import ExternalError
from lab.core.killpoints import reached
from lab.core.progress import Progress, Stage
from lab.provision.variables import as_change
from lab.servers.connection import Connection
from lab.targets.base import Environment, Trouble

KILL_POINT = "lab.seed:batch"
# The last string of a command that was killed may take effect after this one has looked: its
# names are taken then, or gone. Looking again is all that it needs.
_LOOKS = 3
# A server that keeps going away is not one that comes back.
_RETURNS = 5
# So many objects tell what one takes at the beginning.
_FIRST = 20

AtFirst: TypeAlias = Callable[[float, int], None]
"""Is told how many seconds an object took at the beginning, and how many are missing then."""


class Filling:
    """How far the sending of statements has come towards ``goal`` objects.

    ``now`` is the number of objects as last counted or acknowledged; None before the first look,
    which was ``first``. ``raised`` says which limits were raised.
    """

    def __init__(self, environment: Environment, goal: int, progress: Progress) -> None:
        self._environment = environment
        self.progress = progress
        self.goal = goal
        self.first: int | None = None
        self.now: int | None = None
        self.growing = True
        self.raised: dict[str, str] = {}
        self._looks_left = _LOOKS - 1
        self._returns_left = _RETURNS

    def look(self, total: int) -> None:
        """Take note of a count."""
        self.now = total
        if self.first is None:
            self.first = total

    def done(self, seconds: float) -> str:
        """Say what was done in ``seconds``."""
        difference = (self.now or 0) - (self.first or 0)
        verb, number = "dropped" if difference < 0 else "made", abs(difference)
        done = f"{verb} {number:,} in {seconds:.1f} s ({number / seconds:,.0f}/s)"
        return "; ".join((done, *self.raised.values()))

    def how_far(self) -> str:
        """Say how many objects there are by now."""
        return "" if self.now is None else f"Reached {counted(self.now)} of {self.goal:,}."

    def send(
        self,
        connection: Connection,
        numbers: Sequence[int],
        statement: Callable[[int], str],
        batch: int,
        said_at_first: AtFirst | None = None,
    ) -> None:
        """Send a statement for each of ``numbers``, ``batch`` of them in one string.

        A string takes effect whole or not at all; one that is too much is sent in halves.
        ``said_at_first`` is told once what an object took at the beginning.
        """
        growing = self.now is None or self.now < self.goal
        title = "making objects" if growing else "dropping objects"
        position = 0
        started = time.perf_counter()
        with (
            connection.cursor() as cursor,
            self.progress.stage(
                title, total=len(numbers), unit="objects", growing=growing
            ) as stage,
        ):
            while position < len(numbers):
                part = numbers[position : position + batch]
                try:
                    # As bytes: the statements are the target's own, not literals of this module.
                    cursor.execute(";".join(map(statement, part)).encode(), prepare=False)
                except psycopg.Error as error:
                    too_much = self._environment.trouble(error) is Trouble.TOO_MUCH
                    if not (too_much and len(part) > 1):
                        raise
                    batch = len(part) // 2
                    continue
                position += len(part)
                self._count(len(part) if growing else -len(part), stage)
                if said_at_first is not None and position >= _FIRST:
                    seconds = (time.perf_counter() - started) / position
                    said_at_first(seconds, len(numbers) - position)
                    said_at_first = None

    def got_over(self, error: psycopg.Error) -> bool:
        """Do what can be done about ``error``; say whether looking again makes sense then.

        A limit is raised once; a server that went away is waited for.

        Raises
        ------
        ExternalError
            A limit that was raised is still in the way (``population.limit``).
        """
        trouble = self._environment.trouble(error)
        if trouble is Trouble.OVERTAKEN and self._looks_left:
            self._looks_left -= 1
            return True
        if trouble is Trouble.LIMIT:
            return self._make_room(error)
        if trouble is Trouble.GONE and self._returns_left:
            self._returns_left -= 1
            return self._environment.await_return(self.progress)
        return False

    def _make_room(self, error: psycopg.Error) -> bool:
        # Its figures differ from time to time; the rest names the limit.
        limit = re.sub(r"[0-9]+", "", str(error))
        if limit in self.raised:
            raise ExternalError(
                f"A limit was raised, and is still in the way. {self.how_far()}".rstrip(),
                code="population.limit",
                why=f"{self.raised[limit]}; {str(error).strip()}",
                remedy="`env.get --match max_` shows the limits. See whether something else sets "
                "them or makes objects, then run the same command again: it goes on from here.",
            )
        raised = self._environment.make_room(error, self.goal)
        if raised is None:
            return False
        self.raised[limit] = f"raised {as_change(*raised)}"
        self.progress.say(f"The server allows no more objects: {self.raised[limit]}.")
        return True

    def _count(self, number: int, stage: Stage) -> None:
        self.now = (self.now or 0) + number
        stage.advance(abs(number))
        reached(KILL_POINT)


def counted(number: int) -> str:
    """Return ``1 user object``, ``1,200 user objects``."""
    return f"{number:,} user object{'' if number == 1 else 's'}"
