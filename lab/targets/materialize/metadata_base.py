"""What all metadata stores have in common."""

from __future__ import annotations

import abc
import contextlib
import os
from collections.abc import Iterable

import msgspec
import psycopg

from lab.core.errors import PreconditionError
from lab.core.processes import ProcessIdentity
from lab.core.progress import Progress
from lab.core.results import Step
from lab.servers.connection import Connection
from lab.servers.records import Condition
from lab.targets.materialize import metadata_queries as queries
from lab.targets.materialize.metadata_queries import Session

DATABASE = "materialize"


class StoreFound(msgspec.Struct, frozen=True, kw_only=True):
    """What `MetadataStore.inspect` found.

    ``kind`` is ``embedded``, ``image`` or ``url``; ``url`` is empty where it is not known before
    the first start; ``volatile`` says why what it holds does not last, empty where it does;
    ``process`` is the server's where it is one of this host that the lab started.
    """

    condition: Condition
    kind: str
    url: str = ""
    volatile: str = ""
    detail: str = ""
    process: ProcessIdentity | None = None


class MetadataStore(abc.ABC):
    """Where environmentd keeps consensus, timestamps and what else is not a blob.

    ``owned`` is False for a store that the lab did not make: never stopped, never reset.
    """

    owned: bool = True

    @property
    @abc.abstractmethod
    def url(self) -> str:
        """How environmentd reaches it, without password and query string; see `StoreFound`."""

    @abc.abstractmethod
    def inspect(self) -> StoreFound:
        """Look, and change nothing."""

    @abc.abstractmethod
    def start(self, progress: Progress) -> tuple[Step, ...]:
        """Start or adopt it, and make its database where that is missing."""

    @abc.abstractmethod
    def stop(self, progress: Progress) -> tuple[Step, ...]:
        """Stop it, where the lab started it; what it holds stays."""

    @abc.abstractmethod
    def reset(self, progress: Progress) -> tuple[Step, ...]:
        """Destroy what it holds.

        Raises
        ------
        PreconditionError
            The lab did not make it, and it holds something (``metadata.not-owned``).

        """

    @abc.abstractmethod
    def connect(self, purpose: str) -> Connection:
        """Open an autocommit connection, named ``ddl-lab PURPOSE``, to its database.

        Raises
        ------
        PreconditionError
            It does not answer (``metadata.down``).

        """

    def identity(self, connection: Connection) -> str:
        """Return what tells this store from any other."""
        return queries.identity(connection)

    def sessions(self, connection: Connection) -> tuple[Session, ...]:
        """Return who is at work on it besides the lab."""
        return queries.sessions(connection)

    def is_empty(self, connection: Connection) -> bool:
        """Say whether no environment has written anything into it."""
        return queries.is_empty(connection)

    def ensure_schemas(self) -> tuple[str, ...]:
        """Make the schemas that environmentd expects; return those that were made."""
        with contextlib.closing(self.connect("env.start")) as connection:
            return queries.ensure_schemas(connection)


def named(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Return steps of the store's server under names that say so."""
    return tuple(msgspec.structs.replace(each, name=f"metadata {each.name}") for each in steps)


def down(where: str, why: str, remedy: str) -> PreconditionError:
    """Return the error for a store that does not answer."""
    return PreconditionError(
        f"The metadata store {where} does not answer.",
        code="metadata.down",
        why=why,
        remedy=remedy,
    )


def opened(url: str, database: str, purpose: str) -> Connection:
    """Open an autocommit connection to ``database`` of the server at ``url``.

    No password is given, and no setting of the user's own is used that could let the lab in, but
    not environmentd.

    Raises
    ------
    psycopg.OperationalError
        It does not answer, or wants a password.

    """
    return psycopg.connect(
        url,
        dbname=database,
        hostaddr="",
        password="",
        passfile=f"{os.devnull}/none",  # a name that no file can have
        application_name=f"ddl-lab {purpose}",
        # A server of the encoding SQL_ASCII would otherwise have text arrive as bytes.
        client_encoding="UTF8",
        options="",
        sslmode="prefer",
        target_session_attrs="any",
        connect_timeout=10,
        autocommit=True,
        prepare_threshold=None,
    )
