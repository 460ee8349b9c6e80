"""The part of a batch benchmark that varies the number of published tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg

from lab.core.errors import LabError
from lab.core.progress import Progress
from lab.measure.batch_course import BatchCourse, BatchScene, BatchSource, ChangedError, LostError
from lab.measure.batch_ledger import Ledger
from lab.measure.batch_plan import sweep_orders, sweep_tables
from lab.measure.batch_record import BatchPlan
from lab.measure.batch_source import make_ready
from lab.upstream.base import DATABASE


def sweep(
    scene: BatchScene, plan: BatchPlan, cluster: str, ledger: Ledger, progress: Progress
) -> None:
    """Carry out the plan's sweep: each number of tables in an upstream database of its own.

    Databases and sources are removed again, whatever happens. What fails is told and noted: the
    transactions that were carried out before count all the same.
    """
    for published in plan.sweep:
        try:
            _at(scene, plan, published, cluster, ledger, progress)
        except (psycopg.Error, LabError, LostError, ChangedError) as error:
            note = f"the sweep broke off at {published:,} published tables: {_said(error)}"
            ledger.note(note)
            progress.say(f"{note[:1].upper()}{note[1:]}")
            return


def _at(
    scene: BatchScene,
    plan: BatchPlan,
    published: int,
    cluster: str,
    ledger: Ledger,
    progress: Progress,
) -> None:
    with _source(scene, published, cluster, progress) as source:
        used = source.tables[: sweep_tables(plan)]
        make_ready(source.sourcing, scene.observer, used, progress, ledger.note)
        orders = sweep_orders(plan, len(ledger.batches) + 1)
        title = f"{len(orders)} transactions at {published:,} published tables"
        total = sum(order.size for order in orders)
        with (
            closing(BatchCourse(scene, source, ledger, progress)) as course,
            progress.stage(title, total=total, unit="statements") as stage,
        ):
            course.run(orders, stage)


@contextmanager
def _source(
    scene: BatchScene, published: int, cluster: str, progress: Progress
) -> Iterator[BatchSource]:
    """Make a database with so many tables and a source that reads it; remove both afterwards."""
    upstream, environment = scene.upstream, scene.environment
    database = f"{DATABASE}_{published}"
    # What is not ours, or could not be made, is not ours to drop either.
    upstream.claim_database(database)
    try:
        upstream.provision(published, upstream.columns(), progress, database=database)
        tables = tuple(sorted(upstream.published(database=database)))
        link = upstream.link(database=database, name=str(published))
        sourcing = environment.sourcing(link, cluster)
        try:
            sourcing.connect(scene.observer, progress)
            yield BatchSource(sourcing=sourcing, database=database, tables=tables, swept=True)
        finally:
            with closing(environment.connect("observe")) as connection:
                sourcing.disconnect(connection, progress)
    finally:
        upstream.drop_database(database)


def _said(error: Exception) -> str:
    """Return cause and remedy of what broke a sweep off."""
    if isinstance(error, LabError):
        return " ".join(filter(None, (error.what, error.why, error.remedy)))
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"{said}. `upstream.clean` takes away what may be left of it; then measure again."
