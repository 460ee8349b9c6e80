"""What an upstream is to the layers above: where it runs, how it is reached, what it is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from lab.core.progress import Progress
from lab.core.results import Step
from lab.servers.connection import Connection
from lab.servers.records import Condition

DATABASE = "upstream"
"""The database of an upstream that the lab runs."""

SCHEMA = "public"
PREFIX = "bench_table_"
"""Tables are ``public.bench_table_1`` to ``…_N``."""

PUBLICATION = "ddl_lab"
ROLE = "ddl_lab_source"
"""As whom a source reads the upstream."""

MAINTENANCE = "postgres"
"""The database from which the upstream is watched, so that watching is no part of what is seen."""

DEFAULT_TABLES = 3000
MOST_TABLES = 100_000
"""Published tables in one database; more are refused."""


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """How a database under study reaches one database of the upstream.

    ``name`` is empty for the upstream itself, and tells apart the smaller copies that a sweep over
    the number of published tables reads (``100``). ``tables`` is how many are published.
    """

    host: str
    port: int
    database: str
    password: str
    tables: int
    name: str = ""
    role: str = ROLE
    publication: str = PUBLICATION

    def __repr__(self) -> str:
        place = f"{self.role}@{self.host}:{self.port}/{self.database}"
        return f"Link({place!r}, tables={self.tables}, name={self.name!r})"


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider finds, without changing anything.

    ``address`` is ``host:port``; ``volatile`` says why its data would not outlive a restart, empty
    where they would; ``detail`` adds what a person would want to know (image, pid, why it does not
    answer); ``directory`` is where its data lie, empty where this host cannot see them.
    """

    provider: str
    condition: Condition
    address: str = ""
    started: str = ""
    volatile: str = ""
    detail: str = ""
    directory: str = ""


class Provider(Protocol):
    """Where the upstream's PostgreSQL comes from."""

    name: str
    """``embedded``, ``docker`` or ``url``."""

    owned: bool
    """Whether the lab made it: only then is it stopped, restarted or destroyed."""

    database: str
    """The database that the tables lie in."""

    @property
    def identity(self) -> str:
        """Which server it is, where ``lab.toml`` names it: host:port/database; else empty."""

    def inspect(self) -> Found:
        """Look, and change nothing."""

    def start(self, progress: Progress) -> tuple[Step, ...]:
        """Start or adopt the server. Raises PreconditionError, ExternalError, LabTimeoutError."""

    def stop(self, progress: Progress) -> tuple[Step, ...]:
        """Stop what the lab started; the data stay."""

    def destroy(self, progress: Progress) -> tuple[Step, ...]:
        """Stop it and remove its data. Callers have asked for a confirmation.

        Skipped where the lab did not make it, with what its owner may run instead.
        """

    def address(self) -> tuple[str, int]:
        """Return host and port; raises PreconditionError where nothing runs."""

    def connect(self, purpose: str, database: str = "") -> Connection:
        """Open an autocommit connection as administrator, named ``ddl-lab PURPOSE``.

        To `database`, the provider's own where it is empty. Raises PreconditionError
        (``upstream.not-running``), ExternalError (``upstream.refused``).
        """

    def log_tail(self, lines: int) -> str:
        """Return the last ``lines`` lines of its log; empty where it cannot be seen."""

    def follow_log(self) -> Callable[[], str] | None:
        """Return what gives the lines written since it was last called; None where unseen."""
