"""Converging: look, apply, look again; check is true to what then happens."""

from __future__ import annotations

import pytest

from lab.core.errors import ExternalError, PreconditionError, StateMismatchError
from lab.core.progress import Progress, SilentProgress
from lab.core.results import Status
from lab.provision.steps import Converged, Look, converge


class Line:
    """A step that sees to it that a list holds a word, once it holds another one."""

    def __init__(self, lines: list[str], word: str, *, after: str = "", effective: bool = True):
        self.name = word
        self._lines = lines
        self._after = after
        self._effective = effective

    def look(self) -> Look:
        if self._after and self._after not in self._lines:
            return Look(declared=self.name, found="", unknown=f"{self._after} is not there yet")
        if self.name in self._lines:
            return Look(declared=self.name, found=self.name)
        return Look(declared=self.name, found="nothing", diff=(f"+ {self.name}",))

    def apply(self, progress: Progress) -> str:
        if self._effective:
            self._lines.append(self.name)
        return f"wrote {self.name}"


class Broken(Line):
    def apply(self, progress: Progress) -> str:
        raise ExternalError("It broke.", code="test.broken", why="It was brittle.")


def run(*steps: Line, check: bool = False) -> Converged:
    return converge(steps, check=check, progress=SilentProgress())


def statuses(converged: Converged) -> list[Status]:
    return [step.status for step in converged.steps]


def test_a_step_is_applied_once_and_says_so_after_a_second_look() -> None:
    lines: list[str] = []
    first = run(Line(lines, "a"))
    assert [(s.status, s.why, s.diff) for s in first.steps] == [
        (Status.CHANGED, "wrote a", ("+ a",))
    ]
    assert statuses(run(Line(lines, "a"))) == [Status.OK]
    assert lines == ["a"]


def test_check_run_check() -> None:
    lines: list[str] = []
    steps = (Line(lines, "a"), Line(lines, "b"))
    foreseen = run(*steps, check=True)
    assert lines == []
    assert statuses(foreseen) == [Status.WOULD_CHANGE] * 2
    done = run(*steps)
    assert [step.diff for step in done.steps] == [step.diff for step in foreseen.steps]
    assert statuses(run(*steps, check=True)) == [Status.OK] * 2


def test_what_cannot_be_looked_at_yet_is_skipped_under_check_and_done_in_a_run() -> None:
    lines: list[str] = []
    steps = (Line(lines, "a"), Line(lines, "b", after="a"))
    foreseen = run(*steps, check=True)
    assert statuses(foreseen) == [Status.WOULD_CHANGE, Status.SKIPPED]
    assert foreseen.steps[1].why == "a is not there yet"
    assert statuses(run(*steps)) == [Status.CHANGED] * 2
    assert lines == ["a", "b"]


def test_a_step_that_nothing_made_possible_fails() -> None:
    converged = run(Line([], "b", after="a"))
    assert statuses(converged) == [Status.FAILED]
    with pytest.raises(PreconditionError):
        converged.require()


def test_after_a_failure_the_others_are_skipped_and_untouched() -> None:
    lines: list[str] = []
    converged = run(Line(lines, "a"), Broken(lines, "b"), Line(lines, "c"))
    assert statuses(converged) == [Status.CHANGED, Status.FAILED, Status.SKIPPED]
    assert converged.steps[1].why == "It broke. It was brittle."
    assert converged.steps[2].why == "the step b failed"
    assert lines == ["a"]
    with pytest.raises(ExternalError):
        converged.require()


def test_changed_is_not_said_where_the_second_look_finds_no_effect() -> None:
    converged = run(Line([], "a", effective=False))
    assert statuses(converged) == [Status.FAILED]
    assert isinstance(converged.error, StateMismatchError)
    assert converged.error.code == "step.not-converged"


@pytest.mark.parametrize("check", [True, False])
def test_an_obstacle_stops_it_before_anything_is_applied(check: bool) -> None:
    lines: list[str] = []
    step = Line(lines, "a")
    obstacle = StateMismatchError("No.", code="test.obstacle")
    step.look = lambda: Look(declared="a", found="", diff=("+ a",), obstacle=obstacle)  # type: ignore[method-assign]  # a look with an obstacle
    converged = run(step, check=check)
    assert statuses(converged) == [Status.FAILED]
    assert converged.error is obstacle
    assert lines == []
