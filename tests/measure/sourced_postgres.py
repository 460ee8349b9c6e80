"""A target with a source: a PostgreSQL of its own, and an upstream whose tables it reads."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from measured_postgres import MeasuredPostgres, served

from lab.core.config import BatchConfig, Config
from lab.core.progress import Progress, SilentProgress, Stage
from lab.core.workspace import Workspace
from lab.measure.batch_plan import make_batch_plan
from lab.measure.batch_record import BatchPlan
from lab.measure.batch_runner import measure_batches
from lab.measure.record import Run
from lab.targets.parts import Sourcing
from lab.upstream.assembly import open_upstream
from lab.upstream.upstream import Upstream

TABLES = 45
CLUSTER = "quickstart"
BATCH_SCHEMA = "ddl_lab_batch"


class Acting:
    """Progress that does something real once so many statements were executed."""

    def __init__(self, at: int = 0, action: Callable[[], object] = bool) -> None:
        self.done = 0
        self.said: list[str] = []
        self.titles: list[tuple[str, int]] = []
        self._at = at
        self._action = action

    def say(self, text: str) -> None:
        self.said.append(text)

    @contextmanager
    def stage(self, title: str, *, total: int, unit: str, growing: bool = False) -> Iterator[Stage]:
        if unit != "statements":
            with SilentProgress().stage(title, total=total, unit=unit) as silent:
                yield silent
            return
        self.titles.append((title, total))
        yield self

    def advance(self, count: int = 1) -> None:
        was, self.done = self.done, self.done + count
        if was < self._at <= self.done:
            self._action()


class Sourced:
    """The target, its upstream with published tables, and a source that reads them."""

    def __init__(self, environment: MeasuredPostgres, upstream: Upstream) -> None:
        self.environment = environment
        self.upstream = upstream

    def prepare(self) -> None:
        self.start_upstream()
        self.upstream.provision(TABLES, Config().upstream.columns, SilentProgress())
        with closing(self.environment.connect("test")) as connection:
            self.sourcing.connect(connection, SilentProgress())

    @property
    def sourcing(self) -> Sourcing:
        found: Sourcing = self.environment.sourcing(self.upstream.link(), CLUSTER)
        return found

    def start_upstream(self) -> None:
        self.upstream.start(SilentProgress())

    def restart_upstream(self) -> None:
        self.upstream.stop(SilentProgress())
        self.start_upstream()

    def on_upstream(self, statement: str) -> None:
        with closing(self.upstream.connect("test")) as connection:
            connection.execute(statement.encode())

    def on_target(self, statement: str) -> None:
        with closing(self.environment.connect("test")) as connection:
            connection.execute(statement.encode())

    def made(self) -> frozenset[int]:
        with closing(self.environment.connect("test")) as connection:
            return self.sourcing.made(connection)

    def measured(self, plan: BatchPlan, progress: Progress | None = None, **more: Any) -> Run:
        return measure_batches(
            self.environment,
            self.upstream,
            CLUSTER,
            plan,
            session=3,
            progress=progress or SilentProgress(),
            **more,
        )


@contextmanager
def sourced() -> Iterator[Sourced]:
    # Not in pytest's folder, which the user that PostgreSQL runs as under root cannot enter.
    directory = Path(tempfile.mkdtemp(prefix="lab-batch-"))
    directory.chmod(0o755)
    upstream = open_upstream(Workspace(directory), Config())
    try:
        with served() as environment:
            made = Sourced(environment, upstream)
            made.prepare()
            yield made
    finally:
        upstream.stop(SilentProgress())
        shutil.rmtree(directory)


def plan_of(
    *sizes: int,
    repetitions: int = 2,
    seed: int = 5,
    statement: str = "import-foreign-table",
    **settings: Any,
) -> BatchPlan:
    config = BatchConfig(sizes=sizes, repetitions=repetitions, **settings)
    return make_batch_plan(config, statement, seed=seed)


def as_written(run: Run) -> Run:
    """Return ``run`` as it is read from its file."""
    return msgspec.json.decode(msgspec.json.encode(run), type=Run)
