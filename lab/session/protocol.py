"""The session protocol: start, measure, finish, or abort. Each may be run again after any crash."""

from __future__ import annotations

import contextlib
import shutil

from lab.core.errors import ExternalError, LabError, StateMismatchError
from lab.core.results import Outcome, Status, Step, gravest
from lab.measure.findings import Analysis
from lab.measure.record import Run
from lab.notebook import evidence
from lab.notebook.render import render_results
from lab.provision.variables import restore_for_session
from lab.session.context import Context
from lab.session.finishing import Finished, finish, require_finishable
from lab.session.foresee import foresee_measure, foresee_recording, foresee_start
from lab.session.measuring import (
    add_run,
    adopt_written_run,
    analysed,
    asked_of,
    lost_transactions,
    next_after,
    prepare,
    ready,
    require_measurable,
)
from lab.session.notes import release_notes
from lab.session.opening import (
    MeasureOptions,
    Session,
    close_session,
    create_session,
    open_session,
    require_session,
)
from lab.session.plans import require_sense


def start(context: Context, *, goal: str, objects: int | None, check: bool) -> Outcome:
    """Open a session by hand, with the environment up and verified.

    Raises
    ------
    StateMismatchError
        Another session is open, or the environment or the repository is not fit.
    """
    session = open_session(context.workspace)
    if session is not None and (session.opening.whole or session.finishing):
        raise unfinished(session)
    if session is not None:
        _refuse_other_goal(session, goal)
    if check:
        return foresee_start(context, session, goal, objects)
    fresh = session is None or session.number is None
    if session is None:
        session = create_session(
            context.workspace, goal=goal, whole=False, options=MeasureOptions()
        )
    try:
        steps = [*prepare(context, session), *ready(context, session, objects)]
    except LabError:
        if fresh:
            _discard(context, session)
        raise
    opened = Step(
        name="session",
        status=Status.CHANGED if fresh else Status.OK,
        why=f"session {session.number}: {session.opening.goal or 'no goal given'}",
    )
    steps.append(opened)
    return Outcome(
        status=gravest(steps),
        steps=tuple(steps),
        data={"session": session.number, "id": session.id, "goal": session.opening.goal},
        hint="`invoke session.measure`, then `invoke session.finish`",
    )


def measure(
    context: Context, *, goal: str, options: MeasureOptions, check: bool, keep: bool = False
) -> Outcome:
    """Measure: inside an open session one more run; outside of one, the whole step.

    A whole step that was interrupted is gone on with, not begun anew, once it holds a run; one
    that could not measure anything leaves no session behind. ``keep`` leaves the tables that
    batches made in place.

    Raises
    ------
    UsageError
        The options contradict each other, or what they ask for cannot be measured.
    StateMismatchError
        What is open does not fit what is asked for.
    ExternalError
        Not one block could be measured.
    """
    require_sense(options)
    session = open_session(context.workspace)
    if session is not None and not session.opening.whole:
        _refuse_other_goal(session, goal)
    if session is not None and _is_other(session, goal, options):
        if _holds_something(session):
            raise _other(session)
        if not check:
            _discard(context, session)
        session = None
    options = asked_of(session, options)
    if check:
        return foresee_measure(context, session, options)
    # What cannot be measured is refused before a session is opened for it.
    options = require_measurable(context, options)
    steps: list[Step] = []
    if session is None:
        session = create_session(context.workspace, goal=goal, whole=True, options=options)
    elif session.opening.whole:
        steps.append(Step(name="session", status=Status.OK, why="going on where it stopped"))
    try:
        run, added = _measured(context, session, options, keep=keep)
        steps += added
    except LabError:
        if session.opening.whole and not _holds_something(session):
            _discard(context, session)
        raise
    if run is not None and run.void:
        return _void_outcome(session, run, steps)
    if not session.opening.whole:
        return _one_more_run(context, session, steps)
    finished = finish(context, session)
    return _finished_outcome(context, finished, steps)


def finish_session(context: Context, *, message: str, check: bool) -> Outcome:
    """Finish the open session."""
    session = require_session(context.workspace)
    if check:
        require_finishable(context, session, context.repository())
        step = Step(name="session", status=Status.WOULD_CHANGE, why=f"finish {session.label()}")
        foreseen = (step, *foresee_recording(context, session))
        return Outcome(status=step.status, steps=foreseen)
    steps = prepare(context, session)
    if not session.finishing:
        adopt_written_run(context, session)
    return _finished_outcome(context, finish(context, session, message=message), steps)


def abort(context: Context, *, check: bool) -> Outcome:
    """Give the open session up: log and change stay as they were, the evidence is kept aside.

    Raises
    ------
    StateMismatchError
        None is open, or its entry is being written already.
    """
    session = require_session(context.workspace)
    if session.finishing:
        raise StateMismatchError(
            f"{session.label().capitalize()} is being finished already.",
            code="session.finishing",
            why="Its entry may stand in the log.",
            remedy="Go on with `invoke session.finish`.",
        )
    number = session.number
    kept = session.directory / "evidence"
    status = Status.WOULD_CHANGE if check else Status.CHANGED
    steps = [Step(name="session", status=status, why=f"{session.label()} is given up")]
    if number is not None and evidence.files_of(context.workspace, number):
        steps.append(Step(name="evidence", status=status, why=f"kept in {kept}"))
    if not check:
        steps += restore_for_session(context.environment)
        if number is not None:
            folder = evidence.session_folder(context.workspace, number)
            if folder.exists() and not kept.exists():
                shutil.move(folder, kept)
        release_notes(session)
        close_session(session)
    return Outcome(status=status, steps=tuple(steps), data={"session": number, "kept": str(kept)})


def unfinished(session: Session) -> StateMismatchError:
    """Return the error for a session that a command was interrupted in."""
    going_on = "session.measure" if session.opening.whole else "session.finish"
    return StateMismatchError(
        f"{session.label().capitalize()} was interrupted and is not finished.",
        code="session.unfinished",
        remedy=f"Go on with it by `invoke {going_on}`.",
    )


def _measured(
    context: Context, session: Session, options: MeasureOptions, *, keep: bool
) -> tuple[Run | None, list[Step]]:
    """Add the run that is missing; none is, where an interrupted whole step has one."""
    steps = prepare(context, session)
    if session.finishing or (session.opening.whole and _has_valid_run(context, session)):
        return None, steps
    run, added = add_run(context, session, options, keep=keep)
    return run, [*steps, *added]


def _holds_something(session: Session) -> bool:
    number = session.number
    # A run may be written already by a command that was killed before it could say so.
    return session.finishing or (number is not None and evidence.in_use(session.workspace, number))


def _discard(context: Context, session: Session) -> None:
    """Close a session in which nothing was measured; its number is free again."""
    if session.number is not None:
        folder = evidence.session_folder(context.workspace, session.number)
        with contextlib.suppress(OSError):
            folder.rmdir()
    release_notes(session)
    close_session(session)


def _has_valid_run(context: Context, session: Session) -> bool:
    runs = session.runs()
    return bool(runs) and not evidence.read_file(context.workspace, runs[-1]).void


def _one_more_run(context: Context, session: Session, steps: list[Step]) -> Outcome:
    analyses = analysed(context, session)
    return Outcome(
        status=gravest(steps),
        steps=tuple(steps),
        text=render_results(context.workspace, analyses[-1]),
        data={"session": session.number, "runs": analyses},
        warnings=lost_transactions(analyses[-1:]),
        hint=next_after(
            analyses[-1:], "`invoke session.note --finding TEXT`, then `invoke session.finish`"
        ),
    )


def _finished_outcome(context: Context, finished: Finished, steps: list[Step]) -> Outcome:
    entry = finished.entry
    analyses: list[Analysis] = [run.analysis for run in entry.runs]
    steps = [*steps, *finished.steps]
    recorded = finished.recorded
    workspace = context.workspace
    text = "\n\n".join(render_results(workspace, analysis) for analysis in analyses)
    where = f"{workspace.log} (session {entry.number})"
    undo = f"\nundo: {recorded.undo}" if recorded and recorded.undo else ""
    return Outcome(
        summary=f"{finished.headline}\nlog: {where}{undo}",
        status=gravest(steps),
        steps=tuple(steps),
        text=text,
        data={
            "session": entry.number,
            "id": entry.session,
            "title": entry.title,
            "headline": finished.headline,
            "log": str(workspace.log),
            "evidence": [run.file for run in entry.runs],
            "runs": analyses,
            "recorded": recorded,
        },
        warnings=(*lost_transactions(analyses), *(recorded.warnings if recorded else ())),
        hint=next_after(analyses, "`invoke session.brief` says where the investigation stands"),
    )


def _is_other(session: Session, goal: str, options: MeasureOptions) -> bool:
    """Say whether a command asks for something else than the interrupted whole step did."""
    opening = session.opening
    if session.finishing and not opening.whole:
        raise unfinished(session)
    asked = options != MeasureOptions()
    other = bool(goal and goal != opening.goal) or (asked and not options.same_as(opening.options))
    return opening.whole and other


def _other(session: Session) -> StateMismatchError:
    opening = session.opening
    return StateMismatchError(
        "An interrupted session that was asked for something else is open.",
        code="session.open",
        why=f"It was opened at {opening.opened_at} with {opening.options.text()}.",
        remedy="Go on with it by `invoke session.measure` without options, or give it up "
        "with `invoke session.abort`.",
    )


def _refuse_other_goal(session: Session, goal: str) -> None:
    if goal and goal != session.opening.goal:
        raise StateMismatchError(
            f"A session with another goal is open: {session.opening.goal or 'none was given'}.",
            code="session.open",
            remedy="Finish it with `invoke session.finish` or give it up with "
            "`invoke session.abort`, then start the new one.",
        )


def _void_outcome(session: Session, run: Run, steps: list[Step]) -> Outcome:
    # A whole step goes on with what it was begun with.
    of_batches = run.batch is not None and not session.opening.whole
    again = f"session.measure{' --plan batch' if of_batches else ''}"
    failure = ExternalError(
        f"The run is void: {run.void}.",
        code="run.void",
        why=f"What was measured is kept as evidence of session {session.number}.",
        remedy=f"`invoke {again}` measures anew within the same session; "
        "`invoke session.abort` gives it up.",
    )
    return Outcome(
        status=Status.FAILED,
        steps=tuple(steps),
        data={"session": session.number, "id": session.id, "evidence": session.runs()},
        failure=failure,
        exit_code=failure.exit_code,
    )
