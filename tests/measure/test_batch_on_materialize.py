"""Batch benchmarks of the other target, on the stand-in: sessions upstream, limits, conflicts."""

from __future__ import annotations

from contextlib import closing

import pytest
from lab_on_materialize import lab_on_materialize
from measured_postgres import Altered
from sourced_postgres import CLUSTER, Acting, plan_of

from lab.core.config import Config
from lab.core.progress import SilentProgress
from lab.core.workspace import Workspace
from lab.measure.analysis import analyse
from lab.measure.batch_plan import orders
from lab.measure.batch_runner import measure_batches
from lab.upstream.assembly import open_upstream

QUIET = SilentProgress()
STATEMENT = "create-table-from-source"


@pytest.fixture(scope="module")
def both():
    with lab_on_materialize() as (driver, environment):
        upstream = open_upstream(Workspace(driver.directory), Config())
        try:
            upstream.start(QUIET)
            upstream.provision(12, Config().upstream.columns, QUIET)
            environment.start(QUIET)
            with closing(environment.connect("test")) as connection:
                environment.sourcing(upstream.link(), CLUSTER).connect(connection, QUIET)
            yield environment, upstream
        finally:
            upstream.stop(QUIET)


def measured(both, progress=QUIET, sizes=(1, 5), repetitions=2, **more):
    environment, upstream = both
    plan = plan_of(*sizes, repetitions=repetitions, statement=STATEMENT, **more)
    return measure_batches(environment, upstream, CLUSTER, plan, session=1, progress=progress)


def made(both):
    environment, upstream = both
    with closing(environment.connect("test")) as connection:
        return environment.sourcing(upstream.link(), CLUSTER).made(connection)


def test_what_a_session_upstream_takes_is_in_the_tree(both):
    run = measured(both)
    assert run.void == ""
    assert all(batch.counts for batch in run.batch.batches)
    assert run.batch.idle is not None
    found = analyse(run, None)
    assert found.batch.connections == pytest.approx(1)
    (cost,) = found.costs
    upstream = next(node for node in cost.tree if node.label.startswith("upstream"))
    assert upstream.calls == pytest.approx(1)
    asked = {node.label: node.calls for node in upstream.children}
    assert asked["publication"] >= 1
    assert "round trips (from the probe)" in asked
    # What was never asked is not shown.
    assert min(asked.values()) > 0
    assert {shape.label for shape in found.batch.shapes} <= asked.keys()
    assert sum(node.ns for node in upstream.children) < upstream.ns < cost.client_ns
    dry = next(each for node in cost.tree for each in node.children if each.label == "dry run")
    assert dry.calls == pytest.approx(1)
    assert found.readings.bytes > 0
    assert made(both) == frozenset()


def test_a_limit_that_is_reached_inside_a_transaction(both):
    environment, upstream = both
    plan = plan_of(1, 5, statement=STATEMENT)
    hit = [order for order in orders(plan) if order.size == 5][-1]
    most = hit.first + 1
    # As where the limit is lowered once room was made.
    sourcing = environment.sourcing(upstream.link(), CLUSTER)
    unprepared = Altered(sourcing, make_room=lambda tables: ())
    environment.variables.set("max_tables", str(most), by="test")
    run = measured((Altered(environment, sourcing=lambda link, cluster: unprepared), upstream))
    assert run.void == ""
    failed = run.batch.batches[hit.index - 1]
    assert failed.failed_at == 3
    assert failed.error.startswith("53000 ")
    assert all(batch.counts for batch in run.batch.batches if batch.index != hit.index)
    raised = f"max_tables was raised on the way, from {most}"
    assert any(note.startswith(raised) for note in run.batch.notes)
    assert made(both) == frozenset()


def test_ddl_of_another_session_in_the_middle_of_a_transaction(both):
    environment, _ = both
    plan = plan_of(1, 5, statement=STATEMENT)
    hit = next(order for order in orders(plan) if order.size == 5)
    before = sum(order.size for order in orders(plan) if order.index < hit.index)

    def other_ddl():
        with closing(environment.connect("test")) as connection:
            connection.execute(b"CREATE TABLE in_between (a int)")
            connection.execute(b"DROP TABLE in_between")

    progress = Acting(before + 2, other_ddl)
    run = measured(both, progress)
    failed = run.batch.batches[hit.index - 1]
    assert failed.failed_at == 3
    assert failed.error.startswith("40001 ")
    assert all(batch.counts for batch in run.batch.batches if batch.index != hit.index)
    assert len([text for text in progress.said if "failed at statement 3" in text]) == 1
    assert run.void == ""


def test_an_upstream_that_is_restarted_before_commit(both):
    _, upstream = both

    def restart():
        upstream.stop(QUIET)
        upstream.start(QUIET)

    progress = Acting(3, restart)
    run = measured(both, progress, sizes=(3,))
    hit, other = run.batch.batches
    # Nothing fails, since COMMIT asks the upstream nothing; what it counted is lost all the same.
    assert (hit.error, hit.void) == ("", "the upstream was lost, or restarted")
    assert any("does not count: the upstream was lost" in text for text in progress.said)
    assert other.counts
    assert run.void == ""
