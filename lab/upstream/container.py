"""An upstream in a container: Docker's PostgreSQL image, or one that is started as it is."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import msgspec
import psycopg

from lab.core.config import UpstreamConfig
from lab.core.errors import ExternalError, PreconditionError
from lab.core.files import create_exclusively, explained, read_struct, write_struct
from lab.core.locks import exclusive
from lab.core.progress import Progress
from lab.core.results import Step
from lab.core.workspace import Workspace
from lab.servers import engine, launch, ports
from lab.servers.connection import Connection
from lab.servers.container_records import ContainerFound, Plan, Role
from lab.servers.containers import Container
from lab.servers.records import Condition
from lab.upstream.base import DATABASE, MAINTENANCE, Found
from lab.upstream.embedded import SETTINGS
from lab.upstream.failures import first_line, not_running, refused

STATE = "postgres"
READY_S = 300.0
"""For initdb on a slow disk, or the recovery of a server that was killed."""
_STOP_S = 120
_LOCK_WAIT_S = 120.0
_WRONG_PASSWORD = "password authentication failed"  # noqa: S105  a message

_PORT = 5432
# A place of its own: where the image's own volume lies depends on its version.
_MOUNT = "/var/lib/ddl-lab"
_PASSWORD = "/etc/ddl-lab/password"  # noqa: S105  a place
_ENVIRONMENT = {
    "PGDATA": f"{_MOUNT}/data",
    "POSTGRES_PASSWORD_FILE": _PASSWORD,
    # Without it the image lets everybody in who is within the container.
    "POSTGRES_INITDB_ARGS": "--auth=scram-sha-256 --encoding=UTF8 --locale=C",
}
_SETTINGS = SETTINGS | {"log_line_prefix": "%m [%p] %a ", "log_timezone": "UTC"}


class Kept(msgspec.Struct, frozen=True):
    """``.lab/upstream/container.json``: the port of this host, chosen once."""

    port: int = 0


class ContainerProvider:
    """A container of the image that ``lab.toml`` names, with a volume, published on loopback.

    The superuser's password is in ``.lab/upstream/container-password`` (mode 600), and in a file
    within the container that only root can read: not in its variables, labels or arguments.
    """

    name: str = "docker"
    owned: bool = True
    identity: str = ""
    database: str = DATABASE

    def __init__(self, workspace: Workspace, config: UpstreamConfig) -> None:
        self.container = Container(workspace.root, STATE, Role.UPSTREAM)
        self._image = config.image
        self._declared_port = config.port
        folder = workspace.private / "upstream"
        self._kept_file = folder / "container.json"
        self._password_file = folder / "container-password"
        self._lock_file = folder / "container.lock"

    def __repr__(self) -> str:
        return f"ContainerProvider({self._image!r})"

    def inspect(self) -> Found:
        """Look, and change nothing.

        Raises
        ------
        PreconditionError
            No engine answers (``docker.missing``).
        """
        found = self.container.inspect()
        folder = self.container.folder()
        runs = found.condition is Condition.RUNNING
        return Found(
            provider=self.name,
            condition=found.condition,
            address=f"{ports.LOOPBACK}:{self._published(found)}" if runs else "",
            started=found.started_at,
            volatile=found.volatile if found.id else "",
            detail=f"{found.image} as {self.container.name} ({found.short_id})"
            if found.id
            else self._image,
            directory=str(folder) if folder else "",
        )

    def start(self, progress: Progress) -> tuple[Step, ...]:
        """Start or adopt the container; one that runs otherwise than declared is made anew.

        Its volume stays. Returns once it lets the lab in.

        Raises
        ------
        PreconditionError
            No engine, no image, a port that is taken, a container or volume of its name that is
            not the lab's.
        ExternalError, LabTimeoutError
            It ends, or does not become ready; the end of its log is shown. Its volume was made
            with another password (``upstream.refused``).
        """
        with exclusive(self._lock_file, "upstream.up", wait_s=_LOCK_WAIT_S):
            found = self.container.inspect()
            self._ensure_password(found)
            plan = self._plan(self._port_of(found))
            write_struct(self._kept_file, Kept(plan.ports[_PORT]))
            stopped = self._stopped_to_be_made_anew(found, plan, progress)
            started = self.container.start(plan, progress, self._lacks, timeout_s=READY_S)
            return (*stopped, *started)

    def stop(self, progress: Progress) -> tuple[Step, ...]:
        """Stop the container; its volume stays."""
        with exclusive(self._lock_file, "upstream.down", wait_s=_LOCK_WAIT_S):
            return self.container.stop(progress, stop_s=_STOP_S)

    def destroy(self, progress: Progress) -> tuple[Step, ...]:
        """Remove the container with its volume, and forget its password and port."""
        with exclusive(self._lock_file, "upstream.down", wait_s=_LOCK_WAIT_S):
            steps = self.container.reset(progress)
            for path in (self._password_file, self._kept_file):
                with explained(path, "removing"):
                    path.unlink(missing_ok=True)
            return steps

    def address(self) -> tuple[str, int]:
        """Return host and port; raises PreconditionError where nothing runs."""
        found = self.container.inspect()
        if found.condition is not Condition.RUNNING:
            raise self._not_running(found)
        return ports.LOOPBACK, self._published(found)

    def connect(self, purpose: str, database: str = "") -> Connection:
        """Open an autocommit connection as the superuser."""
        _, port = self.address()
        try:
            return self._opened(port, purpose, database or self.database)
        except psycopg.OperationalError as error:
            found = self.container.inspect()
            if found.condition is not Condition.RUNNING:
                raise self._not_running(found) from error
            if _WRONG_PASSWORD in str(error):
                raise self._wrong_password(str(error).strip()) from error
            raise refused(error) from error

    def log_tail(self, lines: int) -> str:
        """Return the last ``lines`` lines that the container wrote."""
        return self.container.log_tail(lines)

    def follow_log(self) -> Callable[[], str]:
        """Return what gives the lines written since it was last called."""
        return self.container.follow_log()

    def _stopped_to_be_made_anew(
        self, found: ContainerFound, plan: Plan, progress: Progress
    ) -> tuple[Step, ...]:
        """Stop it where it runs otherwise than planned, once its image is there."""
        if found.condition is not Condition.RUNNING:
            return ()
        if found.image != plan.image:
            with engine.client() as client:
                engine.require_image(client, plan.image, progress)
        if not self.container.differences(plan):
            return ()
        return self.container.stop(progress, stop_s=_STOP_S)

    def _lacks(self) -> str:
        try:
            self._opened(self._kept().port, "upstream.up", MAINTENANCE).close()
        except psycopg.OperationalError as error:
            if _WRONG_PASSWORD in str(error):
                raise self._wrong_password(str(error).strip()) from error
            return first_line(error).rpartition("failed: ")[2].rstrip(".")
        return ""

    def _opened(self, port: int, purpose: str, database: str) -> Connection:
        with explained(self._password_file, "reading"):
            password = self._password_file.read_text(encoding="utf-8").strip()
        return launch.connect(port, database, password, f"ddl-lab {purpose}")

    def _ensure_password(self, found: ContainerFound) -> None:
        """Make a random password before anything is made with it."""
        if found.condition is not Condition.ABSENT and not self._password_file.exists():
            raise self._wrong_password(
                f"The file {self._password_file} is gone, and what the container holds was made"
                " with the password that was in it."
            )
        password = f"{secrets.token_urlsafe(24)}\n".encode()
        create_exclusively(self._password_file, password, mode=0o600)

    def _kept(self) -> Kept:
        return read_struct(self._kept_file, Kept) or Kept()

    def _port_of(self, found: ContainerFound) -> int:
        """Return the declared port, or that of earlier starts, or a free one."""
        return self._declared_port or self._published(found) or ports.choose_free()

    def _published(self, found: ContainerFound) -> int:
        return found.ports.get(_PORT) or self._kept().port

    def _plan(self, port: int) -> Plan:
        settings = [word for pair in _SETTINGS.items() for word in ("-c", "=".join(pair))]
        return Plan(
            image=self._image,
            mount=_MOUNT,
            ports={_PORT: port},
            environment=_ENVIRONMENT,
            command=("postgres", *settings),
            secrets={_PASSWORD: self._password_file},
        )

    def _not_running(self, found: ContainerFound) -> PreconditionError:
        return not_running(f"Its container {self.container.name} is {found.condition.value}.")

    def _wrong_password(self, why: str) -> ExternalError:
        return ExternalError(
            f"The upstream in {self.container.name} does not accept the lab's password.",
            code="upstream.refused",
            why=why,
            remedy=f"Put the password back into {self._password_file}, or take the upstream down"
            " with --destroy, which removes its tables, and bring it up again.",
        )
