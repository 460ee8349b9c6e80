"""The entries of a log, whoever wrote them: where they begin and end, and what they are called."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from lab.core.errors import UsageError
from lab.core.files import explained
from lab.notebook.append import HEADING
from lab.notebook.fences import Fence

_ANY_HEADING = re.compile(r"(#{1,6})(?:[ \t]|$)")
_DATE_IN_TITLE = re.compile(r"\s*\((\d{4}-\d{2}-\d{2})\)\s*$")
_DATE_LINE = re.compile(r"\*\*Date:?\*\*:?\s*(\d{4}-\d{2}-\d{2})")
_MARKER = re.compile(r"<!-- lab:entry (?:.* )?id=(\S+) .*-->")


class LogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One session's section of a log.

    ``date`` is ISO 8601, None where none is given; ``session`` is the id in the lab's marker, None
    in an entry kept by hand. Lines count from 1, and ``last_line`` is included; ``begin`` and
    ``end`` are offsets in bytes, the second not included.
    """

    number: int
    title: str
    date: str | None
    session: str | None
    line: int
    last_line: int
    begin: int
    end: int


class _Found(msgspec.Struct):
    number: int
    title: str
    level: int
    line: int
    begin: int
    date: str | None
    session: str | None = None


def entries(path: Path) -> list[LogEntry]:
    """Return the entries of the log ``path`` in the order in which they stand; reads all of it.

    An entry goes on to the next session's heading, or to another heading of its own level or above.

    Raises
    ------
    PreconditionError
        The file cannot be read.

    """
    return parse_entries(read_log(path))


def entry_text(path: Path, number: int) -> str:
    """Return the text of session ``number``; the last one where a number was given twice.

    Bytes that are not UTF-8 are shown as replacement characters.

    Raises
    ------
    UsageError
        The log has no such session.

    """
    content = read_log(path)
    found = parse_entries(content)
    for entry in reversed(found):
        if entry.number == number:
            return content[entry.begin : entry.end].decode("utf-8", "replace").rstrip() + "\n"
    numbers = [entry.number for entry in found]
    has = f"It has sessions {min(numbers)} to {max(numbers)}." if found else "It has none yet."
    raise UsageError(
        f"{path.name} has no session {number}.",
        code="log.no-such-session",
        why=has,
        remedy="`invoke log.list` lists the sessions.",
    )


def read_log(path: Path) -> bytes:
    """Return the bytes of the log; none where there is no file.

    Raises
    ------
    PreconditionError
        The file cannot be read.

    """
    with explained(path, "reading"):
        return path.read_bytes() if path.exists() else b""


def parse_entries(content: bytes) -> list[LogEntry]:
    """Return the entries of a log that reads ``content``."""
    done: list[LogEntry] = []
    current: _Found | None = None
    hidden: _Found | None = None
    fence = Fence()
    begin = 0
    number = 0
    for number, raw in enumerate(content.split(b"\n"), start=1):
        # Most lines are prose and need no decoding; these bytes begin all that has a meaning here.
        if raw[:1] in (b"#", b"`", b"~", b"<", b"*", b"\xef"):
            line = raw.decode("utf-8", "replace").removeprefix("\ufeff").rstrip()
            started = _begun(line, number, begin)
            if hidden is not None and hidden.line == number - 1 and _session_of(line):
                # An entry of the lab is one even below a fence that somebody forgot to close.
                if current is not None:
                    done.append(_closed(current, hidden.line - 1, hidden.begin))
                current, fence = hidden, Fence()
                current.session = _session_of(line)
            elif fence.covers(line):
                hidden = started
            elif current is not None and not started and not _ends(line, current):
                _read_more(current, line, number)
            else:
                if current is not None:
                    done.append(_closed(current, number - 1, begin))
                current = started
        begin += len(raw) + 1
    if current is not None:
        last = number if not content.endswith(b"\n") else number - 1
        done.append(_closed(current, last, len(content)))
    return done


def _begun(line: str, number: int, begin: int) -> _Found | None:
    heading = HEADING.fullmatch(line)
    if heading is None:
        return None
    title = heading["title"] or heading["dashed"] or heading["bare"] or ""
    dated = _DATE_IN_TITLE.search(title)
    return _Found(
        number=int(heading["number"]),
        title=_DATE_IN_TITLE.sub("", title).strip(),
        level=len(heading["marks"]),
        line=number,
        begin=begin,
        date=dated[1] if dated else None,
    )


def _ends(line: str, current: _Found) -> bool:
    heading = _ANY_HEADING.match(line)
    return heading is not None and len(heading[1]) <= current.level


def _session_of(line: str) -> str | None:
    found = _MARKER.fullmatch(line)
    return found[1] if found else None


def _read_more(current: _Found, line: str, number: int) -> None:
    if current.line == number - 1:
        current.session = _session_of(line)
    dated = _DATE_LINE.match(line)
    if current.date is None and dated:
        current.date = dated[1]


def _closed(found: _Found, last_line: int, end: int) -> LogEntry:
    return LogEntry(
        number=found.number,
        title=found.title,
        date=found.date,
        session=found.session,
        line=found.line,
        last_line=last_line,
        begin=found.begin,
        end=end,
    )
