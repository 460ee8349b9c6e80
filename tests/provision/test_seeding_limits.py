"""Seeding gets over limits, restarts and lost connections, and may be given a quicker server."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest
from lab_on_materialize import Lab, lab_on_materialize
from materialize_driver import standin_only
from provision_support import Watching, seeded

from lab.core.errors import ExternalError, UsageError
from lab.core.progress import SilentProgress
from lab.core.results import Outcome, Status
from lab.provision.quicker import offer
from lab.targets.base import SELF_CHECKS, Environment
from lab.targets.parts import Variables

QUIET = SilentProgress()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with lab_on_materialize() as made:
        made.environment.start(QUIET)
        yield made


@pytest.fixture
def environment(lab: Lab) -> Iterator[Environment]:
    """The shared environment, running and without limits or faults of another test."""
    lab.environment.start(QUIET)
    yield lab.environment
    lab.driver.faults()
    for name in ("max_tables", "max_objects_per_schema"):
        variables_of(lab.environment).set(name, None, by="env.set")


def variables_of(environment: Environment) -> Variables:
    assert environment.variables is not None
    return environment.variables


def total(environment: Environment) -> int:
    with contextlib.closing(environment.connect("test")) as connection:
        return environment.count_objects(connection).total


def self_checks(environment: Environment) -> str:
    with contextlib.closing(environment.connect("test")) as connection:
        return environment.facts(connection)[SELF_CHECKS]


def population(outcome: Outcome) -> str:
    (step,) = (step for step in outcome.steps if step.name == "population")
    assert step.status is Status.CHANGED
    return step.why


def test_each_limit_is_raised_once_when_it_is_met_and_said_and_recorded(
    environment: Environment,
) -> None:
    variables = variables_of(environment)
    there = total(environment)
    variables.set("max_tables", str(there + 5), by="env.set")
    variables.set("max_objects_per_schema", str(there + 10), by="env.set")
    known = len(variables.changes())
    progress = Watching()
    why = population(seeded(environment, there + 30, progress))
    assert total(environment) == there + 30
    raised = variables.changes()[known:]
    assert [change.name for change in raised] == ["max_tables", "max_objects_per_schema"]
    assert {change.by for change in raised} == {"lab.seed"}
    assert why.startswith("made 30 ")
    for change in raised:
        said = f"raised {change.name} {change.before} → {change.after}"
        assert said in why
        assert any(said in line for line in progress.said)
    assert variables.expected()["max_tables"] == raised[0].after


def test_nothing_is_raised_in_vain(environment: Environment) -> None:
    variables = variables_of(environment)
    there = total(environment)
    variables.set("max_tables", str(there + 10), by="env.set")
    known = variables.changes()
    seeded(environment, there + 10)
    assert variables.changes() == known


def test_a_limit_that_stays_in_the_way_is_an_error(environment: Environment) -> None:
    variables = variables_of(environment)
    there = total(environment)

    def lower(done: int) -> None:
        if done % 10 == 0:
            variables.set("max_tables", str(there + done), by="test")

    with pytest.raises(ExternalError) as limited:
        seeded(environment, there + 100, Watching(lower))
    assert limited.value.code == "population.limit"
    assert f"Reached {there + 20} user objects" in limited.value.what
    assert "raised max_tables" in limited.value.why


@standin_only
@pytest.mark.parametrize("fault", ["halt_after_ddl", "reset_after_ddl"])
def test_a_server_that_comes_back_is_waited_for_and_the_count_is_exact(
    lab: Lab, environment: Environment, fault: str
) -> None:
    there = total(environment)
    lab.driver.faults(**{fault: 7})
    assert population(seeded(environment, there + 20)).startswith("made 20 ")
    assert total(environment) == there + 20


def test_the_quick_server_is_gone_when_the_task_ends(environment: Environment) -> None:
    there = total(environment)
    during: list[str] = []

    def watch(done: int) -> None:
        if done == 5:
            during.append(self_checks(environment))

    foreseen = seeded(environment, there + 10, self_checks=False, check=True)
    assert [step.status for step in foreseen.steps] == [Status.WOULD_CHANGE] * 3
    assert self_checks(environment) == "on"
    done = seeded(environment, there + 10, Watching(watch), self_checks=False)
    assert [step.name for step in done.steps] == ["quick server", "population", "usual server"]
    assert during == ["off"]
    assert self_checks(environment) == "on"
    assert total(environment) == there + 10
    process = environment.inspect().process
    again = seeded(environment, there + 10, self_checks=False)
    assert [step.status for step in again.steps] == [Status.OK]
    assert environment.inspect().process == process


def test_an_interrupted_quick_server_is_told_and_brought_back_by_up(
    lab: Lab, environment: Environment
) -> None:
    there = total(environment)

    def interrupt(done: int) -> None:
        if done == 5:
            os.kill(os.getpid(), signal.SIGINT)

    progress = Watching(interrupt)
    with pytest.raises(KeyboardInterrupt):
        seeded(environment, there + 50, progress, self_checks=False)
    assert any("`lab.up`" in line for line in progress.said)
    assert self_checks(environment) == "off"
    assert [check.name for check in environment.verify(None) if not check.passed][:1]
    resumed = seeded(environment, there + 20, self_checks=False)
    assert resumed.steps[0].why == "runs so already"
    assert self_checks(environment) == "on"
    assert not environment.inspect().drift


def test_the_offer_names_flags_and_an_estimate_only_where_it_is_worth_it(
    environment: Environment,
) -> None:
    progress = Watching()
    with contextlib.closing(environment.connect("test")) as connection:
        assert offer(environment, connection, 200, progress) is None
        said_at_first = offer(environment, connection, 5000, progress)
    assert said_at_first is not None
    said_at_first(0.001, 4980)
    assert progress.said == []
    said_at_first(0.2, 4980)
    assert "`--no-self-checks`" in progress.said[0]
    assert "16 min 36 s" in progress.said[0]


def test_another_build_seeds_and_the_former_one_is_back(environment: Environment) -> None:
    with pytest.raises(UsageError):
        seeded(environment, total(environment) + 1, by="optimized")
    assert environment.builds is not None
    environment.builds.make("optimized", QUIET)
    before = environment.inspect().build
    there = total(environment)
    during: list[str] = []

    def watch(done: int) -> None:
        if done == 5:
            during.append(environment.inspect().build)

    done = seeded(environment, there + 10, Watching(watch), by="optimized")
    assert "optimized" in during[0]
    assert environment.inspect().build == before
    assert done.data["by"] == "optimized"
    assert total(environment) == there + 10
