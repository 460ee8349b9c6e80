"""Bringing about what an upstream consists of, or saying what of it is missing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import psycopg

from lab.core.errors import LabError
from lab.core.progress import Progress
from lab.core.results import Status, Step
from lab.servers.connection import Connection
from lab.upstream import connecting, disk, tables
from lab.upstream.base import MAINTENANCE, ROLE, Provider
from lab.upstream.failures import explained, first_line
from lab.upstream.parts import (
    DatabasePart,
    ExtensionPart,
    Part,
    RolePart,
    SettingsPart,
    bring_about,
    has_database,
)
from lab.upstream.table_parts import PublicationPart, TablesPart

_PURPOSE = "upstream.up"


class Provisioning:
    """``count`` tables of ``columns`` in the database ``place``, and what they need.

    ``password`` is that of the source's role; without one it is said to be missing. With
    ``only_look`` nothing may be made there, not even to look; ``made_role`` says that the role is
    the lab's to set right.
    """

    def __init__(
        self,
        provider: Provider,
        password: str,
        place: str,
        count: int,
        columns: str,
        *,
        only_look: bool,
        made_role: bool,
    ) -> None:
        self._provider = provider
        self._count = count
        self._columns = columns
        self._tables = TablesPart(place, count, columns, only_look=only_look)
        self._parts: tuple[Part, ...] = (
            *(() if provider.owned else (SettingsPart(),)),
            DatabasePart(place),
            ExtensionPart(),
            RolePart(
                place,
                password,
                lambda: login_failure(provider, password, place),
                made=made_role,
            ),
            self._tables,
            PublicationPart(place, count),
        )

    def foresee(self) -> tuple[Step, ...]:
        """Say of each part whether it would be changed."""
        with self._at_work() as opened:
            return tuple(self._foreseen(part, opened(part.place)) for part in self._parts)

    def absent(self) -> tuple[Step, ...]:
        """Say what would be made where there is no server yet."""
        return tuple(_would(part, (part.absent(),)) for part in self._parts)

    def bring_about(
        self,
        progress: Progress,
        remember: Callable[[int], None],
        told: Callable[[Step], None],
    ) -> None:
        """Bring about each part.

        ``remember`` is told how many tables there are to be before any is made, so that a call that
        was killed is known to be unfinished, and how many are published in the end. ``told`` is
        told how each part ended: where one fails, of that, and of those that are skipped.
        """
        waiting = list(self._parts)
        try:
            with self._at_work(self._how_far) as opened:
                while waiting:
                    told(self._brought_about(waiting[0], opened, progress, remember))
                    del waiting[0]
                remember(tables.contiguous(tables.published(opened.require(self._tables.place))))
        except LabError as error:
            for step in _not_reached([part.name for part in waiting], error):
                told(step)
            raise

    def _brought_about(
        self,
        part: Part,
        opened: _Opener,
        progress: Progress,
        remember: Callable[[int], None],
    ) -> Step:
        connection = opened.require(part.place)
        if part is self._tables:
            self._tables.require_columns(connection)
            self._require_space(connection)
            there = tables.contiguous(tables.find(connection).existing)
            remember(max(self._count, there))
        return bring_about(part, connection, progress)

    def missing_sql(self) -> tuple[str, ...]:
        """Return what is to be done as input for psql."""
        lines: list[str] = []
        place = ""
        with self._at_work() as opened:
            for part in self._parts:
                # In a database that is not there yet nothing is found, as in the maintenance one.
                connection = opened(part.place) or opened.require(MAINTENANCE)
                said = list(part.statements(connection))
                if said and place != part.place:
                    place = part.place
                    lines.append(f'\\connect "{place}"')
                lines += said
        return tuple(lines)

    def _foreseen(self, part: Part, connection: Connection | None) -> Step:
        if connection is None:
            return _would(part, (part.absent(),))
        if part is self._tables:
            self._tables.require_columns(connection)
            self._require_space(connection)
        diff = part.look(connection)
        if diff:
            return _would(part, diff)
        return Step(name=part.name, status=Status.OK, why=part.found(connection))

    def _require_space(self, connection: Connection) -> None:
        lacking = tables.missing(self._count, tables.find(connection).existing)
        disk.require_space(self._provider.inspect().directory if lacking else "", len(lacking))

    def _how_far(self) -> str:
        reached = self._tables.reached
        return "" if reached is None else f"{reached:,} of {tables.counted(self._count)} are there."

    @contextlib.contextmanager
    def _at_work(self, how_far: Callable[[], str] = lambda: "") -> Iterator[_Opener]:
        with contextlib.ExitStack() as stack, explained(self._provider, how_far):
            yield _Opener(self._provider, stack)


class _Opener:
    """Opens one connection to each database that is asked for, and keeps it until the end."""

    def __init__(self, provider: Provider, stack: contextlib.ExitStack) -> None:
        self._provider = provider
        self._stack = stack
        self._open: dict[str, Connection] = {}

    def __call__(self, database: str) -> Connection | None:
        """Return the connection to ``database``; None where the server has no such database."""
        known = database == MAINTENANCE or database in self._open
        if known or has_database(self.require(MAINTENANCE), database):
            return self.require(database)
        return None

    def require(self, database: str) -> Connection:
        """Return the connection to ``database``, which exists."""
        if database not in self._open:
            opened = self._provider.connect(_PURPOSE, database)
            self._open[database] = self._stack.enter_context(contextlib.closing(opened))
            # Thousands of statements, each seen once, would drive out what is to be watched.
            with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
                opened.execute("SET pg_stat_statements.track = 'none'")
        return self._open[database]


def login_failure(provider: Provider, password: str, database: str = "") -> str:
    """Log in as the source's role; return why that fails, empty where it does not."""
    if not password:
        return "no password is kept for it"
    host, port = provider.address()
    try:
        connecting.connect(
            host,
            port,
            database or provider.database,
            ROLE,
            f"ddl-lab {_PURPOSE}",
            password=password,
            # Somebody else's server may want TLS; how is for the user's variables to say.
            plain=provider.owned,
        ).close()
    except psycopg.OperationalError as error:
        # What comes before it names the server, which is known.
        return first_line(error).rpartition("failed: ")[2]
    return ""


def _not_reached(names: Sequence[str], error: LabError) -> Iterator[Step]:
    """Yield that the first of the parts ``names`` failed, and that the others were skipped."""
    if not names:
        return
    failed, *skipped = names
    yield Step(name=failed, status=Status.FAILED, why=f"{error.what} {error.why}".rstrip())
    for name in skipped:
        yield Step(name=name, status=Status.SKIPPED, why=f"the step {failed} failed")


def _would(part: Part, diff: tuple[str, ...]) -> Step:
    return Step(name=part.name, status=Status.WOULD_CHANGE, diff=diff)
