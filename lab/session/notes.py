"""Notes of a session: one file each, kept while another command measures or writes."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from lab.core.errors import UsageError
from lab.core.files import create_exclusively, encode
from lab.core.locks import exclusive
from lab.core.workspace import Workspace
from lab.notebook.render import Note
from lab.session.opening import Session, open_session, require_session

_FOLDER = "notes"
# Marks notes that no session was asked for: they outlive one that is given up.
_WAITING = "waiting-"
_WAIT_S = 30.0


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """Notes that were kept, and the session whose entry will hold them; None is the next one."""

    notes: tuple[Note, ...]
    session: Session | None


def require_text(wanted: Sequence[tuple[str, str]]) -> None:
    """Refuse to keep notes without text; each is its kind and its text.

    Raises
    ------
    UsageError
        There is no note, or one is empty.
    """
    if not wanted:
        raise UsageError(
            "There is nothing to keep.",
            code="session.empty-note",
            remedy="Give --text, --finding, --next or --file.",
        )
    for kind, text in wanted:
        if not text.strip():
            raise UsageError(
                f"The {kind} is empty.",
                code="session.empty-note",
                remedy="Give it as text, with --file PATH, or on standard input with --file -.",
            )


def add_notes(workspace: Workspace, wanted: Sequence[tuple[str, str]]) -> Kept:
    """Keep each text as a ``note``, a ``finding`` or a ``next`` step of the open session.

    Where its entry is being written already, they are kept for the next session.

    Raises
    ------
    UsageError
        There is no note, or one is empty; none is kept then.
    StateMismatchError
        No session is open.
    """
    require_text(wanted)
    with settled(workspace):
        session = require_session(workspace)
        return _keep(workspace, session, wanted)


def add_waiting_note(workspace: Workspace, text: str) -> Kept:
    """Keep a note for the open session, or for the next one where none is open."""
    with settled(workspace):
        return _keep(workspace, open_session(workspace), [("note", text)], prefix=_WAITING)


def adopt_waiting_notes(session: Session) -> None:
    """Make the notes that waited for a session this session's own, unless its entry is written."""
    if not session.composed:
        _move(session.workspace.sessions / _FOLDER, session.directory / _FOLDER)


def release_notes(session: Session) -> None:
    """Let the notes that waited for a session which is given up wait for the next one."""
    _move(session.directory / _FOLDER, session.workspace.sessions / _FOLDER, f"{_WAITING}*.json")


@contextlib.contextmanager
def settled(workspace: Workspace) -> Iterator[None]:
    """Keep notes from slipping in between the look at them and the entry that is made of them."""
    with exclusive(workspace.sessions / "notes.lock", "session.note", wait_s=_WAIT_S):
        yield


def notes_of(session: Session) -> list[Note]:
    """Return the session's notes, oldest first."""
    folder = session.directory / _FOLDER
    return [
        msgspec.json.decode(path.read_bytes(), type=Note)
        for path in sorted(folder.glob("*.json"), key=_written_at)
    ]


def _keep(
    workspace: Workspace,
    session: Session | None,
    wanted: Sequence[tuple[str, str]],
    prefix: str = "",
) -> Kept:
    if session is not None and session.composed:
        session = None
    folder = (session.directory if session else workspace.sessions) / _FOLDER
    notes = tuple(_write(folder, prefix, kind, text) for kind, text in wanted)
    return Kept(notes=notes, session=session)


def _move(source: Path, target: Path, pattern: str = "*.json") -> None:
    for path in source.glob(pattern):
        target.mkdir(parents=True, exist_ok=True)
        path.replace(target / path.name)


def _write(folder: Path, prefix: str, kind: str, text: str) -> Note:
    note = Note(kind=kind, text=text.strip(), at=datetime.now(UTC).isoformat(timespec="seconds"))
    name = f"{prefix}{time.time_ns()}-{secrets.token_hex(3)}.json"
    create_exclusively(folder / name, encode(note))
    return note


def _written_at(path: Path) -> str:
    return path.name.removeprefix(_WAITING)
