"""What ``session.measure --check`` says: what would happen, without making it happen."""

from __future__ import annotations

from lab.core.results import Outcome, Status, Step
from lab.measure.plan import foreseen_statements, make_plan
from lab.notebook import evidence
from lab.notebook.append import last_number
from lab.session.context import Context
from lab.session.measuring import settings_of
from lab.session.opening import MeasureOptions, Session
from lab.targets.base import Phase


def foresee_measure(context: Context, session: Session | None, options: MeasureOptions) -> Outcome:
    """Say what `measure` would do now."""
    plan = make_plan(settings_of(context.config, options))
    workload = context.environment.workload(plan.statements)
    situation = context.environment.inspect()
    running = situation.phase is Phase.RUNNING
    number = session.number if session and session.number else _next_number(context)
    least = foreseen_statements(plan, workload.cycles)
    would = Status.WOULD_CHANGE
    steps = [
        Step(
            name="environment",
            status=Status.OK if running else would,
            why=f"{situation.phase.value}{'' if running else '; would be started'}",
        ),
        Step(
            name="measure",
            status=would,
            why=f"{', '.join(plan.statements)}: at least {least:,} statements",
        ),
    ]
    if session is None or session.opening.whole:
        steps.append(Step(name="log", status=would, why=f"session {number} would be appended"))
        steps.append(Step(name="vcs", status=would, why=_recording(context)))
    return Outcome(
        status=Status.WOULD_CHANGE,
        steps=tuple(steps),
        data={"session": number, "statements": plan.statements, "least_statements": least},
    )


def _next_number(context: Context) -> int:
    number = last_number(context.workspace.log) + 1
    while evidence.in_use(context.workspace, number):
        number += 1
    return number


def _recording(context: Context) -> str:
    repository = context.repository()
    if repository is None:
        if context.workspace.is_default:
            return "a repository would be made and the change described"
        return "no version control here"
    return f"the {repository.system} change would be described and a new one begun"
