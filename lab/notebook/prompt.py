"""The prompt's file: status, what was completed, and the next steps.

Changes are splices: every byte outside of the changed place stays as it is, whatever its encoding
and line ends, and the file is replaced as a whole or not at all.
"""

from __future__ import annotations

import errno
import os
import stat

from lab.core.files import explain, write_atomically
from lab.core.workspace import Workspace
from lab.notebook.entry import Entry
from lab.notebook.prompt_edit import insert_item, remove_item, with_session
from lab.notebook.prompt_text import Item, find_item, items, same_text
from lab.notebook.sentences import tally
from lab.notebook.templates import render_template
from lab.notebook.text import plain

__all__ = ["Item", "add_item", "find_item", "read_items", "record_session", "resolve_item"]


def read_items(workspace: Workspace) -> list[Item]:
    """Return the open next steps; none where there is no prompt yet.

    Raises
    ------
    PreconditionError
        The file cannot be read.

    """
    return items(_read(workspace) or "")


def add_item(workspace: Workspace, text: str) -> tuple[Item, bool]:
    """Add a next step, unless one that says the same is open; return it and whether it is new.

    Raises
    ------
    PreconditionError
        The file cannot be read or written.

    """
    before = _read_or_make(workspace)
    after = insert_item(before, text)
    _write(workspace, after)
    item = next(each for each in items(after) if same_text(each.text, text))
    return item, after != before


def resolve_item(workspace: Workspace, wanted: str, by: str) -> Item:
    """Move the item with the id ``wanted`` to what was completed, with what resolved it.

    Raises
    ------
    UsageError
        There is no such item; the nearest one is named.
    PreconditionError
        The file cannot be read or written.

    """
    text = _read_or_make(workspace)
    item = find_item(items(text), wanted)
    _write(workspace, remove_item(text, item, by))
    return item


def record_session(workspace: Workspace, entry: Entry, headline: str) -> bool:
    """Bring the status up to date and note the session as completed; say whether that changed it.

    The session's next steps join the open ones. Doing it twice is doing it once.

    Raises
    ------
    PreconditionError
        The file cannot be read or written, or a region in it has no end.

    """
    before = _read_or_make(workspace)
    steps = [note.text for note in entry.notes if note.kind == "next"]
    after = with_session(
        before,
        session=entry.session,
        status=_status_lines(entry, headline),
        line=_session_line(entry),
        next_steps=steps,
    )
    return _write(workspace, after)


def _status_lines(entry: Entry, headline: str) -> list[str]:
    place = f", on {plain(entry.runs[-1].run.target)}" if entry.runs else ""
    verdicts = tally(entry.runs[-1].analysis) if entry.runs else ""
    lines = [f"After session {entry.number} ({entry.date}){place}: {plain(headline)}."]
    return [*lines, f"Verdicts: {verdicts}."] if verdicts else lines


def _session_line(entry: Entry) -> str:
    verdicts = tally(entry.runs[-1].analysis) if entry.runs else ""
    found = f" ({verdicts})" if verdicts else ""
    return f"- Session {entry.number} ({entry.date}): {plain(entry.title)}{found}"


def _read(workspace: Workspace) -> str | None:
    # Surrogates stand for bytes that are not UTF-8, and become the same bytes again.
    try:
        return workspace.prompt.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise explain(error, workspace.prompt, "reading") from error


def _read_or_make(workspace: Workspace) -> str:
    text = _read(workspace)
    return render_template(workspace, "prompt.md.j2", {}) if text is None else text


def _write(workspace: Workspace, text: str) -> bool:
    content = text.encode("utf-8", "surrogateescape")
    # A link stays one: what it points to is replaced.
    path = workspace.prompt.resolve()
    try:
        if path.read_bytes() == content:
            return False
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        mode = 0o644
    except OSError as error:
        raise explain(error, path, "reading") from error
    # Replacing a file needs no permission on it; a file that was protected is meant to stay.
    if path.exists() and not os.access(path, os.W_OK):
        raise explain(PermissionError(errno.EACCES, "it is write-protected"), path, "writing")
    write_atomically(path, content, mode=mode)
    return True
