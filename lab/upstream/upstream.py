"""The upstream as the layers above see it, wherever its server comes from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from lab.core.checks import no_answer
from lab.core.config import UpstreamConfig
from lab.core.errors import LabError, UsageError
from lab.core.progress import Progress
from lab.core.results import Check, Status, Step
from lab.servers.connection import Connection
from lab.servers.ports import LOOPBACK
from lab.servers.records import Condition
from lab.upstream import checks, slots
from lab.upstream.base import MAINTENANCE, Found, Link, Provider
from lab.upstream.failures import explained, not_adopted, not_adopted_for_sweeps
from lab.upstream.parts import RolePart, has_database
from lab.upstream.provisioning import Provisioning, login_failure
from lab.upstream.record import UpstreamRecord, UpstreamRecords
from lab.upstream.slots import Room, Slot
from lab.upstream.swept import Standing, Swept, SweptDatabases, SweptRecords
from lab.upstream.tables import published

_FACTS = (
    "wal_level",
    "max_wal_senders",
    "max_replication_slots",
    "max_connections",
    "shared_preload_libraries",
    "synchronous_commit",
    "fsync",
    "shared_buffers",
)
_PURPOSE = "upstream"


class Upstream:
    """One PostgreSQL whose published tables a source reads; made by `open_upstream`.

    Parameters
    ----------
    provider:
        Where its server comes from.
    records:
        What is remembered of it.
    config:
        What ``lab.toml`` says of it.
    """

    def __init__(
        self, provider: Provider, records: UpstreamRecords, config: UpstreamConfig
    ) -> None:
        self.provider = provider
        self.records = records
        self._config = config

    def __repr__(self) -> str:
        return f"Upstream({self.provider!r})"

    def found(self) -> Found:
        """Look, and change nothing."""
        return self.provider.inspect()

    def start(self, progress: Progress) -> tuple[Step, ...]:
        """Start or adopt its server, and remember where. Errors are those of `Provider.start`."""
        steps = self.provider.start(progress)
        if self.record() is None:
            self._write(columns=self._config.columns, tables=0)
        return steps

    def stop(self, progress: Progress) -> tuple[Step, ...]:
        """Stop its server where the lab started it; the data stay."""
        return self.provider.stop(progress)

    def destroy(self, progress: Progress) -> tuple[Step, ...]:
        """Remove its data, and forget it.

        Somebody else's server is only forgotten; the step says what its owner may run there. The
        role stays there, and so does its password here: without it nobody could use the role again.
        """
        steps = self.provider.destroy(progress)
        self.records.forget(keep_password=not self.provider.owned)
        return steps

    def adopt(self) -> None:
        """Remember that somebody else's server may be changed."""
        record = self.records.require()
        self._write(columns=record.columns, tables=record.tables, adopted=True)

    @property
    def changeable(self) -> bool:
        """Whether the lab may change it: it made the server, or was told to adopt it."""
        record = self.record()
        return self.provider.owned or (record is not None and record.adopted)

    def remember(self, tables: int, columns: str) -> None:
        """Remember what was asked for, where it is for somebody else to bring that about."""
        self._write(columns=columns, tables=tables)

    def record(self) -> UpstreamRecord | None:
        """Return what was brought up; None where nothing was."""
        return self.records.read()

    def columns(self) -> str:
        """Return the column list of the tables that were brought up."""
        return self.records.require().columns

    def look(self, tables: int, columns: str, *, database: str = "") -> tuple[str, ...]:
        """Say what is missing or other than declared, a line each with ``+`` or ``-`` in front.

        Nothing is made on a server that is not `changeable`, not even to look: of columns, names
        and types are compared then.

        Raises
        ------
        PreconditionError
            It does not run (``upstream.not-running``).
        StateMismatchError, UsageError
            Tables have other columns; the columns are none (``upstream.columns``).
        """
        steps = self._provisioning(tables, columns, database).foresee()
        return tuple(line for step in steps for line in step.diff)

    def foresee(self, count: int, columns: str) -> tuple[Step, ...]:
        """Say of each part whether `provision` would change it; errors are those of `look`."""
        return self._provisioning(count, columns).foresee()

    def absent(self, count: int, columns: str) -> tuple[Step, ...]:
        """Say what `provision` would make where there is no server yet."""
        return self._provisioning(count, columns).absent()

    def provision(
        self,
        tables: int,
        columns: str,
        progress: Progress,
        *,
        database: str = "",
        told: Callable[[Step], None] = lambda step: None,
    ) -> tuple[Step, ...]:
        """Bring about database, role, tables and publication; never fewer tables than there are.

        Each part is looked at first and again afterwards; a call that was killed is gone on with.
        ``told`` is told of each part as it ends, of one that fails, too.

        Raises
        ------
        PreconditionError
            It is not `changeable` (``upstream.not-adopted``), or does not run, or its disk is full
            (``disk.full``), or its settings do not fit.
        StateMismatchError, UsageError
            As in `look`.
        ExternalError
            It went away or refused a statement.
        """
        if not self.changeable:
            raise not_adopted(self.found().address)
        self.records.ensure_password()
        if database:
            self.claim_database(database)
        provisioning = self._provisioning(tables, columns, database)
        steps: list[Step] = []

        def remember(count: int) -> None:
            if not database:
                self._write(columns=columns, tables=count)

        def ended(step: Step) -> None:
            if step.name == RolePart.name and step.status is Status.CHANGED:
                # From now on it is known to be the lab's; until then, by its password.
                record = self.records.require()
                self._write(columns=record.columns, tables=record.tables, made_role=True)
            steps.append(step)
            told(step)

        provisioning.bring_about(progress, remember, ended)
        return tuple(steps)

    def missing_sql(self, tables: int, columns: str) -> tuple[str, ...]:
        """Return, as input for psql, what `provision` would do; the password is not in it."""
        self.records.ensure_password()
        return self._provisioning(tables, columns).missing_sql()

    def published(self, *, database: str = "") -> frozenset[int]:
        """Return the numbers of the tables that the publication holds."""
        with self._asking(database) as connection:
            return published(connection)

    def has_database(self, database: str) -> bool:
        """Say whether the server has that database."""
        with self._asking(MAINTENANCE) as connection:
            return has_database(connection, database)

    def swept(self) -> tuple[Swept, ...]:
        """Return the databases of sweeps that are recorded: made, and not known to be gone."""
        return self._swept_records.read()

    def forget_swept(self, database: str) -> None:
        """Take a database of a sweep out of the record: it went with its server."""
        self._swept_records.forget(database)

    def swept_standing(self, database: str) -> Standing:
        """Say whose the database of that name is."""
        with self._asking(MAINTENANCE) as connection:
            return SweptDatabases(self.provider, self._swept_records).standing(connection, database)

    def require_sweepable(self) -> None:
        """Refuse a sweep on a server that may not be changed (``upstream.not-adopted``)."""
        if not self.changeable:
            raise not_adopted_for_sweeps(self.found().address)

    def claim_database(self, database: str) -> None:
        """Make a database for a sweep; one that a sweep of this workspace left is gone on with.

        Raises
        ------
        PreconditionError
            The server is not `changeable` (``upstream.not-adopted``), or does not run.
        StateMismatchError
            Somebody else made a database of that name (``upstream.not-ours``).
        """
        self.require_sweepable()
        with self._asking(MAINTENANCE) as connection:
            SweptDatabases(self.provider, self._swept_records).claim(connection, database)

    def drop_database(self, database: str) -> bool:
        """Drop a database that was made for a sweep; say whether there was one.

        Sessions in it are ended, and slots of it that nobody uses are dropped with it. Errors are
        those of `claim_database`.
        """
        self.require_sweepable()
        with self._asking(MAINTENANCE) as connection:
            return SweptDatabases(self.provider, self._swept_records).drop(connection, database)

    def link(self, *, database: str = "", name: str = "") -> Link:
        """Return how a database under study reaches it: by ``[upstream] via`` where that is set.

        Raises
        ------
        PreconditionError
            None was brought up (``upstream.missing``), or it does not run.
        """
        self.records.require()
        host, port = self._way()
        return Link(
            host=host,
            port=port,
            database=database or self.provider.database,
            password=self.records.password(),
            tables=len(self.published(database=database)),
            name=name,
        )

    def nominal_link(self, *, database: str = "", name: str = "") -> Link:
        """Return a link by which a source can be found and dropped, whether it answers or not."""
        return Link(
            host=LOOPBACK,
            port=0,
            database=database or self.provider.database,
            password=self.records.password(),
            tables=0,
            name=name,
        )

    def connect(self, purpose: str, database: str = "") -> Connection:
        """Open an autocommit connection as administrator; errors are those of the provider.

        One that was never brought up is said to be so.
        """
        if self.record() is None and self.found().condition is Condition.ABSENT:
            self.records.require()
        return self.provider.connect(purpose, database)

    def verify(self, tables: int | None) -> tuple[Check, ...]:
        """Prove that a source can read it; ``tables`` None for as many as were brought up."""
        record = self.records.require()
        try:
            with (
                contextlib.closing(self.connect("upstream.verify")) as connection,
                explained(self.provider),
            ):
                return checks.verify(
                    connection,
                    tables=record.tables if tables is None else tables,
                    columns=record.columns,
                    login=lambda: login_failure(self.provider, self.records.password()),
                    watch=lambda: self.connect("upstream.verify", MAINTENANCE),
                    directory=self.found().directory,
                    only_look=not self.changeable,
                )
        except LabError as error:
            return (no_answer(error),)

    def facts(self, *, database: str = "") -> dict[str, str]:
        """Return what of the upstream must be alike for two runs to be compared."""
        record = self.records.require()
        with self._asking(database) as connection:
            rows = connection.execute(
                "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s)"
                " ORDER BY 1",
                (list(_FACTS),),
            ).fetchall()
            return {
                "upstream.version": connection.info.parameter_status("server_version") or "",
                "upstream.provider": self.provider.name,
                "upstream.tables": str(len(published(connection))),
                "upstream.columns": record.columns,
                # Another way there is another round trip.
                **({"upstream.via": self._config.via} if self._config.via else {}),
                **{f"upstream.setting.{name}": value for name, value in rows},
            }

    def slots(self) -> tuple[Slot, ...]:
        """Return the replication slots of the server."""
        with self._asking(MAINTENANCE) as connection:
            return slots.read_slots(connection)

    def room(self) -> Room:
        """Return what of slots, WAL senders and the role's sessions is taken."""
        with self._asking(MAINTENANCE) as connection:
            return slots.read_room(connection)

    def drop_slot(self, name: str) -> bool:
        """Drop a slot that nobody reads; say whether it was dropped."""
        with self._asking(MAINTENANCE) as connection:
            return slots.drop_slot(connection, name)

    @property
    def _swept_records(self) -> SweptRecords:
        return SweptRecords(self.records.folder)

    def _provisioning(self, tables: int, columns: str, database: str = "") -> Provisioning:
        known = self.record()
        return Provisioning(
            self.provider,
            self.records.password(),
            database or self.provider.database,
            tables,
            columns,
            only_look=not self.changeable,
            made_role=self.provider.owned or (known is not None and known.made_role),
        )

    @contextlib.contextmanager
    def _asking(self, database: str = "") -> Iterator[Connection]:
        """Lend a connection of the administrator; errors are put into words."""
        with (
            contextlib.closing(self.connect(_PURPOSE, database)) as connection,
            explained(self.provider),
        ):
            yield connection

    def _way(self) -> tuple[str, int]:
        if not self._config.via:
            return self.provider.address()
        host, _, port = self._config.via.rpartition(":")
        if not host or not port.isascii() or not port.isdecimal():
            raise UsageError(
                f"`via` under [upstream] cannot be `{self._config.via}`.",
                code="upstream.via",
                why="It is how the target reaches the upstream: a host and a port.",
                remedy='Write it as in `via = "127.0.0.1:5432"`, or leave it out.',
            )
        return host.strip("[]"), int(port)

    def _write(
        self, *, columns: str, tables: int, adopted: bool = False, made_role: bool = False
    ) -> None:
        known = self.record()
        record = UpstreamRecord(
            provider=self.provider.name,
            columns=columns,
            tables=tables,
            server=self.provider.identity,
            adopted=adopted or (known is not None and known.adopted),
            made_role=made_role or (known is not None and known.made_role),
            made_at=known.made_at if known else datetime.now(UTC).isoformat(timespec="seconds"),
        )
        if record != known:
            self.records.write(record)
