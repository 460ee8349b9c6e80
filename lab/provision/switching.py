"""Changing over to another build on the same state."""

from __future__ import annotations

import msgspec

from lab.core.errors import StateMismatchError
from lab.core.progress import Progress
from lab.core.results import Outcome, Status, Step, gravest
from lab.provision.environment import counted, counts_of, foreign, in_short, no_builds, report
from lab.targets.base import OTHER_BUILD, Environment, Launch, Phase


def switch(environment: Environment, build: str, *, check: bool, progress: Progress) -> Outcome:
    """Change over to another build on the same state: stop, start, count the same objects again.

    Raises
    ------
    UsageError
        There is no such build, or the target has only one.
    StateMismatchError
        The lab did not start what runs, or the state is not the same afterwards.
    """
    if environment.builds is None:
        raise no_builds(environment)
    before = environment.inspect()
    if before.phase is Phase.FOREIGN or before.adopted:
        raise foreign(before)
    counts = counts_of(environment) if before.phase is Phase.RUNNING else None
    wanted = Launch(build=build)
    if build not in environment.builds.profiles:
        environment.builds.find(build)
    if check:
        diff = (f"- {before.build or 'nothing runs'}", f"+ {build}")
        why = in_short(before)
        step = Step(name="environment", status=Status.WOULD_CHANGE, why=why, diff=diff)
        return Outcome(status=step.status, steps=(step,), data={"situation": before})
    steps = _change_over(environment, wanted, progress)
    after = counts_of(environment)
    if counts is not None and after != counts:
        raise StateMismatchError(
            "The state is not the same after the change of builds.",
            code="environment.state-changed",
            why=f"User objects before: {counted(counts)}; after: {counted(after)}.",
            remedy="Measure nothing on it before it is known why; `env.logs` shows what was said.",
        )
    same = "the same objects" if counts is not None else counted(after)
    verified = Step(name="state", status=Status.OK, why=f"{same}: {counted(after)}")
    return msgspec.structs.replace(
        report(environment), steps=(*steps, verified), status=gravest(steps)
    )


def _change_over(environment: Environment, wanted: Launch, progress: Progress) -> tuple[Step, ...]:
    """Start ``wanted``; what runs is stopped first, unless it is that build already."""
    try:
        return environment.start(progress, wanted)
    except StateMismatchError as error:
        if error.code != OTHER_BUILD:
            raise
    return (*environment.stop(progress), *environment.start(progress, wanted))
