"""Idempotent steps: look, apply what differs, look again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from lab.core.errors import LabError, PreconditionError, StateMismatchError
from lab.core.progress import Progress
from lab.core.results import Status, Step


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What a step declares, what is found, and what differs; taken without changing anything.

    ``diff`` holds a line each with a leading ``-`` or ``+``, nothing where all is as declared.
    ``unknown`` says why it cannot be told before earlier steps have been applied. ``obstacle`` is
    the error that applying would end in.
    """

    declared: str
    found: str
    diff: tuple[str, ...] = ()
    unknown: str = ""
    obstacle: LabError | None = None

    @property
    def settled(self) -> bool:
        """Whether there is nothing to do."""
        return not self.diff and not self.unknown and self.obstacle is None


class DeclaredStep(Protocol):
    """One part of what is declared, and how it is brought about."""

    @property
    def name(self) -> str:
        """What the step is called in results and tables."""

    def look(self) -> Look:
        """Compare what is declared with what is. Raises LabError where even that fails."""

    def apply(self, progress: Progress) -> str:
        """Bring about what `look` found missing; return what is worth saying of it."""


class Converged(msgspec.Struct, frozen=True):
    """How each step ended, and the error that stopped them, if one did."""

    steps: tuple[Step, ...]
    error: LabError | None = None

    def require(self) -> tuple[Step, ...]:
        """Return the steps; raise the error where there was one."""
        if self.error is not None:
            raise self.error
        return self.steps


def converge(steps: Sequence[DeclaredStep], *, check: bool, progress: Progress) -> Converged:
    """Bring about ``steps`` in order; after one that fails, the others are skipped.

    Under ``check`` nothing is changed, and each step says what it would do. A step that cannot be
    looked at before an earlier one was applied is skipped then, unless it knows beforehand.
    """
    ended: list[Step] = []
    error: LabError | None = None
    for step in steps:
        if error is not None:
            ended.append(Step(name=step.name, status=Status.SKIPPED, why=_failed_before(ended)))
            continue
        try:
            ended.append(_foresee(step) if check else _bring_about(step, progress))
        except LabError as failure:
            error = failure
            why = f"{failure.what} {failure.why}".rstrip()
            ended.append(Step(name=step.name, status=Status.FAILED, why=why))
    return Converged(tuple(ended), error)


def _failed_before(ended: Sequence[Step]) -> str:
    failed = next(step.name for step in ended if step.status is Status.FAILED)
    return f"the step {failed} failed"


def _foresee(step: DeclaredStep) -> Step:
    look = step.look()
    if look.obstacle is not None:
        raise look.obstacle
    if look.diff:
        return Step(name=step.name, status=Status.WOULD_CHANGE, why=look.found, diff=look.diff)
    if look.unknown:
        return Step(name=step.name, status=Status.SKIPPED, why=look.unknown)
    return Step(name=step.name, status=Status.OK, why=look.found)


def _bring_about(step: DeclaredStep, progress: Progress) -> Step:
    look = step.look()
    if look.obstacle is not None:
        raise look.obstacle
    if look.settled:
        return Step(name=step.name, status=Status.OK, why=look.found)
    if look.unknown:
        raise PreconditionError(
            f"The step {step.name} cannot be looked at.",
            code="step.unreachable",
            why=look.unknown,
            remedy="`lab.status` shows what is there; `lab.up` brings about what comes before.",
        )
    said = step.apply(progress)
    after = step.look()
    if not after.settled:
        raise StateMismatchError(
            f"The step {step.name} was applied, and a second look still finds a difference.",
            code="step.not-converged",
            why=f"Declared: {look.declared}; found: {after.found}. Something else may be at work.",
            remedy="See what else changes it, then run the same command again.",
        )
    return Step(name=step.name, status=Status.CHANGED, why=said or after.found, diff=look.diff)
