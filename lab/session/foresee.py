"""What ``--check`` says of a session: what would happen, or the refusal that would come."""

from __future__ import annotations

import contextlib
from typing import Any

from lab.core.results import Outcome, Status, Step, gravest
from lab.measure.foresight import foreseen_readings, readings_text
from lab.measure.plan import foreseen_statements, make_plan
from lab.measure.record import Plan
from lab.provision.failures import explained
from lab.session.batching import foresee_batches
from lab.session.context import Context
from lab.session.measuring import next_number, settings_of, verify
from lab.session.opening import MeasureOptions, Session
from lab.targets.base import Phase, Workload

_WOULD = Status.WOULD_CHANGE
# No change carries it as its session's id: one without any must not be taken for the session's.
_NOT_OPENED = "not-opened"


def foresee_start(
    context: Context, session: Session | None, goal: str, objects: int | None
) -> Outcome:
    """Say what `start` would do now; refuse what it would refuse."""
    steps = _foresee_ready(context, session, objects)
    status = _WOULD if session is None else Status.OK
    steps.append(Step(name="session", status=status, why=goal or "no goal given"))
    return Outcome(status=gravest(steps), steps=tuple(steps))


def foresee_measure(context: Context, session: Session | None, options: MeasureOptions) -> Outcome:
    """Say what `measure` would do now; refuse what it would refuse."""
    steps, data = _foresee_run(context, session, options)
    if session is None or session.opening.whole:
        steps += foresee_recording(context, session)
    return Outcome(
        status=Status.WOULD_CHANGE,
        steps=tuple(steps),
        data={"session": _number(context, session), **data},
    )


def _foresee_run(
    context: Context, session: Session | None, options: MeasureOptions
) -> tuple[list[Step], dict[str, Any]]:
    """Say what the measurement alone would do, as steps and as data; ``session`` may be none."""
    if options.of_batches:
        batches, data = foresee_batches(context, options)
        return [*_foresee_ready(context, session, options.objects), *batches], data
    plan = make_plan(settings_of(context.config, options))
    workload = context.environment.workload(plan.statements)
    steps = _foresee_ready(context, session, options.objects)
    least = foreseen_statements(plan, workload.cycles)
    if context.environment.inspect().phase is Phase.RUNNING:
        steps.append(_foresee_readings(context, plan, workload))
    named = ", ".join(plan.statements)
    why = f"{named}: {least:,} statements or more, in {plan.mode} mode"
    steps.append(Step(name="measure", status=_WOULD, why=why))
    return steps, {"statements": plan.statements, "least_statements": least}


def foresee_unlogged(context: Context, options: MeasureOptions) -> Outcome:
    """Say what batches outside of a session would do now; refuse what would be refused."""
    batches, data = foresee_batches(context, options)
    steps = (*_foresee_environment(context, options.objects), *batches)
    return Outcome(status=_WOULD, steps=steps, data={"session": None, **data})


def foresee_recording(context: Context, session: Session | None) -> list[Step]:
    """Say what finishing would do to log and repository."""
    number = _number(context, session)
    return [
        Step(name="log", status=_WOULD, why=f"session {number} would be appended"),
        Step(name="vcs", status=_WOULD, why=_recording(context)),
    ]


def _foresee_ready(context: Context, session: Session | None, objects: int | None) -> list[Step]:
    """Look as the real command would: the repository first, then the environment."""
    repository = context.repository()
    if repository is not None:
        files = [context.workspace.log, context.workspace.prompt]
        repository.require_ready(session.id if session else _NOT_OPENED, files)
    return _foresee_environment(context, objects)


def _foresee_environment(context: Context, objects: int | None) -> list[Step]:
    situation = context.environment.inspect()
    if situation.phase is not Phase.RUNNING:
        why = f"{situation.phase.value}; would be started and verified"
        return [Step(name="environment", status=_WOULD, why=why)]
    running = Step(name="environment", status=Status.OK, why=f"running at {situation.address}")
    return [running, verify(context, objects)]


def _foresee_readings(context: Context, plan: Plan, workload: Workload) -> Step:
    """Read the counters once, and say what reading them is going to cost."""
    environment = context.environment
    with (
        contextlib.closing(environment.connect("session.measure")) as connection,
        explained(environment),
    ):
        reading = environment.read_metrics(connection, connection.info.backend_pid)
    cost = foreseen_readings(plan, workload.cycles, reading, idle=bool(environment.idle_s))
    return Step(name="counters", status=Status.OK, why=readings_text(cost).rstrip("."))


def _number(context: Context, session: Session | None) -> int:
    if session is not None and session.number is not None:
        return session.number
    return next_number(context)


def _recording(context: Context) -> str:
    repository = context.repository()
    if repository is not None:
        return f"the {repository.system} change would be described and a new one begun"
    if context.workspace.is_default:
        return "a repository would be made and the change described"
    return "no version control here"
