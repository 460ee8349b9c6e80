"""A metadata store in a container: Docker's PostgreSQL or CockroachDB image, by name."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import psycopg

from lab.core.files import read_struct, write_struct
from lab.core.locks import exclusive
from lab.core.progress import Progress
from lab.core.results import Status, Step
from lab.core.workspace import Workspace
from lab.servers import engine, ports
from lab.servers.connection import Connection
from lab.servers.container_records import ContainerFound, Plan, Role
from lab.servers.containers import Container
from lab.servers.records import Condition
from lab.targets.materialize import metadata_queries as queries
from lab.targets.materialize.metadata_base import (
    DATABASE,
    MetadataStore,
    StoreFound,
    down,
    named,
    opened,
)

READY_S = 180.0
_LOCK_WAIT_S = 120.0
_STOP_S = 120


class Product(NamedTuple):
    """How the image of a database is started."""

    name: str
    user: str
    port: int
    mount: str
    environment: dict[str, str]
    command: tuple[str, ...]


POSTGRES = Product(
    name="PostgreSQL",
    user="postgres",
    port=5432,
    # A place of its own: where the image's own volume lies depends on its version.
    mount="/var/lib/ddl-lab",
    environment={
        "POSTGRES_HOST_AUTH_METHOD": "trust",
        "POSTGRES_DB": DATABASE,
        "PGDATA": "/var/lib/ddl-lab/data",
    },
    command=("postgres", "-c", "max_connections=300"),
)
COCKROACH = Product(
    name="CockroachDB",
    user="root",
    port=26257,
    mount="/cockroach/cockroach-data",
    environment={},
    command=("start-single-node", "--insecure"),
)


class Kept(msgspec.Struct, frozen=True):
    """``.lab/environments/STATE-metadata-container.json``: how the store is reached, for good."""

    port: int = 0
    user: str = ""


class ContainerStore(MetadataStore):
    """A container of the image that ``lab.toml`` names, with a volume, published on loopback."""

    def __init__(self, workspace: Workspace, state: str, image: str) -> None:
        self.container = Container(workspace.root, state, Role.METADATA)
        self._image = image
        self._kept_file = workspace.environments / f"{state}-metadata-container.json"
        self._lock_file = workspace.environments / f"{state}-metadata.lock"

    def __repr__(self) -> str:
        return f"ContainerStore({self._image!r})"

    @property
    def url(self) -> str:
        """How environmentd reaches it; empty before the first start."""
        kept = self._kept()
        return (
            f"postgres://{kept.user}@{ports.LOOPBACK}:{kept.port}/{DATABASE}" if kept.port else ""
        )

    def inspect(self) -> StoreFound:
        """Look, and change nothing."""
        found = self.container.inspect()
        return StoreFound(
            condition=found.condition,
            kind="image",
            url=self.url,
            volatile=found.volatile,
            detail=" ".join(filter(None, (found.image or self._image, found.image_id[:19]))),
        )

    def start(self, progress: Progress) -> tuple[Step, ...]:
        """Start or adopt the container; make the database where it is missing."""
        with exclusive(self._lock_file, "env.start", wait_s=_LOCK_WAIT_S):
            with engine.client() as client:
                engine.require_image(client, self._image, progress)
            product = self._product()
            port = self._port_of(product, self.container.inspect())
            write_struct(self._kept_file, Kept(port, product.user))
            steps = self.container.start(
                self._plan(product, port), progress, self._lacks, timeout_s=READY_S
            )
            if queries.ensure_database(self._opened, DATABASE):
                made = Step(name="database", status=Status.CHANGED, why=f"made {DATABASE}")
                steps = (*steps, made)
            return named(steps)

    def stop(self, progress: Progress) -> tuple[Step, ...]:
        """Stop the container; its volume stays."""
        with exclusive(self._lock_file, "env.stop", wait_s=_LOCK_WAIT_S):
            return named(self.container.stop(progress, stop_s=_STOP_S))

    def reset(self, progress: Progress) -> tuple[Step, ...]:
        """Remove the container with its volume."""
        with exclusive(self._lock_file, "env.reset", wait_s=_LOCK_WAIT_S):
            return named(self.container.reset(progress))

    def connect(self, purpose: str) -> Connection:
        """Open a connection as the superuser."""
        remedy = "`env.start` starts it together with the environment."
        if not self.url:
            raise down(self.container.name, "It was never started.", remedy)
        try:
            return opened(self.url, DATABASE, purpose)
        except psycopg.OperationalError as error:
            found = self.container.inspect()
            raise down(
                self.container.name,
                f"The container is {found.condition.value}. {str(error).strip()}",
                remedy,
            ) from error

    def _opened(self, database: str) -> Connection:
        return opened(self.url, database, "env.start")

    def _lacks(self) -> str:
        try:
            self._opened(queries.MAINTENANCE).close()
        except psycopg.OperationalError as error:
            return str(error).strip().splitlines()[-1]
        return ""

    def _kept(self) -> Kept:
        return read_struct(self._kept_file, Kept) or Kept()

    def _product(self) -> Product:
        """Tell by the image's name, else by what it starts, which product it holds."""
        if "cockroach" in self._image:
            return COCKROACH
        with engine.client() as client:
            starts = engine.entrypoint(client, self._image)
        return COCKROACH if any("cockroach" in each for each in starts) else POSTGRES

    def _port_of(self, product: Product, found: ContainerFound) -> int:
        """Return the port that is published, that of earlier starts, or a free one."""
        published = found.ports.get(product.port) if found.condition is Condition.RUNNING else None
        return published or self._kept().port or ports.choose_free()

    def _plan(self, product: Product, port: int) -> Plan:
        return Plan(
            image=self._image,
            mount=product.mount,
            ports={product.port: port},
            environment=product.environment,
            command=product.command,
        )
