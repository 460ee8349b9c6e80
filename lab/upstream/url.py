"""An upstream that somebody else runs, named by its URL: looked at, never started or stopped."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import SplitResult, unquote, urlsplit

import psycopg

from lab.core.config import UpstreamConfig
from lab.core.errors import ExternalError, LabError, PreconditionError, UsageError
from lab.core.progress import Progress
from lab.core.results import Status, Step
from lab.core.workspace import Workspace
from lab.servers.connection import Connection
from lab.servers.records import Condition
from lab.upstream import connecting
from lab.upstream.base import PREFIX, PUBLICATION, ROLE, SCHEMA, Found
from lab.upstream.failures import not_running

_SCHEMES = ("postgres", "postgresql")
_PORT = 5432
_FORM = "postgres://USER@HOST:PORT/DATABASE"
_REACH_S = 5.0


class UrlProvider:
    """A PostgreSQL that the lab uses, and neither starts, stops nor destroys.

    Raises
    ------
    UsageError
        ``[upstream] url`` is missing or is no URL of one database of one server
        (``upstream.url``), or holds a password (``upstream.password``).
    """

    name: str = "url"
    owned: bool = False

    def __init__(self, workspace: Workspace, config: UpstreamConfig) -> None:
        place = _parsed(config.url)
        self._host = place.hostname or ""
        self._port = place.port or _PORT
        self._user = unquote(place.username or "")
        self.database: str = unquote(place.path.removeprefix("/"))

    def __repr__(self) -> str:
        return f"UrlProvider({self.identity!r})"

    def inspect(self) -> Found:
        """Look, and change nothing. One that answers but lets nobody in runs, and says so."""
        started = ""
        try:
            with contextlib.closing(self.connect("upstream.status")) as connection:
                condition, detail = Condition.RUNNING, _described(connection)
                started = _started(connection)
        except PreconditionError:
            condition, detail = Condition.STOPPED, f"no answer: {self._problem()}"
        except ExternalError as error:
            condition, detail = Condition.RUNNING, f"accepts no connection: {error.why}"
        return Found(
            provider=self.name,
            condition=condition,
            address=self._address,
            started=started,
            detail=f"database {self.database}, {detail}",
        )

    def start(self, progress: Progress) -> tuple[Step, ...]:
        """See that it answers; errors are those of `connect`."""
        with contextlib.closing(self.connect("upstream.up")) as connection:
            why = f"{_described(connection)} answers at {self.identity} as {self._user}"
        return (Step(name="server", status=Status.OK, why=why),)

    def stop(self, progress: Progress) -> tuple[Step, ...]:
        """Leave it alone."""
        why = f"{self.identity} is not the lab's to stop"
        return (Step(name="server", status=Status.SKIPPED, why=why),)

    def destroy(self, progress: Progress) -> tuple[Step, ...]:
        """Leave it alone, and say what its owner may run there."""
        why = (
            f"{self.identity} is not the lab's to destroy; what the lab put there its owner may"
            f" take away: DROP PUBLICATION for {PUBLICATION}, DROP TABLE for {SCHEMA}.{PREFIX}1 and"
            f" its like, then DROP OWNED BY and DROP ROLE for {ROLE}"
        )
        return (Step(name="server", status=Status.SKIPPED, why=why),)

    def address(self) -> tuple[str, int]:
        """Return host and port; raises PreconditionError where nothing answers there."""
        problem = self._problem()
        if problem:
            raise self._silent(problem)
        return self._host, self._port

    def connect(self, purpose: str, database: str = "") -> Connection:
        """Open an autocommit connection as the user of the URL.

        libpq finds the password: by ``PGPASSWORD``, ``PGPASSFILE`` or ``~/.pgpass``. No variable
        of the user's leads to another server than the declared one.
        """
        try:
            return connecting.connect(
                self._host,
                self._port,
                database or self.database,
                self._user,
                f"ddl-lab {purpose}",
            )
        except psycopg.OperationalError as error:
            raise self._explained(error, database or self.database) from error

    def log_tail(self, lines: int) -> str:
        """Return nothing: its log cannot be seen."""
        return ""

    def follow_log(self) -> Callable[[], str] | None:
        """Return None: its log cannot be seen."""
        return None

    @property
    def _address(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._port}"

    @property
    def identity(self) -> str:
        """Which server it is: host:port/database."""
        return f"{self._address}/{self.database}"

    def _problem(self) -> str:
        """Return why nothing accepts a connection at its port; empty where something does."""
        try:
            socket.create_connection((self._host, self._port), _REACH_S).close()
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def _explained(self, error: psycopg.OperationalError, database: str) -> LabError:
        problem = self._problem()
        if problem:
            return self._silent(problem)
        return ExternalError(
            f"The upstream {self._address} does not let {self._user} into {database}.",
            code="upstream.refused",
            why=str(error).strip(),
            remedy="The password is looked for in PGPASSWORD, and in the file that PGPASSFILE names"
            " or ~/.pgpass; user and database are those of `url` under [upstream] in lab.toml.",
        )

    def _silent(self, problem: str) -> PreconditionError:
        down = not_running(f"Nothing answers at {self._address}: {problem}.")
        down.remedy = (
            "Whoever runs it has to start it; or correct `url` under [upstream] in lab.toml."
        )
        return down


def _described(connection: Connection) -> str:
    return f"PostgreSQL {connection.info.parameter_status('server_version')}"


def _started(connection: Connection) -> str:
    row = connection.execute("SELECT extract(epoch FROM pg_postmaster_start_time())").fetchone()
    return datetime.fromtimestamp(float(row[0]), UTC).isoformat(timespec="seconds") if row else ""


def _parsed(url: str) -> SplitResult:
    """Return the parts of ``url``, which names user, host and database, and nothing else."""
    if not url:
        raise UsageError(
            "There is no `url` under [upstream] in lab.toml.",
            code="upstream.url",
            why="The provider url is for a PostgreSQL that somebody else runs.",
            remedy=f"Set it as {_FORM}, or choose the provider embedded or docker.",
        )
    try:
        place = urlsplit(url)
        whole = place.hostname and place.username and place.port != 0
        held = place.password is not None
    except ValueError:
        raise _unfit() from None
    if held or "password" in place.query.lower():
        raise UsageError(
            "`url` under [upstream] in lab.toml holds a password.",
            code="upstream.password",
            why="What stands in lab.toml is shown and copied: it is no place for a secret.",
            remedy="Take it out there; give it by PGPASSWORD, or in the file that PGPASSFILE names"
            " or ~/.pgpass.",
        )
    database = place.path.removeprefix("/")
    strange = any(each in (place.hostname or "") for each in ",%/") or "/" in database
    if place.scheme not in _SCHEMES or not whole or not database or strange:
        raise _unfit()
    if "?" in url or "#" in url or not url.isprintable() or " " in url:
        raise _unfit()
    return place


def _unfit() -> UsageError:
    return UsageError(
        "`url` under [upstream] in lab.toml is not the URL of a database.",
        code="upstream.url",
        why="A source needs one host that is reached by TCP, a user and a database; parameters"
        " behind them could lead to another server.",
        remedy=f"Write it as {_FORM}, with nothing behind; libpq takes what else it needs from"
        " variables such as PGSSLMODE.",
    )
