"""A metadata store that somebody else runs, named by its URL."""

from __future__ import annotations

import contextlib
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

import psutil
import psycopg

from lab.core.errors import LabError, PreconditionError, UsageError
from lab.core.progress import Progress
from lab.core.results import Status, Step
from lab.servers import containers
from lab.servers.connection import Connection
from lab.servers.mounts import in_memory
from lab.servers.records import Condition
from lab.targets.materialize import metadata_queries as queries
from lab.targets.materialize.metadata_base import MetadataStore, StoreFound, down, opened

SCHEMES = ("postgres", "postgresql")
_PORT = 5432
_LOCAL = ("127.0.0.1", "::1", "localhost")
_FORM = "postgres://USER@HOST:PORT/DATABASE"
_IN_MEMORY = "type=mem"
_COCKROACH_DATA = "/cockroach/cockroach-data"


class UrlStore(MetadataStore):
    """A PostgreSQL or CockroachDB that the lab uses, and neither stops nor resets.

    Raises
    ------
    UsageError
        The URL is not of the form that environmentd and its wrapper take.

    """

    owned = False

    def __init__(self, url: str) -> None:
        self._place = _parsed(url)
        self._database = unquote(self._place.path.lstrip("/"))
        self._url = url

    def __repr__(self) -> str:
        return f"UrlStore({self._url!r})"

    @property
    def url(self) -> str:
        """How environmentd reaches it, as declared."""
        return self._url

    def inspect(self) -> StoreFound:
        """Look, and change nothing."""
        try:
            with contextlib.closing(self.connect("env.status")) as connection:
                there = queries.has_database(connection, self._database)
                return StoreFound(
                    condition=Condition.RUNNING if there else Condition.ABSENT,
                    kind="url",
                    url=self._url,
                    volatile=self._volatile(connection),
                    detail=queries.server(connection),
                )
        except PreconditionError as error:
            return StoreFound(
                condition=Condition.STOPPED, kind="url", url=self._url, detail=error.why
            )

    def start(self, progress: Progress) -> tuple[Step, ...]:
        """See that it answers; make its database where that is missing."""
        try:
            made = queries.ensure_database(self._maintained, self._database)
        except psycopg.OperationalError:
            made = False  # not everybody may connect to the other database
        with contextlib.closing(self.connect("env.start")) as connection:
            why = f"{queries.server(connection)} answers at {self._where}"
        if made:
            why += f"; made the database {self._database}"
        return (_step(Status.CHANGED if made else Status.OK, why),)

    def stop(self, progress: Progress) -> tuple[Step, ...]:
        """Leave it alone."""
        return (_step(Status.SKIPPED, f"{self._where} is not the lab's to stop"),)

    def reset(self, progress: Progress) -> tuple[Step, ...]:
        """Leave it alone: refuse where it holds something."""
        with contextlib.closing(self.connect("env.reset")) as connection:
            if self.is_empty(connection):
                return (_step(Status.OK, f"{self._where} holds nothing"),)
        raise PreconditionError(
            f"The metadata store {self._where} is not the lab's to reset.",
            code="metadata.not-owned",
            why="`metadata` under [materialize] in lab.toml is a URL: the lab did not make what is"
            " there.",
            remedy=f"Drop the schemas {', '.join(queries.SCHEMAS)} of the database"
            f" {self._database} by hand, then run the command again.",
        )

    def connect(self, purpose: str) -> Connection:
        """Open a connection as environmentd would."""
        try:
            return opened(self._url, self._database, purpose)
        except psycopg.OperationalError as error:
            raise self._unreachable(error) from error

    @property
    def _where(self) -> str:
        return f"{self._place.hostname}:{self._port}/{self._database}"

    @property
    def _port(self) -> int:
        return self._place.port or _PORT

    def _maintained(self, database: str) -> Connection:
        return opened(self._url, database, "env.start")

    def _unreachable(self, error: psycopg.OperationalError) -> LabError:
        said = str(error).strip()
        if "password" in said:
            return PreconditionError(
                f"The metadata store {self._where} wants a password.",
                code="metadata.password",
                why=f"{said}. The URL stands on environmentd's command line, where everybody on the"
                " host can read it: it may hold no password, and environmentd takes one from"
                " nowhere else.",
                remedy=f"Let {self._place.username} in from this host without one (`trust` in"
                " pg_hba.conf), or leave `metadata` out: the lab then brings a store.",
            )
        return down(
            self._where,
            said,
            "Start it, or see to the URL in `metadata` under [materialize] in lab.toml; without it"
            " the lab brings a store.",
        )

    def _volatile(self, connection: Connection) -> str:
        return queries.unsafe_settings(connection) or self._lost_with_its_server(connection)

    def _lost_with_its_server(self, connection: Connection) -> str:
        """Look at the server's files or command line, where it runs on this host."""
        host = self._place.hostname or ""
        if host not in _LOCAL and not unquote(host).startswith("/"):
            return ""
        data = queries.data_directory(connection)
        container = containers.publishing(self._port)
        arguments = container.arguments if container else _command_line(self._port)
        if any(_IN_MEMORY in each for each in arguments):
            return f"it was started with {_IN_MEMORY}: it keeps its data in memory"
        if container is None:
            return f"{data} lies in memory" if data and in_memory(Path(data)) else ""
        if container.keeps(data or _COCKROACH_DATA):
            return ""
        return f"the container {container.name} has no volume for its data: they go with it"


def _parsed(url: str) -> SplitResult:
    """Return the parts of ``url``, without a password, a query string or anything left out."""
    try:
        place = urlsplit(url)
        whole = place.hostname and place.username and place.port != 0 and place.path.strip("/")
    except ValueError:
        raise _unfit() from None
    if place.password:
        raise UsageError(
            "The URL of the metadata store holds a password.",
            code="metadata.password",
            why="It stands on environmentd's command line, where everybody on the host can read it;"
            " environmentd takes a password from nowhere else, neither variable nor file.",
            remedy=f"Let {place.username} in from this host without one (`trust` in pg_hba.conf),"
            " or leave `metadata` out: the lab then brings a store.",
        )
    if "?" in url or "#" in url:
        raise UsageError(
            "The URL of the metadata store has a query string.",
            code="metadata.query-string",
            why="`?options=…` is appended to it as text, for each schema another.",
            remedy=f"Write it as {_FORM}, with nothing behind.",
        )
    if not whole or not url.isprintable() or " " in url:
        raise _unfit()
    return place


def _unfit() -> UsageError:
    return UsageError(
        "`metadata` under [materialize] in lab.toml is no URL of a database.",
        code="metadata.url",
        why="environmentd needs a user, a host and a database.",
        remedy=f"Write it as {_FORM}, or `embedded`, or `image:NAME`.",
    )


def _command_line(port: int) -> tuple[str, ...]:
    """Return the command line of the local process that listens on ``port``, where it is seen."""
    with contextlib.suppress(psutil.Error):
        for each in psutil.net_connections(kind="tcp"):
            if each.status == psutil.CONN_LISTEN and each.pid and each.laddr[1:] == (port,):
                return tuple(psutil.Process(each.pid).cmdline())
    return ()


def _step(status: Status, why: str) -> Step:
    return Step(name="metadata server", status=status, why=why)
