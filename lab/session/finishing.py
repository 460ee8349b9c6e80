"""From an open session to one entry, one described change and one new, empty one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from lab.core.errors import UsageError
from lab.core.files import sha256, write_atomically
from lab.core.results import Status, Step
from lab.notebook import evidence, prompt
from lab.notebook.append import PlannedAppend, carry_out, plan_append
from lab.notebook.compose import compose
from lab.notebook.render import Entry, render_entry, render_log_heading, render_message
from lab.provision.variables import restore_for_session
from lab.session.context import Context
from lab.session.notes import notes_of, settled
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
    require_finishable(context, session, repository)
    composed = functools.cache(functools.partial(_entry, context, session))
    left = journal.step(
        "entry", lambda: _write_entry(context, session, repository, composed, message)
    )
    entry, _ = composed(left["date"])
    text = session.entry.read_text(encoding="utf-8")
    steps = [_changed("entry", f"session {entry.number}: {entry.title}")]

    _append(context, session, text)
    steps.append(_changed("log", f"appended to {context.workspace.log.name}"))
    journal.step("prompt", lambda: _keep_prompt(context, entry, left["headline"]))
    steps.append(_changed("prompt", f"{context.workspace.prompt.name} is up to date"))

    recorded, vcs_steps = _record(context, session, repository, left)
    steps += vcs_steps
    steps += restore_for_session(context.environment)
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


def require_finishable(context: Context, session: Session, repository: Repository | None) -> None:
    """Refuse to finish what holds nothing, or what the repository cannot take.

    Raises
    ------
    UsageError
        There is neither a run nor a note.
    StateMismatchError
        As `lab.vcs.base.Repository.require_ready` says.
    """
    if session.finishing:
        return
    if not session.runs() and not notes_of(session):
        raise UsageError(
            "There is nothing to write about yet.",
            code="session.empty",
            why="The session has neither a run nor a note.",
            remedy="Measure with `invoke session.measure`, keep a note with `invoke session.note`, "
            "or give the session up with `invoke session.abort`.",
        )
    if repository is not None:
        workspace = context.workspace
        files = [workspace.log, workspace.prompt, *_evidence(context, session)]
        repository.require_ready(session.id, files)


def _write_entry(
    context: Context,
    session: Session,
    repository: Repository | None,
    composed: Callable[[str], tuple[Entry, str]],
    message: str,
) -> dict[str, Any]:
    """Render the entry from evidence and notes, and keep it beside the journal."""
    date = datetime.now(UTC).date().isoformat()
    with settled(context.workspace):
        entry, headline = composed(date)
        text = render_entry(context.workspace, entry)
        write_atomically(session.entry, text.encode())
    said = {"change": message, "log": "", "prompt": ""}
    return {
        "date": date,
        "sha256": sha256(text.encode()),
        "headline": headline,
        # Where undoing leads back to: code and evidence as they are, the log without the entry.
        "operation": repository.operation() if repository else "",
        "messages": {
            role: render_message(context.workspace, role, entry, headline, first_line=first)
            for role, first in said.items()
        },
    }


def _entry(context: Context, session: Session, date: str) -> tuple[Entry, str]:
    """Return what the entry is rendered from, and its headline: the same at each call."""
    number = session.number
    assert number is not None, "a session is finished only after it has been prepared"
    return compose(
        context.workspace,
        number=number,
        session=session.id,
        goal=session.opening.goal,
        date=date,
        runs=session.runs(),
        notes=notes_of(session),
    )


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
    messages = composed["messages"]
    lab_files = [workspace.log, *_evidence(context, session)]
    if workspace.is_default and workspace.readme.exists():
        lab_files.append(workspace.readme)
    apart = context.config.session.separate_log

    def describe() -> dict[str, Any]:
        return {
            "change": repository.describe(
                session.id,
                messages["change"],
                paths=[] if apart else lab_files,
                apart=[workspace.prompt, *(lab_files if apart else [])],
            )
        }

    def separate(role: str, paths: list[Path]) -> Callable[[], dict[str, Any]]:
        return lambda: {
            "change": repository.separate(session.id, role, messages[role], paths=paths)
        }

    change = journal.step("describe", describe)["change"]
    journal.step("new", lambda: {"change": repository.start_new(session.id)})
    log_change = None
    if apart:
        log_change = journal.step("separate-log", separate("log", lab_files))["change"]
    prompt_change = journal.step("separate-prompt", separate("prompt", [workspace.prompt]))[
        "change"
    ]

    before, after = composed["operation"], repository.operation()
    recorded = Recorded(
        change=change,
        log_change=log_change,
        prompt_change=prompt_change,
        operation_before=before,
        operation_after=after,
        undo=repository.undo_command(before, after),
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
