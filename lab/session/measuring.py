"""From an open session to a run that is written as evidence."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from lab.core.config import Config, MeasureConfig
from lab.core.errors import StateMismatchError
from lab.core.files import explained
from lab.core.ids import timed_id
from lab.core.results import Check, Status, Step
from lab.measure.findings import Analysis
from lab.measure.plan import make_plan
from lab.measure.record import Run
from lab.notebook import evidence
from lab.notebook.append import last_number
from lab.notebook.compose import measure_files
from lab.provision.environment import EnvironmentStep, remedies
from lab.provision.steps import converge
from lab.provision.variables import restore_for_session
from lab.session.batching import drop_left_tables, failed_text, require_supply, take_batches
from lab.session.context import Context
from lab.session.journal import BEGUN
from lab.session.notes import adopt_waiting_notes
from lab.session.opening import MeasureOptions, Session


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


def ready(
    context: Context, session: Session | None, objects: int | None, *, of_batches: bool = False
) -> list[Step]:
    """Start or adopt the environment and prove that it can be measured.

    ``objects`` is the exact count expected; None takes the declared one, if there is one. Where
    batches are about to be measured, tables that interrupted ones left are dropped before.

    Raises
    ------
    StateMismatchError
        A check failed; all failures are named.
    """
    step = EnvironmentStep(environment=context.environment)
    started = [*converge((step,), check=False, progress=context.progress).require()]
    # Of a session that ended while nothing ran.
    started += restore_for_session(context.environment, but=session.id if session else "")
    started += drop_left_tables(context) if of_batches else ()
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


def require_measurable(context: Context, options: MeasureOptions) -> MeasureOptions:
    """Refuse what cannot be measured, as far as that can be told without starting anything.

    Returns the options to measure by: at a terminal it may have been allowed to grow the upstream.

    Raises
    ------
    UsageError
        The plan makes no sense, or the target does not know a statement.
    PreconditionError, StateMismatchError
        As `lab.session.batching.require_supply`.
    """
    if options.of_batches:
        return require_supply(context, options)
    plan = make_plan(settings_of(context.config, options))
    context.environment.workload(plan.statements)
    return options


def asked_of(session: Session | None, options: MeasureOptions) -> MeasureOptions:
    """Return what is to be measured: ``options``, or those of what was interrupted.

    A whole step goes on as it was begun. Within a session that was opened by hand a run that was
    interrupted is gone on with where nothing else is asked for.
    """
    if session is None:
        return options
    if session.opening.whole:
        before = session.opening.options
    elif options == MeasureOptions() and (began := _begun(session)):
        before = _options_of(began)
    else:
        return options
    return msgspec.structs.replace(before, grow=options.grow or before.grow)


def add_run(
    context: Context, session: Session, options: MeasureOptions, *, keep: bool = False
) -> tuple[Run, list[Step]]:
    """Measure as ``options`` say and write the run.

    One that was interrupted is taken anew; one that was written before the command was killed is
    counted in. ``keep`` leaves tables that batches made in place.
    """
    began = _begun(session)
    if began is not None and not options.same_as(_options_of(began)):
        # What was interrupted is not what is asked for now.
        adopt_written_run(context, session)
        began = None
    name = _next_run(session)
    intent = began or {"run": timed_id(datetime.now(UTC)), "options": msgspec.to_builtins(options)}
    if began is None:
        session.journal.write(name, BEGUN, intent)
    steps: list[Step] = []

    def carry_out() -> dict[str, Any]:
        written = evidence.find_run(context.workspace, intent["run"])
        if written is None:
            steps.extend(ready(context, session, options.objects, of_batches=options.of_batches))
            run, taken = _taken(context, _number(session), options, keep=keep)
            steps.extend(taken)
            run = msgspec.structs.replace(run, id=intent["run"])
            written = evidence.write_run(context.workspace, run)
        left: dict[str, Any] = msgspec.to_builtins(written)
        return left

    left = session.journal.step(name, carry_out, intent=intent)
    run = evidence.read_run(context.workspace.root / left["path"])
    return run, [*steps, measured_step(run, left["path"])]


def measured_step(run: Run, path: str) -> Step:
    """Return the step that says what ``run``, kept at ``path``, consists of."""
    why = f"{path}, {sum(len(block.samples) for block in run.blocks):,} samples"
    if run.batch is not None:
        batches = run.batch.batches
        counting = sum(1 for batch in batches if batch.counts)
        why = f"{path}, {counting:,} of {len(batches):,} transactions count"
    status = Status.FAILED if run.void else Status.CHANGED
    return Step(name="measure", status=status, why=run.void or why)


def lost_transactions(analyses: Sequence[Analysis]) -> tuple[str, ...]:
    """Return a warning for each run of batches in which transactions failed or are void."""
    said: list[str] = []
    for batch in (each.batch for each in analyses if each.batch is not None):
        failed, tried = len(batch.failures), batch.carried_out
        if failed:
            said.append(
                f"{failed:,} of {tried:,} transactions failed and {_counts(failed)} for nothing;"
                f" the first: {batch.failures[0].error}"
            )
        if batch.void:
            void = sum(each.failed for each in batch.sizes) - failed
            said.append(
                f"{void:,} of {tried:,} transactions {'is' if void == 1 else 'are'} void and"
                f" {_counts(void)} for nothing: {'; '.join(batch.void)}"
            )
    return tuple(said)


def _counts(transactions: int) -> str:
    return "counts" if transactions == 1 else "count"


def next_after(analyses: Sequence[Analysis], hint: str) -> str:
    """Return ``hint``, and what has to go before latency is measured where batches were."""
    if all(each.batch is None for each in analyses):
        return hint
    return (
        f"{hint}; `invoke upstream.clean` before latency is measured: the source stays, and such a"
        " run cannot be compared with one made without it"
    )


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
    began = _begun(session)
    written = None if began is None else evidence.find_run(context.workspace, began["run"])
    if written is not None:
        session.journal.step(_next_run(session), lambda: msgspec.to_builtins(written))


def _next_run(session: Session) -> str:
    """Return the journaled step of the run that comes next, or that was interrupted."""
    return f"run-{len(session.runs()) + 1}"


def _begun(session: Session) -> dict[str, Any] | None:
    """Return the intent of a run that was begun and is not done."""
    return session.journal.begun(_next_run(session))


def _options_of(intent: dict[str, Any]) -> MeasureOptions:
    return msgspec.convert(intent["options"], MeasureOptions)


def _taken(
    context: Context, number: int, options: MeasureOptions, *, keep: bool
) -> tuple[Run, list[Step]]:
    """Measure; return the run, not yet written, and what had to be done besides."""
    if options.of_batches:
        return take_batches(context, options, number, keep=keep)
    from lab.measure.runner import measure

    plan = make_plan(settings_of(context.config, options))
    return measure(context.environment, plan, session=number, progress=context.progress), []


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


def _unfit(failed: Sequence[Check]) -> StateMismatchError:
    return StateMismatchError(
        "The environment is not fit to be measured.",
        code="environment.unfit",
        why=failed_text(failed),
        remedy=remedies(failed),
    )
