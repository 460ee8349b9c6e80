"""One environmentd on one state, as the layers above see it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg

from lab.core.progress import Progress
from lab.core.results import Check, Step
from lab.metrics.reading import Reading
from lab.servers.connection import Connection
from lab.servers.ports import LOOPBACK
from lab.servers.records import Condition
from lab.targets.base import (
    AS_DECLARED,
    Launch,
    ObjectCounts,
    Phase,
    PopulationScheme,
    Situation,
    Trouble,
    Workload,
)
from lab.targets.counting import FIXTURE_SCHEMA
from lab.targets.materialize import (
    checks,
    facts,
    metrics,
    objects,
    population,
    sourcing,
    sql,
    troubles,
    variables,
)
from lab.targets.materialize.profiles import HttpProfiler
from lab.targets.materialize.runs import Found, Runs, fits, named
from lab.targets.parts import Boot, Builds, Profiler, Sourcing, Variable, Variables
from lab.targets.statements import workload
from lab.upstream.base import Link

NAME = "materialize"
IDLE_S = 5.0
"""How long counters are watched at rest: persist works in the background all the time."""


class MaterializeEnvironment:
    """environmentd on one state. Measuring takes place in the database ``materialize``."""

    target: str = NAME
    idle_s: float = IDLE_S

    def __init__(self, server: Runs, state: str, declared_variables: Mapping[str, str]) -> None:
        self.server = server
        self.state = state
        self.builds: Builds | None = server.builds
        self.profiler: Profiler | None = HttpProfiler(server.ports)
        self._system_variables = variables.SystemVariables(
            self._connect_system, declared_variables, server.records.variables
        )
        self.variables: Variables | None = self._system_variables

    def __repr__(self) -> str:
        return f"MaterializeEnvironment({self.server.directory!r})"

    def inspect(self) -> Situation:
        """Look, and change nothing."""
        found = self.server.inspect()
        running = found.condition is Condition.RUNNING
        right = fits(found.build, self.server.declared)
        fit = right and not self.server.misplaced(found)
        phase = Phase(found.condition.value)
        if running and not found.ours and not fit:
            phase = Phase.FOREIGN
        return Situation(
            target=self.target,
            state=self.state,
            phase=phase,
            build=named(found.build) if running else "",
            address=f"{LOOPBACK}:{found.port or self.server.ports.sql}" if running else "",
            directory=self.server.directory,
            process=found.process,
            started=found.started,
            detail=self._detail(found, right),
            drift=self._drift(found, right) if running and found.ours else (),
            adopted=running and not found.ours and fit,
        )

    def start(self, progress: Progress, launch: Launch = AS_DECLARED) -> tuple[Step, ...]:
        """Start or adopt environmentd, on the state as it is."""
        return self.server.start(progress, launch)

    def stop(self, progress: Progress) -> tuple[Step, ...]:
        """Stop what the lab started; the state stays."""
        return self.server.stop(progress)

    def reset(self, progress: Progress) -> tuple[Step, ...]:
        """Destroy the state: metadata and data folder, and the system variables with them."""
        steps = self.server.reset(progress)
        self.server.records.variables.unlink(missing_ok=True)
        return steps

    def alarms(self) -> tuple[str, ...]:
        """Return why what the state is kept in does not last, where it does not."""
        return self.server.alarms()

    def log_tail(self, lines: int) -> str:
        """Return the last ``lines`` lines of the log."""
        return self.server.log_tail(lines)

    def connect(self, purpose: str) -> Connection:
        """Open an autocommit connection as ``materialize``, named ``ddl-lab PURPOSE``."""
        return sql.connect(self.server.ports, purpose)

    def trouble(self, error: psycopg.Error, log: str = "") -> Trouble:
        """Say what kind of failure ``error`` is."""
        return troubles.classify(error, log)

    def boot(self, connection: Connection) -> str:
        """Return pid and start time of environmentd."""
        return self.server.boot()

    def boots(self) -> tuple[Boot, ...]:
        """Return what is known of its starts, newest first."""
        return self.server.records.boots()

    def await_return(self, progress: Progress) -> bool:
        """Wait for an environmentd that halted and that is launched anew."""
        progress.say("environmentd went away; waiting for it to come back …")
        return self.server.comes_back(progress)

    def make_room(self, error: psycopg.Error, objects: int) -> tuple[Variable, Variable] | None:
        """Raise the limit that ``error`` names, so that ``objects`` fit."""
        return self._system_variables.make_room(error, objects)

    def count_objects(self, connection: Connection) -> ObjectCounts:
        """Count user objects exactly."""
        return objects.count(connection)

    def verify(self, expected_objects: int | None) -> tuple[Check, ...]:
        """Prove that the environment can be measured."""
        return checks.verify(self.server, self.variables, expected_objects)

    def facts(self, connection: Connection) -> Mapping[str, str]:
        """Return build, system variables, metadata and state: what must be alike, and more."""
        found = self.server.inspect()
        row = connection.execute("SELECT mz_version()").fetchone()
        with contextlib.closing(self._connect_system("observe")) as system:
            of_variables = facts.variable_facts(system, self._recorded())
        return {
            **facts.build_facts(
                found.build, str(row[0]) if row else "", self_checks=found.self_checks
            ),
            **self.server.store_facts(),
            **of_variables,
            "state.id": f"{self.state}/{self.server.state_id}",
        }

    def settle(self, connection: Connection) -> None:
        """Do nothing: environmentd's counters are always current."""

    def read_metrics(self, connection: Connection, subject: int) -> Reading:
        """Read the wanted families off the metrics page."""
        return metrics.read(self._metrics_url, self.server.boot())

    def browse_metrics(self, connection: Connection, match: str) -> Reading:
        """Read all series whose name contains ``match``."""
        return metrics.browse(self._metrics_url, self.server.boot(), match)

    def save_metrics(self, connection: Connection, path: Path) -> int:
        """Write the whole metrics page to ``path``."""
        return metrics.save(self._metrics_url, path)

    def sourcing(self, link: Link, cluster: str) -> Sourcing:
        """Return how tables are made from the upstream by a source in ``cluster``."""
        return sourcing.SourceSourcing(link, cluster, self._system_variables)

    def workload(self, statements: Sequence[str]) -> Workload:
        """Return how to measure ``statements``."""
        return workload("Materialize", f"{sql.DATABASE}.{FIXTURE_SCHEMA}", statements)

    def population(self, kind: str, schema: str) -> PopulationScheme:
        """Return how objects of ``kind`` are seeded into ``schema``."""
        return population.scheme(kind, schema)

    @property
    def _metrics_url(self) -> str:
        return f"http://{LOOPBACK}:{self.server.ports.internal_http}/metrics"

    def _connect_system(self, purpose: str) -> Connection:
        return sql.connect(self.server.ports, purpose, role=sql.SYSTEM)

    def _recorded(self) -> Mapping[str, str]:
        return self._system_variables.expected()

    def _detail(self, found: Found, right: bool) -> str:
        if found.left:
            pids = ", ".join(str(each.identity.pid) for each in found.left)
            return f"clusterd of an earlier start is left over (pid {pids})"
        if found.starting:
            pids = ", ".join(str(each.identity.pid) for each in found.starting)
            return f"an earlier start is under way (pid {pids}); `env.start` waits for it"
        if found.condition is Condition.CRASHED:
            return "environmentd did not end by the lab's doing"
        misplaced = self.server.misplaced(found)
        if not found.boot or (found.ours and not misplaced):
            return ""
        if misplaced:
            return f"environmentd runs on this state {misplaced}"
        if right:
            return "adopted: the lab did not start it, measures it, and will not stop it"
        return f"somebody else runs {named(found.build)} on this state"

    def _drift(self, found: Found, right: bool) -> tuple[str, ...]:
        lines: tuple[str, ...] = ()
        if not right:
            lines += (f"- build {named(found.build)}", f"+ build {self.server.declared}")
        if found.port not in (0, self.server.ports.sql):
            lines += (f"- SQL on port {found.port}", f"+ SQL on port {self.server.ports.sql}")
        if found.asked_checks is False:
            lines += ("- started without self-checks", "+ started with self-checks")
        return lines + self.server.drift(found)
