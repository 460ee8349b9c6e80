"""Seeding brings a real server to exactly so many objects, whatever was there before."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from provision_support import Watching, seeded

from lab.core.errors import StateMismatchError
from lab.core.results import Status
from lab.servers.connection import Connection
from lab.targets.base import Environment

Total = Callable[[], int]
Execute = Callable[[str], None]
Existing = Callable[..., frozenset[int]]


def statuses(outcome: Any) -> list[Status]:
    return [step.status for step in outcome.steps]


def test_check_run_check_and_the_exact_count(environment: Environment, total: Total) -> None:
    foreseen = seeded(environment, 250, check=True)
    assert statuses(foreseen) == [Status.OK, Status.WOULD_CHANGE]
    assert total() == 0
    done = seeded(environment, 250)
    assert statuses(done) == [Status.OK, Status.CHANGED]
    assert (
        done.steps[1].diff == foreseen.steps[1].diff == ("- 0 user objects", "+ 250 user objects")
    )
    assert total() == 250
    assert statuses(seeded(environment, 250, check=True)) == [Status.OK, Status.OK]
    assert statuses(seeded(environment, 250)) == [Status.OK, Status.OK]


@pytest.mark.parametrize("kind", ["table", "view", "materialized-view", "index"])
def test_every_kind_is_counted_exactly_with_what_it_stands_on(
    environment: Environment, total: Total, existing: Existing, kind: str
) -> None:
    seeded(environment, 120, kind=kind)
    assert total() == 120
    numbers = existing(kind)
    assert numbers == frozenset(range(1, len(numbers) + 1))
    assert len(numbers) >= 119


def test_objects_of_others_count(
    environment: Environment, total: Total, execute: Execute, existing: Existing
) -> None:
    execute("CREATE TABLE public.others AS SELECT 1 AS a")
    seeded(environment, 10)
    assert total() == 10
    assert existing() == frozenset(range(1, 10))


def test_names_are_deterministic_and_holes_are_refilled(
    environment: Environment, execute: Execute, existing: Existing
) -> None:
    seeded(environment, 150)
    scheme = environment.population("table", "lab")
    for number in (1, 77, 150):
        execute(scheme.drop(number))
    assert existing() == frozenset(range(2, 150)) - {77}
    seeded(environment, 149)
    assert existing() == frozenset(range(1, 150))


def test_it_does_not_go_down_unasked(environment: Environment, total: Total) -> None:
    seeded(environment, 30)
    for check in (True, False):
        with pytest.raises(StateMismatchError) as refused:
            seeded(environment, 20, check=check)
        assert refused.value.code == "population.surplus"
        assert "--drop-surplus" in refused.value.remedy
    assert total() == 30


def test_a_surplus_is_dropped_from_the_highest_number(
    environment: Environment, total: Total, execute: Execute, existing: Existing
) -> None:
    execute("CREATE TABLE public.others (a int)")
    seeded(environment, 251)
    foreseen = seeded(environment, 21, drop_surplus=True, check=True)
    assert total() == 251
    done = seeded(environment, 21, drop_surplus=True)
    assert done.steps[1].status is Status.CHANGED
    assert done.steps[1].diff == foreseen.steps[1].diff
    assert total() == 21
    assert existing() == frozenset(range(1, 21))


def test_what_others_made_is_never_dropped(
    environment: Environment, total: Total, execute: Execute
) -> None:
    for number in range(5):
        execute(f"CREATE TABLE public.others_{number} (a int)")
    seeded(environment, 8)
    with pytest.raises(StateMismatchError) as refused:
        seeded(environment, 4, drop_surplus=True)
    assert refused.value.code == "population.not-the-labs"
    assert "at least 5" in refused.value.remedy
    assert total() == 8


def test_a_surplus_of_another_kind_is_not_this_populations(
    environment: Environment, total: Total
) -> None:
    seeded(environment, 6)
    with pytest.raises(StateMismatchError) as refused:
        seeded(environment, 3, kind="view", drop_surplus=True)
    assert refused.value.code == "population.not-the-labs"
    assert total() == 6


def test_ctrl_c_says_how_far_it_came_and_the_next_run_goes_on(
    environment: Environment, total: Total
) -> None:
    def interrupt(done: int) -> None:
        if done >= 200:
            os.kill(os.getpid(), signal.SIGINT)

    progress = Watching(interrupt)
    with pytest.raises(KeyboardInterrupt):
        seeded(environment, 1000, progress)
    reached = total()
    assert 200 <= reached < 1000
    assert any("of 1,000" in said and "goes on" in said for said in progress.said)
    seeded(environment, 1000)
    assert total() == 1000


def test_the_last_string_of_a_killed_command_may_come_through_meanwhile(
    environment: Environment, total: Total
) -> None:
    other: list[Connection] = []

    def take_the_next_names(done: int) -> None:
        if not other:
            other.append(environment.connect("test"))
            scheme = environment.population("table", "lab")
            taken = ";".join(scheme.create(done + number) for number in range(1, 4))
            other[0].execute(taken.encode())

    seeded(environment, 500, Watching(take_the_next_names))
    other[0].close()
    assert total() == 500
