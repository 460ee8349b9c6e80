"""The log as bytes: what is there is never rewritten, and only its tail is read.

Appending has two halves, so that it survives a crash between or inside them: `plan_append` says
what would be written where, which the session's journal keeps, and `carry_out` brings it about
however far an earlier attempt came.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from lab.core.files import explained, sha256, sync_directory

_CHUNK = 64 * 1024
_LONGEST_HEADING = 1024

# The styles in use: "### Session 1: Title (2026-02-18)", "## Session 22 — Title", "## Session 4".
HEADING = re.compile(
    r"(?P<marks>#{1,3})[ \t]+Session[ \t]+(?P<number>[0-9]{1,9})"
    r"(?:[ \t]*[:–—][ \t]*(?P<title>.*)|[ \t]+-+[ \t]+(?P<dashed>.*)|[ \t]*(?P<bare>\(.*)?)"
)
"""The heading of a session's entry, as a whole line without its end."""


class PlannedAppend(msgspec.Struct, frozen=True, kw_only=True):
    """What `carry_out` is to write, and where it was to begin when it was planned.

    ``content`` is every byte: the separation from what stands before, then the entry in the line
    endings of the file. ``marker`` is the piece of text by which the entry is known again.
    """

    offset: int
    content: bytes
    sha256: str
    marker: str


def marker_of(session: str) -> str:
    """Return the comment that follows the heading of the entry of the session ``session``."""
    return f"<!-- lab:entry id={session} -->"


def plan_append(path: Path, text: str, session: str, *, heading: str) -> PlannedAppend:
    """Plan to append ``text`` to ``path``, which need not exist; writes nothing.

    Parameters
    ----------
    text:
        The entry, lines ended by line feeds; it holds the `marker_of` the session.
    heading:
        What an empty or new file begins with.

    Raises
    ------
    PreconditionError
        The file cannot be read.

    """
    if marker_of(session) not in text:
        raise ValueError("an entry without its marker could be appended twice")
    with explained(path, "reading"):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            size, tail = 0, b""
        else:
            try:
                size, tail = _tail(descriptor)
            finally:
                os.close(descriptor)
    if not size:
        text = f"{heading.strip()}\n\n{text}" if heading.strip() else text
    content = _separated(tail, text.encode("utf-8", "surrogateescape"))
    return PlannedAppend(
        offset=size, content=content, sha256=sha256(content), marker=marker_of(session)
    )


def carry_out(path: Path, planned: PlannedAppend) -> bool:
    """Append what was planned, once; say whether this call wrote anything.

    Looks first: what stands there wholly is left, what stands there in part at the end of the file
    is completed, and where the file has grown otherwise meanwhile, the entry goes to its new end
    unless its marker is there. A failed write is taken back.

    Raises
    ------
    PreconditionError
        No space, or no permission; the file is as it was.

    """
    if sha256(planned.content) != planned.sha256:
        raise ValueError("the planned content does not have its hash")
    with explained(path, "appending to"):
        created = not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            missing = _missing(descriptor, planned)
            if missing:
                _write(descriptor, missing)
        except OSError:
            if created and os.fstat(descriptor).st_size == 0:
                path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        if created:
            sync_directory(path.parent)
    return bool(missing)


def last_number(path: Path) -> int:
    """Return the number of the last session in the log ``path``; 0 where there is none.

    Reads backward from the end, in pieces of bounded size, until a session's heading is found.
    Headings inside fenced code do not count, if the fences of the file are balanced.

    Raises
    ------
    PreconditionError
        The file cannot be read.

    """
    fenced = 0
    closing = ""
    with explained(path, "reading"):
        if not path.exists():
            return 0
        for line in _lines_backward(path):
            fence = re.fullmatch(r"(`{3,}(?=[^`]*$)|~{3,})(.*)", line)
            if fence:
                # Seen from below, a bare fence outside of code closes a block, and one with a
                # language can only open one.
                opens = bool(fence[2].strip()) or closing == fence[1]
                closing = "" if opens else closing or fence[1]
                continue
            heading = HEADING.fullmatch(line)
            if heading and not closing:
                return int(heading["number"])
            if heading:
                fenced = max(fenced, int(heading["number"]))
    # Nothing outside of code in the whole file: its fences are unbalanced.
    return fenced if closing else 0


def _tail(descriptor: int) -> tuple[int, bytes]:
    size = os.fstat(descriptor).st_size
    start = max(0, size - _CHUNK)
    return size, os.pread(descriptor, size - start, start)


def _separated(tail: bytes, entry: bytes) -> bytes:
    """Return ``entry`` as it is appended after ``tail``: a blank line between, same line ends."""
    end = b"\r\n" if re.search(rb"\r\n[^\n]*\Z", tail) else b"\n"
    entry = entry.strip(b"\r\n").replace(b"\r\n", b"\n").replace(b"\n", end) + end
    if not tail or re.search(rb"(?:\A|\n)[ \t]*\r?\n\Z", tail):
        return entry
    return (end if tail.endswith(b"\n") else end + end) + entry


def _missing(descriptor: int, planned: PlannedAppend) -> bytes:
    """Return what of ``planned`` is still to be written at the end of the file."""
    content = planned.content
    size = os.fstat(descriptor).st_size
    if size >= planned.offset:
        there = os.pread(descriptor, len(content), planned.offset)
        if there == content:
            return b""
        if content.startswith(there) and size == planned.offset + len(there):
            return content[len(there) :]
    return _missing_elsewhere(descriptor, planned, size)


def _missing_elsewhere(descriptor: int, planned: PlannedAppend, size: int) -> bytes:
    """As `_missing`, in a file that others have edited since: it is searched for the marker."""
    marker = planned.marker.encode()
    entry = planned.content[planned.content.rfind(b"\n#", 0, planned.content.find(marker)) + 1 :]
    position = _find(descriptor, marker, size)
    if position is None:
        _, tail = _tail(descriptor)
        return _separated(tail, entry)
    begin = position - entry.find(marker)
    there = os.pread(descriptor, len(entry), begin) if begin >= 0 else b""
    torn = entry.startswith(there) and begin + len(there) == size
    return entry[len(there) :] if torn else b""


def _find(descriptor: int, wanted: bytes, size: int) -> int | None:
    overlap = len(wanted) - 1
    for start in range(0, size, _CHUNK):
        position = os.pread(descriptor, _CHUNK + overlap, start).find(wanted)
        if position >= 0:
            return start + position
    return None


def _write(descriptor: int, content: bytes) -> None:
    """Write all of ``content`` durably at the end, or leave the file as it was."""
    before = os.fstat(descriptor).st_size
    written = 0
    try:
        while written < len(content):
            written += os.write(descriptor, content[written:])
        os.fsync(descriptor)
    except BaseException:
        # Only what this call wrote is taken back, never what somebody else appended after it.
        if os.fstat(descriptor).st_size == before + written:
            os.ftruncate(descriptor, before)
        raise


def _lines_backward(path: Path) -> Iterator[str]:
    """Yield the lines of a file from the last to the first, long ones cut short."""
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        rest = b""
        while position:
            start = max(0, position - _CHUNK)
            file.seek(start)
            piece = file.read(position - start) + rest
            first, *lines = piece.split(b"\n")
            for line in reversed(lines):
                yield _heading_text(line)
            rest = first[:_LONGEST_HEADING]
            position = start
        yield _heading_text(rest).removeprefix("\ufeff")


def _heading_text(line: bytes) -> str:
    return line[:_LONGEST_HEADING].decode("utf-8", "replace").rstrip()
