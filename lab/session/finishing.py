"""From an open session to one entry, one described change and one new, empty one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from lab.core.errors import UsageError
from lab.core.files import read_struct, sha256, write_atomically, write_struct
from lab.core.results import Status, Step
from lab.notebook import evidence, prompt
from lab.notebook.append import PlannedAppend, carry_out, plan_append
from lab.notebook.compose import compose
from lab.notebook.render import Entry, render_entry, render_log_heading, render_message
from lab.session.context import Context
from lab.session.notes import notes_of
from lab.session.opening import Session, close_session
from lab.vcs.base import Recorded, Repository

# The journaled steps of a session, in order: each is a pair of kill points for the crash tests.
STEPS = (
    "repository",
    "number",
    "run-1",
    "entry",
    "append",
    "prompt",
    "describe",
    "new",
    "separate-log",
    "separate-prompt",
    "close",
)


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """What finishing a session left: its entry, where it stands, and how it was recorded."""

    entry: Entry
    headline: str
    recorded: Recorded | None
    steps: tuple[Step, ...]


def finish(context: Context, session: Session, *, message: str = "") -> Finished:
    """Write the entry, describe the change, start a new one, and close the session.

    Goes on where an earlier attempt was interrupted; ``message`` is the change's first line and
    counts only at the first attempt.

    Raises
    ------
    UsageError
        There is neither a run nor a note to write about.
    StateMismatchError, PreconditionError, ExternalError
        The repository is not fit, a file cannot be written, the version control failed. Nothing
        that was done is lost, and the next attempt goes on.
    """
    journal = session.journal
    repository = context.repository()
    if not session.finishing:
        _refuse_empty(session)
        if repository is not None:
            repository.require_ready(session.id, _files(context, session))
    left = journal.step("entry", lambda: _compose(context, session, message))
    entry = read_struct(session.directory / "entry.json", Entry)
    assert entry is not None, "the step before wrote it"
    text = (session.directory / "entry.md").read_text(encoding="utf-8")
    steps = [_changed("entry", f"session {entry.number}: {entry.title}")]

    _append(context, session, text)
    steps.append(_changed("log", f"appended to {context.workspace.log.name}"))
    journal.step("prompt", lambda: _keep_prompt(context, entry, left["headline"]))
    steps.append(_changed("prompt", f"{context.workspace.prompt.name} is up to date"))

    recorded, vcs_steps = _record(context, session, repository, left)
    steps += vcs_steps
    journal.step("close", dict)
    close_session(session)
    return Finished(entry=entry, headline=left["headline"], recorded=recorded, steps=tuple(steps))


def _append(context: Context, session: Session, text: str) -> None:
    """Append the entry; the plan is kept beforehand, so that no crash appends it twice."""
    log = context.workspace.log
    intent = session.journal.begun("append")
    if intent is None:
        heading = render_log_heading(context.workspace)
        intent = msgspec.to_builtins(plan_append(log, text, session.id, heading=heading))
    planned = msgspec.convert(intent, PlannedAppend)
    session.journal.step("append", lambda: {"written": carry_out(log, planned)}, intent=intent)


def _refuse_empty(session: Session) -> None:
    if session.runs() or notes_of(session):
        return
    raise UsageError(
        "There is nothing to write about yet.",
        code="session.empty",
        why="The session has neither a run nor a note.",
        remedy="Measure with `invoke session.measure`, keep a note with `invoke session.note`, "
        "or give the session up with `invoke session.abort`.",
    )


def _files(context: Context, session: Session) -> list[Path]:
    number = session.number
    folder = [] if number is None else evidence.files_of(context.workspace, number)
    return [context.workspace.log, context.workspace.prompt, *folder]


def _compose(context: Context, session: Session, message: str) -> dict[str, Any]:
    """Render the entry from evidence and notes, and keep it beside the journal."""
    number = session.number
    assert number is not None, "a session is finished only after it has been prepared"
    entry, headline = compose(
        context.workspace,
        number=number,
        session=session.id,
        goal=session.opening.goal,
        date=datetime.now(UTC).date().isoformat(),
        runs=session.runs(),
        notes=notes_of(session),
    )
    text = render_entry(context.workspace, entry)
    write_struct(session.directory / "entry.json", entry)
    write_atomically(session.directory / "entry.md", text.encode())
    described = render_message(context.workspace, "change", entry, headline, first_line=message)
    return {"sha256": sha256(text.encode()), "headline": headline, "message": described}


def _keep_prompt(context: Context, entry: Entry, headline: str) -> dict[str, Any]:
    prompt.record_session(context.workspace, entry, headline)
    return {}


def _record(
    context: Context, session: Session, repository: Repository | None, composed: dict[str, Any]
) -> tuple[Recorded | None, list[Step]]:
    """Describe the change, start a new one, and move log and prompt into changes of their own."""
    if repository is None:
        return None, [Step(name="vcs", status=Status.SKIPPED, why="no version control here")]
    journal, workspace = session.journal, context.workspace
    entry = read_struct(session.directory / "entry.json", Entry)
    assert entry is not None, "written by an earlier step"
    lab_files = [workspace.log, *_evidence(context, session)]
    apart = context.config.session.separate_log

    def describe() -> dict[str, Any]:
        return {
            "change": repository.describe(
                session.id,
                composed["message"],
                paths=[] if apart else lab_files,
                apart=[workspace.prompt, *(lab_files if apart else [])],
            )
        }

    def separate(role: str, paths: list[Path]) -> Callable[[], dict[str, Any]]:
        text = render_message(workspace, role, entry, composed["headline"])
        return lambda: {"change": repository.separate(session.id, role, text, paths=paths)}

    before = journal.begun("describe") or {"operation": repository.operation()}
    change = journal.step("describe", describe, intent=before)["change"]
    journal.step("new", lambda: {"change": repository.start_new(session.id)})
    log_change = None
    if apart:
        log_change = journal.step("separate-log", separate("log", lab_files))["change"]
    prompt_change = journal.step("separate-prompt", separate("prompt", [workspace.prompt]))[
        "change"
    ]

    after = repository.operation()
    recorded = Recorded(
        change=change,
        log_change=log_change,
        prompt_change=prompt_change,
        operation_before=before["operation"],
        operation_after=after,
        undo=repository.undo_command(before["operation"], after),
        warnings=repository.status().warnings,
    )
    journal.write("recorded", "done", msgspec.to_builtins(recorded))
    return recorded, _vcs_steps(recorded, repository.system)


def _evidence(context: Context, session: Session) -> list[Path]:
    number = session.number
    return [] if number is None else evidence.files_of(context.workspace, number)


def _vcs_steps(recorded: Recorded, system: str) -> list[Step]:
    word = "change" if system == "jj" else "commit"
    steps = [_changed("describe", f"{word} {recorded.change[:12]}")]
    for name, change in (("log", recorded.log_change), ("prompt", recorded.prompt_change)):
        if change is not None:
            steps.append(_changed(f"{name} {word}", f"{word} {change[:12]}"))
    steps.append(_changed("new", f"a new {word} is begun"))
    return steps


def _changed(name: str, why: str) -> Step:
    return Step(name=name, status=Status.CHANGED, why=why)
