"""Where the investigation stands: all that somebody needs to take the next step."""

from __future__ import annotations

from typing import Any

import msgspec

from lab.core.errors import LabError
from lab.core.results import Outcome, Status
from lab.core.workspace import Workspace
from lab.notebook import prompt
from lab.notebook.compose import measure_files
from lab.notebook.entries import LogEntry, entries
from lab.notebook.evidence import runs_of
from lab.notebook.sentences import headline
from lab.session.context import Context
from lab.session.notes import notes_of
from lab.session.opening import Session, open_session

_RECENT = 3


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """The open session as shown: ``next`` is the command that goes on with it."""

    number: int | None
    id: str
    goal: str
    opened_at: str
    whole: bool
    runs: tuple[str, ...]
    notes: int
    finishing: bool
    next: str


class Brief(msgspec.Struct, frozen=True, kw_only=True):
    """All that the next step needs.

    ``recent`` holds the last entries, newest first, each with its headline where it has one.
    """

    session: SessionView | None
    next_steps: tuple[dict[str, str], ...]
    recent: tuple[dict[str, Any], ...]
    environment: dict[str, Any]
    declared_objects: int | None
    files: dict[str, str]


def session_status(workspace: Workspace) -> Outcome:
    """Show the open session; "ok" where none is open."""
    session = open_session(workspace)
    if session is None:
        return Outcome(
            summary="No session is open.",
            data={"session": None},
            hint="`invoke session.measure` does a whole step; `invoke session.start` opens one",
        )
    view = _view(session)
    return Outcome(text=_session_text(view), data={"session": view}, hint=f"`{view.next}`")


def brief(context: Context) -> Brief:
    """Collect what is known, and change nothing."""
    workspace = context.workspace
    session = open_session(workspace)
    items = prompt.read_items(workspace)
    situation = context.environment.inspect()
    return Brief(
        session=None if session is None else _view(session),
        next_steps=tuple({"id": item.id, "text": item.text} for item in items),
        recent=tuple(_recent(workspace)),
        environment=msgspec.to_builtins(situation),
        declared_objects=context.config.population.count,
        files={
            "log": str(workspace.log),
            "prompt": str(workspace.prompt),
            "evidence": str(workspace.evidence),
            "config": str(workspace.config) if workspace.config.exists() else "",
        },
    )


def brief_outcome(context: Context) -> Outcome:
    """Show the brief."""
    found = brief(context)
    lines = []
    if found.session:
        lines += [_session_text(found.session), ""]
    environment = found.environment
    where = f" at {environment['address']}" if environment["address"] else ""
    build = f", {environment['build']}" if environment["build"] else ""
    lines.append(
        f"environment  {environment['target']}, state {environment['state']}: "
        f"{environment['phase']}{where}{build}"
    )
    lines.append("")
    lines.append("recent sessions" if found.recent else "no session in the log yet")
    lines += [_recent_line(each) for each in found.recent]
    lines.append("")
    lines.append("next steps" if found.next_steps else "no next step is open")
    lines += [f"  {step['id']}  {step['text'].splitlines()[0]}" for step in found.next_steps]
    lines.append("")
    lines += [f"{name:<9} {path}" for name, path in found.files.items() if path]
    hint = found.session.next if found.session else "invoke session.measure --goal TEXT"
    return Outcome(status=Status.OK, text="\n".join(lines), data=found, hint=f"`{hint}`")


def _view(session: Session) -> SessionView:
    if session.opening.whole:
        going_on = "invoke session.measure"
    elif session.finishing or session.runs():
        going_on = "invoke session.finish"
    else:
        going_on = "invoke session.measure"
    return SessionView(
        number=session.number,
        id=session.id,
        goal=session.opening.goal,
        opened_at=session.opening.opened_at,
        whole=session.opening.whole,
        runs=tuple(run.path for run in session.runs()),
        notes=len(notes_of(session)),
        finishing=session.finishing,
        next=going_on,
    )


def _session_text(view: SessionView) -> str:
    number = "?" if view.number is None else view.number
    state = "being finished" if view.finishing else "interrupted" if view.whole else "open"
    return "\n".join(
        [
            f"session {number} is {state} since {view.opened_at}",
            f"  goal   {view.goal or '(none)'}",
            f"  runs   {', '.join(view.runs) or 'none'}",
            f"  notes  {view.notes}",
        ]
    )


def _recent(workspace: Workspace) -> list[dict[str, Any]]:
    """Return the newest entries, each with the headline that its evidence gives."""
    return [
        {
            "session": entry.number,
            "date": entry.date or "",
            "title": entry.title,
            "headline": _headline(workspace, entry),
        }
        for entry in reversed(entries(workspace.log)[-_RECENT:])
    ]


def _headline(workspace: Workspace, entry: LogEntry) -> str:
    """Return what a lab's entry found in one line; empty where its evidence does not say."""
    if entry.session is None:
        return ""
    try:
        files = runs_of(workspace, entry.number)
        measured = measure_files(workspace, entry.number, files)
    except LabError:
        return ""
    return headline(measured[-1].analysis) if measured else ""


def _recent_line(entry: dict[str, Any]) -> str:
    line = f"  {entry['session']:>3}  {entry['date']:<10}  {entry['title']}"
    return f"{line}\n       {entry['headline']}" if entry["headline"] else line
