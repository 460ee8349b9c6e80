"""Notes of a session: one file each, so that writers never wait for one another."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from lab.core.errors import UsageError
from lab.core.files import create_exclusively, encode
from lab.core.workspace import Workspace
from lab.notebook.render import Note
from lab.session.opening import Session, open_session

_FOLDER = "notes"


def add_note(session: Session, kind: str, text: str) -> Note:
    """Keep ``text`` as a ``note``, a ``finding`` or a ``next`` step of the session.

    Raises
    ------
    UsageError
        The text is empty.
    """
    text = text.strip()
    if not text:
        raise UsageError(
            f"The {kind} is empty.",
            code="session.empty-note",
            remedy="Give it as text, with --file PATH, or on standard input with --file -.",
        )
    return _write(session.directory / _FOLDER, kind, text)


def add_waiting_note(workspace: Workspace, text: str) -> Note:
    """Keep a note for the open session, or for the next one where none is open."""
    session = open_session(workspace)
    return _write((session.directory if session else workspace.sessions) / _FOLDER, "note", text)


def adopt_waiting_notes(session: Session) -> None:
    """Make the notes that waited for a session this session's own."""
    for path in (session.workspace.sessions / _FOLDER).glob("*.json"):
        target = session.directory / _FOLDER / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)


def notes_of(session: Session) -> list[Note]:
    """Return the session's notes, oldest first."""
    folder = session.directory / _FOLDER
    return [
        msgspec.json.decode(path.read_bytes(), type=Note) for path in sorted(folder.glob("*.json"))
    ]


def _write(folder: Path, kind: str, text: str) -> Note:
    note = Note(kind=kind, text=text, at=datetime.now(UTC).isoformat(timespec="seconds"))
    name = f"{time.time_ns()}-{secrets.token_hex(3)}.json"
    create_exclusively(folder / name, encode(note))
    return note
