"""The coordinator: one statement at a time changes the catalog, durably, in the law's time."""

from __future__ import annotations

import dataclasses
import random
import threading
import time
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from standin import errors, log, planning, plans, sourcing
from standin.catalog import Catalog
from standin.control import Control
from standin.costs import Costs
from standin.errors import SqlError
from standin.relations import Relations
from standin.replication import Replication
from standin.statements import Statement
from standin.store import Change, FencedError, Store
from standin.variables import SESSION, SystemVariables

if TYPE_CHECKING:
    from standin.orchestrator import Orchestrator

from standin.behaviour import Behaviour, Law

_CATALOG_REPLICA = "s2"


class ResetError(Exception):
    """The connection is to be reset."""


@dataclasses.dataclass(frozen=True)
class Build:
    """What the binary is."""

    version: str
    commit: str
    profile: str
    soft_assertions: bool
    law: Law
    behaviour: Behaviour

    @property
    def shown(self) -> str:
        """What `mz_version()` says."""
        return f"v{self.version} ({self.commit[:9]})"

    @property
    def number(self) -> int:
        """What `mz_version_num()` says: two digits each for minor and patch."""
        major, minor, patch = (int(part) for part in self.version.split("-")[0].split("."))
        return major * 100_000 + minor * 100 + patch


class Engine:
    """All that connections share."""

    def __init__(self, build: Build, store: Store, costs: Costs, control: Control) -> None:
        self.build = build
        self.store = store
        self.costs = costs
        self.control = control
        self.catalog = Catalog()
        self.relations = Relations()
        self.replication = Replication()
        self.variables = SystemVariables(self.catalog.collections["setting"], {})
        self.environment_id = ""
        self.sizes: list[str] = []
        self.up = threading.Event()
        self.up_since = 0.0
        self.orchestrator: Orchestrator | None = None
        self._coordinator = threading.Lock()
        self._random = random.Random(build.behaviour.seed)

    def load(self, changes: Iterable[Change]) -> None:
        """Take over what the journal says."""
        self.apply(list(changes))

    def apply(self, changes: list[Change]) -> None:
        """Change the catalog in memory."""
        self.catalog.apply(changes)
        self.relations.follow(changes, self.catalog)
        context = plans.Context("mz_system", 0, dict(SESSION), self.sizes, self.variables)
        sourcing.follow(self.replication, changes, self.catalog, context)

    def write(self, changes: list[Change], shards: list[str] | None = None) -> None:
        """Change the catalog, durably; end this process where another has taken over."""
        durable = [change for change in changes if not _temporary(change)]
        try:
            if durable:
                self.store.append(durable, shards)
        except FencedError as fenced:
            log.panic(str(fenced), "src/adapter/src/catalog/transact.rs:1:1")
        self.apply(changes)

    def ddl(
        self, statement: Statement, context: plans.Context, *, at_commit: bool = False
    ) -> list[str]:
        """Carry out a DDL statement by itself, maybe put off to a COMMIT; return the notices.

        Raises
        ------
        SqlError, ResetError
            It failed, or is to seem so.

        """
        with self._coordinator:
            began = time.monotonic()
            if self.control.take("conflicts"):
                raise errors.conflict()
            plan = planning.plan(statement, self.catalog, context)
            kind = kind_of(statement)
            self._carry_out(plan, self._duration(kind), began)
            took = time.monotonic() - began
            self.costs.ddl(kind, took, new_ids=_new_ids(plan), at_commit=at_commit)
            self._end_by_fault()
        self._dawdle()
        return plan.notices

    def dry_run(
        self,
        statement: Statement,
        catalog: Catalog,
        revision: int,
        context: plans.Context,
        *,
        position: int,
    ) -> plans.Plan:
        """Try a statement of a DDL transaction on the transaction's own catalog.

        There are ``position`` others before it.
        """
        with self._coordinator:
            began = time.monotonic()
            if revision != self.catalog.revision or self.control.take("conflicts"):
                raise errors.conflict()
            plan = planning.plan(statement, catalog, context)
            catalog.apply(plan.changes)
            _sleep_until(began + self._duration(kind_of(statement), position))
            took = time.monotonic() - began
            self.costs.dry_run(kind_of(statement), took, new_ids=_new_ids(plan))
        self._dawdle()
        return plan

    def commit(self, tried: list[tuple[str, plans.Plan]], revision: int) -> None:
        """Carry out a DDL transaction."""
        with self._coordinator:
            began = time.monotonic()
            if revision != self.catalog.revision:
                raise errors.conflict()
            whole = plans.Plan()
            for _, plan in tried:
                whole.changes += plan.changes
                whole.shards += plan.shards
            kind = tried[0][0]
            self._carry_out(whole, self._duration(kind), began)
            self.costs.commit(kind, time.monotonic() - began)
            self._end_by_fault()

    def wait_for_catalog_cluster(self, interrupted: threading.Event, timeout_s: float) -> None:
        """Wait as a query on the catalog does.

        Raises
        ------
        SqlError
            57014: cancelled, or too slow for the statement's time-out.

        """
        settings = self.build.behaviour
        began = time.monotonic()
        ready = self.up_since + settings.catalog_cluster_ms / 1000
        answered = max(began, ready) + settings.query_ms / 1000
        while True:
            now = time.monotonic()
            if interrupted.is_set():
                raise SqlError("canceling statement due to user request", "57014")
            if timeout_s and now - began >= timeout_s:
                raise SqlError(
                    "canceling statement due to statement timeout",
                    "57014",
                    hint="Consider increasing the maximum allowed statement duration for this "
                    "session by setting the statement_timeout session variable. For example, "
                    "`SET statement_timeout = '120s'`.",
                )
            alive = self.orchestrator is None or self.orchestrator.alive(_CATALOG_REPLICA)
            if alive and now >= answered:
                return
            wait = answered - now if alive else 0.05
            if timeout_s:
                wait = min(wait, began + timeout_s - now)
            interrupted.wait(min(max(wait, 0.0001), 0.05))

    def _carry_out(self, plan: plans.Plan, seconds: float, began: float) -> None:
        if plan.changes:
            self.write(plan.changes, plan.shards)
            self.store.forget(plan.dropped)
            _sleep_until(began + seconds)

    def _duration(self, kind: str, position: int | None = None) -> float:
        """Return what a statement takes, maybe as one of a DDL transaction."""
        build = self.build
        law = build.law
        seconds = (law.seconds if position is None else partial(law.seconds_at, position))(
            kind,
            self.catalog.user_objects(),
            optimized=build.profile != "debug",
            soft_assertions=build.soft_assertions,
        )
        if build.law.jitter:
            seconds *= max(0.1, self._random.gauss(1.0, build.law.jitter))
        return seconds

    def _dawdle(self) -> None:
        time.sleep((self.control.get("extra_ddl_ms") or 0) / 1000)

    def _end_by_fault(self) -> None:
        if self.control.last("panic_after_ddl"):
            log.panic("assertion failed: a fault that was asked for")
        if self.control.last("halt_after_ddl"):
            log.halt("a halt that was asked for")
        if self.control.last("reset_after_ddl"):
            raise ResetError


def kind_of(statement: Statement) -> str:
    """Return the kind of statement, as laws and costs name it."""
    if statement.verb == "rename":
        return "alter-rename"
    suffix = "-from-source" if "from source" in statement.flags else ""
    return f"{statement.verb} {statement.kind}".replace(" ", "-") + suffix


def _new_ids(plan: plans.Plan) -> int:
    return sum(change[0] == "id_alloc" for change in plan.changes)


def _temporary(change: Change) -> bool:
    collection, _, value = change
    return (
        collection == "item" and value is not None and value["schema"].startswith(plans.TEMPORARY)
    )


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))
