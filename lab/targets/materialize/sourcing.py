"""Tables made from a source: secret, connection and source, and what the catalog says of them."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import psycopg

from lab.core.errors import LabError, LabTimeoutError
from lab.core.killpoints import reached
from lab.core.progress import Progress
from lab.core.results import Status, Step
from lab.servers.connection import Connection
from lab.targets import sourcing as common
from lab.targets.changes import SOURCING
from lab.targets.diagnosis import REFUSED, diagnose
from lab.targets.materialize import objects, source_catalog, troubles
from lab.targets.materialize.source_catalog import CONNECTION, SECRET, SOURCE, Found
from lab.targets.materialize.sql import DATABASE
from lab.targets.materialize.variables import SystemVariables
from lab.targets.parts import SourceState, Variable
from lab.targets.sourcing import identifier, literal
from lab.upstream.base import PREFIX, SCHEMA, Link

FLAG = "enable_create_table_from_source"
REFERENCES_S = 60.0
RECOVERY_S = 15.0
"""For how long a source that is stalled may take to go on by itself: it tries every few seconds."""
_PAUSE_S = 0.5
_ON = ("on", "true")


class SourceSourcing:
    """Tables from the source that reads ``link``; see `lab.targets.parts.Sourcing`."""

    statement: str = "create-table-from-source"
    product: str = "Materialize: CREATE TABLE … FROM SOURCE"
    needs: str = "a new connection and two free replication slots for each statement"
    warm_up: tuple[str, ...] = ()

    def __init__(self, link: Link, cluster: str, variables: SystemVariables) -> None:
        self._link = link
        self.cluster = cluster
        self._variables = variables
        self._schemas = common.schemas(link.name)

    def __repr__(self) -> str:
        return f"SourceSourcing({self._link!r}, {self.cluster!r})"

    def look(self, connection: Connection) -> tuple[str, ...]:
        """Compare with what is declared what the catalog says, the source's references included."""
        (flag,) = self._variables.read((FLAG,))
        lines: tuple[str, ...] = ()
        if flag.value not in _ON:
            lines = (f"- {FLAG} = {flag.value}", f"+ {FLAG} = on")
        found = self._found(connection)
        lines += self._missing(found) + self._elsewhere(found)
        if found.source is not None:
            seen = source_catalog.references(connection, found.source.id)
            lines += common.reference_differences(seen, self._link.tables)
        return lines

    def connect(self, connection: Connection, progress: Progress) -> tuple[Step, ...]:
        """Make what is missing, and make anew what is other than declared and has no tables."""
        room = self._prepared(connection)
        found = self._found(connection)
        unfit = self._unfit(connection, found, progress)
        if unfit:
            self._require_free(connection, found, unfit)
            progress.say("Making the source anew …")
            self._drop_source(connection, found)
            found = self._found(connection)
        missing = self._missing(found)
        self._make(connection, found, progress)
        made = Step(
            name="source",
            status=Status.CHANGED if unfit or missing else Status.OK,
            why=f"{self._schemas.upstream}.{SOURCE} reads {self._place}",
            diff=unfit + missing,
        )
        return (room, made, self._agreed(connection, progress))

    def disconnect(self, connection: Connection, progress: Progress) -> tuple[Step, ...]:
        """Drop the tables and their schema, then source, connection, secret and their schema."""
        found = self._found(connection)
        tables = 0
        if self._schemas.batch in found.schemas:
            tables = len(self.made(connection))
            progress.say(f"Dropping {tables:,} tables …")
            self._run(connection, f"DROP SCHEMA {self._batch} CASCADE")
        self._drop_source(connection, found)
        if self._schemas.upstream in found.schemas:
            self._run(connection, f"DROP SCHEMA {self._own}")
        return (
            Step(
                name="tables",
                status=Status.CHANGED if tables else Status.OK,
                why=f"dropped {tables:,}",
            ),
            Step(
                name="source",
                status=Status.CHANGED if found.schemas else Status.OK,
                why=f"dropped {self._schemas.upstream}" if found.schemas else "there is none",
            ),
        )

    def references(self, connection: Connection) -> frozenset[int]:
        """Return the tables that the source knows of: those of when it last looked."""
        source = self._found(connection).source
        if source is None:
            raise common.missing()
        return source_catalog.references(connection, source.id)

    def state(self, connection: Connection) -> SourceState:
        """Return the source's status; ``created`` until the first table is made from it."""
        source = self._found(connection).source
        if source is None:
            return SourceState(common.MISSING)
        return source_catalog.status(connection, source.id)

    def made(self, connection: Connection) -> frozenset[int]:
        """Return the numbers of the tables that are made."""
        return common.numbers(objects.names(connection, self._schemas.batch, "table"))

    def drop_tables(self, connection: Connection, progress: Progress) -> int:
        """Drop all tables with their schema in one statement, and make the schema anew."""
        found = self._found(connection)
        dropped = 0
        if self._schemas.batch in found.schemas:
            dropped = len(self.made(connection))
            if not dropped:
                return 0
            progress.say(f"Dropping {dropped:,} tables …")
            self._run(connection, f"DROP SCHEMA {self._batch} CASCADE")
            reached("upstream.clean.schema:before")
        self._run(connection, f"CREATE SCHEMA {self._batch}")
        return dropped

    def create(self, number: int) -> str:
        """Return the statement that makes table ``number``."""
        return (
            f"CREATE TABLE {self._batch}.{PREFIX}{number}"
            f" FROM SOURCE {self._own}.{SOURCE} (REFERENCE {SCHEMA}.{PREFIX}{number})"
        )

    def make_room(self, tables: int) -> tuple[tuple[Variable, Variable], ...]:
        """Raise the limits so that ``tables`` more fit, for good: limits change no latency."""
        with contextlib.closing(self._variables.connect(SOURCING)) as connection:
            counts = source_catalog.counts(connection)
            in_schema = len(objects.names(connection, self._schemas.batch, "table"))
            found = self._found(connection)
        needed = {
            "max_tables": counts.get("table", 0) + tables,
            "max_sources": counts.get("source", 0) + 1,
            "max_secrets": counts.get("secret", 0) + 1,
            "max_postgres_connections": counts.get("connection", 0) + 1,
            "max_objects_per_schema": in_schema + tables,
            "max_schemas_per_database": found.all_schemas + 2,
        }
        return self._variables.make_room_for(needed, by=SOURCING)

    def diagnose(self, error: str) -> LabError | None:
        """Say what an error means and what to do; None where unknown."""
        return diagnose(error, troubles.MEANINGS)

    @property
    def _place(self) -> str:
        link = self._link
        return f"{link.publication} of {link.host}:{link.port}, database {link.database}"

    @property
    def _own(self) -> str:
        return f"{DATABASE}.{identifier(self._schemas.upstream)}"

    @property
    def _batch(self) -> str:
        return f"{DATABASE}.{identifier(self._schemas.batch)}"

    def _found(self, connection: Connection) -> Found:
        return source_catalog.find(connection, self._schemas)

    def _missing(self, found: Found) -> tuple[str, ...]:
        wanted = (self._schemas.upstream, self._schemas.batch)
        lines = tuple(f"+ schema {each}" for each in wanted if each not in found.schemas)
        if not found.secret:
            lines += (f"+ secret {self._schemas.upstream}.{SECRET}",)
        if found.connection is None:
            lines += (f"+ connection {self._schemas.upstream}.{CONNECTION}",)
        if found.source is None:
            lines += (f"+ source {self._schemas.upstream}.{SOURCE} in {self.cluster}",)
        return lines

    def _elsewhere(self, found: Found) -> tuple[str, ...]:
        """Return in what connection and source are other than declared."""
        link = self._link
        lines: tuple[str, ...] = ()
        if found.connection is not None:
            declared = {"host": link.host, "port": str(link.port), "database": link.database}
            lines = common.unlike(found.connection, {**declared, "user": link.role})
        if found.source is not None:
            lines += common.unlike(
                {"cluster": found.source.cluster, "publication": found.source.publication},
                {"cluster": self.cluster, "publication": link.publication},
            )
        return lines

    def _prepared(self, connection: Connection) -> Step:
        """Let tables be made from sources, and make room for a source."""
        (flag,) = self._variables.read((FLAG,))
        raised = self.make_room(0)
        if flag.value not in _ON:
            raised = (self._variables.set(FLAG, "true", by=SOURCING), *raised)
        return Step(
            name="variables",
            status=Status.CHANGED if raised else Status.OK,
            why=f"{FLAG} is on",
            diff=tuple(
                line
                for before, after in raised
                for line in (
                    f"- {before.name} = {before.value}",
                    f"+ {after.name} = {after.value}",
                )
            ),
        )

    def _unfit(self, connection: Connection, found: Found, progress: Progress) -> tuple[str, ...]:
        """Return why what is there has to be made anew, if it has."""
        lines = self._elsewhere(found)
        if lines or found.source is None:
            return lines
        try:
            self._run(connection, f"VALIDATE CONNECTION {self._own}.{CONNECTION}")
        except LabError as error:
            if error.code != REFUSED.code:
                raise
            return ("- password of an earlier upstream", "+ password of the upstream")
        state = self._settled(connection, found.source.id, progress)
        if state.name != common.STALLED:
            return ()
        if source_catalog.tables(connection, found.source.id):
            raise common.stalled(state.error)
        return (f"- source stalled: {state.error}", "+ source that runs")

    def _settled(self, connection: Connection, source: str, progress: Progress) -> SourceState:
        """Wait a little for a source that is stalled: it goes on where the upstream is back."""
        deadline = time.monotonic() + RECOVERY_S
        state = source_catalog.status(connection, source)
        if state.name == common.STALLED:
            progress.say("The source is stalled; waiting for it to go on …")
        while state.name == common.STALLED and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)
            state = source_catalog.status(connection, source)
        return state

    def _require_free(self, connection: Connection, found: Found, lines: tuple[str, ...]) -> None:
        hanging = source_catalog.tables(connection, found.source.id) if found.source else 0
        if hanging:
            raise common.tables_hang(lines, hanging)

    def _make(self, connection: Connection, found: Found, progress: Progress) -> None:
        for schema in (self._schemas.upstream, self._schemas.batch):
            if schema not in found.schemas:
                self._run(connection, f"CREATE SCHEMA {DATABASE}.{identifier(schema)}")
        if found.connection is None:
            self._make_connection(connection, found)
        if found.source is None:
            progress.say(f"Making a source that reads {self._place} …")
            reached("upstream.connect.source:before")
            self._run(
                connection,
                f"CREATE SOURCE {self._own}.{SOURCE} IN CLUSTER {identifier(self.cluster)}"
                f" FROM POSTGRES CONNECTION {self._own}.{CONNECTION}"
                f" (PUBLICATION {literal(self._link.publication)})",
            )
            reached("upstream.connect.source:after")

    def _make_connection(self, connection: Connection, found: Found) -> None:
        # A secret that is left over alone may hold the password of an earlier upstream.
        if found.secret:
            self._run(connection, f"DROP SECRET {self._own}.{SECRET}")
        password = literal(self._link.password)
        self._run(connection, f"CREATE SECRET {self._own}.{SECRET} AS {password}")
        reached("upstream.connect.connection:before")
        self._run(
            connection,
            f"CREATE CONNECTION {self._own}.{CONNECTION} TO POSTGRES ("
            f"HOST {literal(self._link.host)}, PORT {self._link.port},"
            f" DATABASE {literal(self._link.database)}, USER {literal(self._link.role)},"
            f" PASSWORD SECRET {self._own}.{SECRET})",
        )

    def _drop_source(self, connection: Connection, found: Found) -> None:
        """Drop source, connection and secret, as far as they are there."""
        if found.source is not None:
            self._run(connection, f"DROP SOURCE {self._own}.{SOURCE}")
        if found.connection is not None:
            self._run(connection, f"DROP CONNECTION {self._own}.{CONNECTION}")
        if found.secret:
            self._run(connection, f"DROP SECRET {self._own}.{SECRET}")

    def _agreed(self, connection: Connection, progress: Progress) -> Step:
        """Bring about that the source knows the tables that are published."""
        seen = self._awaited(connection, progress)
        lines = common.reference_differences(seen, self._link.tables)
        if not lines:
            why = f"{len(seen):,} tables can be read"
            return Step(name="references", status=Status.OK, why=why)
        progress.say("The publication has changed: the source looks again …")
        self._run(connection, f"ALTER SOURCE {self._own}.{SOURCE} REFRESH REFERENCES")
        seen = self.references(connection)
        left = common.reference_differences(seen, self._link.tables)
        if left:
            raise common.other_references(
                left, "`upstream.status` shows what is published; `upstream.up` brings it about."
            )
        why = f"{len(seen):,} tables can be read"
        return Step(name="references", status=Status.CHANGED, why=why, diff=lines)

    def _awaited(self, connection: Connection, progress: Progress) -> frozenset[int]:
        """Wait until the source knows of any tables: seen to be so at once."""
        deadline = time.monotonic() + REFERENCES_S
        told = False
        while not (seen := self.references(connection)) and self._link.tables:
            if time.monotonic() > deadline:
                raise LabTimeoutError(
                    f"The source saw no table within {REFERENCES_S:.0f} s.",
                    code="source.references",
                    why=f"The upstream publishes {self._link.tables:,}.",
                    remedy="`upstream.verify` shows what is published, `env.logs` what the server"
                    " says.",
                )
            if not told:
                progress.say("Waiting until the source knows the upstream's tables …")
                told = True
            time.sleep(_PAUSE_S)
        return seen

    def _run(self, connection: Connection, statement: str) -> psycopg.Cursor[tuple[Any, ...]]:
        return common.execute(
            connection, statement, self._link, classify=troubles.classify, diagnose=self.diagnose
        )
