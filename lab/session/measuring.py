"""From an open session to a run that is written as evidence."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from lab.core.config import Config, MeasureConfig
from lab.core.errors import StateMismatchError
from lab.core.files import explained
from lab.core.results import Status, Step
from lab.measure.findings import Analysis
from lab.measure.plan import make_plan
from lab.measure.record import Run
from lab.notebook import evidence
from lab.notebook.append import last_number
from lab.notebook.compose import measure_files
from lab.provision.environment import EnvironmentStep, remedies
from lab.provision.steps import converge
from lab.provision.variables import restore_for_session
from lab.session.context import Context
from lab.session.notes import adopt_waiting_notes
from lab.session.opening import MeasureOptions, Session
from lab.targets.base import Check


def prepare(context: Context, session: Session) -> list[Step]:
    """Bring the session to where it can measure: repository fit, number reserved.

    Raises
    ------
    StateMismatchError, PreconditionError, ExternalError
        As the repository says.
    """
    adopt_waiting_notes(session)
    return [
        _step("repository", session.journal.step("repository", lambda: _fit(context, session))),
        _step("number", session.journal.step("number", lambda: _reserve(context, session))),
    ]


def ready(context: Context, session: Session | None, objects: int | None) -> list[Step]:
    """Start or adopt the environment and prove that it can be measured.

    ``objects`` is the exact count expected; None takes the declared one, if there is one.

    Raises
    ------
    StateMismatchError
        A check failed; all failures are named.
    """
    step = EnvironmentStep(environment=context.environment)
    started = [*converge((step,), check=False, progress=context.progress).require()]
    # Of a session that ended while nothing ran.
    started += restore_for_session(context.environment, but=session.id if session else "")
    verified = verify(context, objects)
    if session is not None:
        session.journal.write("ready", "done", {"steps": msgspec.to_builtins(started)})
    return [*started, verified]


def verify(context: Context, objects: int | None) -> Step:
    """Prove that the running environment can be measured.

    Raises
    ------
    StateMismatchError
        A check failed; all failures are named.
    """
    expected = context.config.population.count if objects is None else objects
    checks = context.environment.verify(expected)
    failed = [check for check in checks if not check.passed]
    if failed:
        raise _unfit(failed)
    return Step(name="verify", status=Status.OK, why=f"{len(checks)} checks passed")


def next_number(context: Context) -> int:
    """Return the first number after the log's last whose folder is not in use."""
    return evidence.free_number(context.workspace, last_number(context.workspace.log) + 1)


def add_run(context: Context, session: Session, options: MeasureOptions) -> tuple[Run, list[Step]]:
    """Measure as ``options`` say and write the run; go on with one that was interrupted."""
    done = len(session.runs())
    name = f"run-{done + 1}"
    journal = session.journal
    began = journal.begun(name)
    intent = began or {"run": _run_id(), "options": msgspec.to_builtins(options)}
    options = msgspec.convert(intent["options"], MeasureOptions)
    steps: list[Step] = []

    def carry_out() -> dict[str, Any]:
        number = _number(session)
        written = evidence.find_run(context.workspace, intent["run"])
        if written is None:
            steps.extend(ready(context, session, options.objects))
            run = _measure(context, number, intent["run"], options)
            written = evidence.write_run(context.workspace, run)
        left: dict[str, Any] = msgspec.to_builtins(written)
        return left

    left = journal.step(name, carry_out, intent=intent)
    run = evidence.read_run(context.workspace.root / left["path"])
    why = f"{left['path']}, {sum(len(block.samples) for block in run.blocks):,} samples"
    status = Status.FAILED if run.void else Status.CHANGED
    return run, [*steps, Step(name="measure", status=status, why=run.void or why)]


def settings_of(config: Config, options: MeasureOptions) -> MeasureConfig:
    """Return the measure settings with the options that were given on top."""
    settings = config.measure
    return msgspec.structs.replace(
        settings,
        statements=options.statements or settings.statements,
        samples=options.samples or settings.samples,
        mode=options.mode or settings.mode,
        budget_s=settings.budget_s if options.budget_s is None else options.budget_s,
    )


def analysed(context: Context, session: Session) -> list[Analysis]:
    """Return what the session's runs say, oldest first."""
    measured = measure_files(context.workspace, _number(session), session.runs())
    return [each.analysis for each in measured]


def adopt_written_run(context: Context, session: Session) -> None:
    """Count a run in that a command had written when it was killed before it could say so."""
    name = f"run-{len(session.runs()) + 1}"
    began = session.journal.begun(name)
    written = None if began is None else evidence.find_run(context.workspace, began["run"])
    if written is not None:
        session.journal.step(name, lambda: msgspec.to_builtins(written))


def _measure(context: Context, number: int, run_id: str, options: MeasureOptions) -> Run:
    from lab.measure.runner import measure

    plan = make_plan(settings_of(context.config, options))
    run = measure(context.environment, plan, session=number, progress=context.progress)
    return msgspec.structs.replace(run, id=run_id)


def _run_id() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def _number(session: Session) -> int:
    number = session.number
    assert number is not None, "a session measures only after it has been prepared"
    return number


def _fit(context: Context, session: Session) -> dict[str, Any]:
    repository = context.ensure_repository()
    if repository is None:
        return {"why": "no version control here", "system": ""}
    workspace = context.workspace
    status = repository.require_ready(session.id, [workspace.log, workspace.prompt])
    what = f"{status.system} {status.version}, change {status.change[:12]}".rstrip(", ")
    return {"why": what, **msgspec.to_builtins(status)}


def _reserve(context: Context, session: Session) -> dict[str, Any]:
    # The workspace is locked, so an empty folder can only be one that a killed command left.
    number = next_number(context)
    folder = evidence.session_folder(context.workspace, number)
    with explained(folder, "making"):
        folder.mkdir(parents=True, exist_ok=True)
    return {"number": number, "why": f"session {number}"}


def _step(name: str, left: dict[str, Any]) -> Step:
    return Step(name=name, status=Status.OK, why=left.get("why", ""))


def _unfit(failed: Iterable[Check]) -> StateMismatchError:
    failed = list(failed)
    reasons = "; ".join(
        f"{check.name}: {check.found}" + (f", expected {check.expected}" if check.expected else "")
        for check in failed
    )
    return StateMismatchError(
        "The environment is not fit to be measured.",
        code="environment.unfit",
        why=reasons,
        remedy=remedies(failed),
    )
