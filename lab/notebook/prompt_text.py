"""The prompt as text: its sections, and the open items in them. Pure; never rewrites a line.

The prompt is mostly prose of people. A section begins with a heading ("## Next steps") or with a
paragraph of one line that ends with a colon ("Immediate next steps:"); its items are the list items
that begin in the first column, with all that belongs to them.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum

import msgspec

from lab.core.errors import UsageError
from lab.notebook.fences import begins_fence, covered

_NEXT_STEPS = re.compile(r"\bnext steps?\b", re.IGNORECASE)
_COMPLETED = re.compile(r"\bcompleted\b", re.IGNORECASE)

_HEADING = re.compile(r"(#{1,6})[ \t]+(.*)")
_BULLET = re.compile(r"(?:[-*+]|[0-9]{1,9}[.)])[ \t]+(\S.*)")
_OTHER_BLOCK = re.compile(rf"{_HEADING.pattern}|{_BULLET.pattern}|<!--|```|~~~")
_RULE = re.compile(r"([-*_])(?:[ \t]*\1){2,}")
_TASK = re.compile(r"\[([ xX])\][ \t]+")
_OWN = re.compile(r"(N[0-9]+):[ \t]+")
_NUMBERED = re.compile(r"^[ \t]*(?:[-*+]|[0-9]{1,9}[.)])[ \t]+(?:\[ \][ \t]+)?N([0-9]+):", re.M)


class Kind(StrEnum):
    """What a section of a prompt holds."""

    NEXT_STEPS = "next steps"
    COMPLETED = "completed"


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """An open next step.

    ``id`` is written in the item (``N4``) where the lab added it; otherwise it is made from the
    item's text (``x3f2a``), so that it survives a change of order. ``text`` has no bullet and no
    id. Lines count from 1; ``last_line`` is included.
    """

    id: str
    text: str
    line: int
    last_line: int


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Part of a prompt: lines ``first`` (that of its title) to ``end`` (not included), from 0.

    ``level`` is that of its heading, 0 where a paragraph introduces it. ``items`` are the spans of
    its list items.
    """

    first: int
    end: int
    level: int
    items: tuple[tuple[int, int], ...]


def split_lines(text: str) -> list[str]:
    """Return the lines of ``text`` with their ends; joined, they are ``text`` again."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def sections(lines: Sequence[str], kind: Kind) -> list[Section]:
    """Return the sections of ``kind``, in order; none lies inside another, or goes on into one."""
    hidden = hidden_lines(lines)
    titles = {
        index: title
        for index in range(len(lines))
        if index not in hidden and (title := _kind_of(lines, index))
    }
    found: list[Section] = []
    for index, each in titles.items():
        if each is not kind or (found and index < found[-1].end):
            continue
        heading = _HEADING.match(lines[index])
        level = len(heading[1]) if heading else 0
        natural = (
            _end_of_heading(lines, index, level, hidden)
            if heading
            else _end_of_list(lines, index, hidden)
        )
        others = [at for at, other in titles.items() if at > index and other is not kind]
        end = min([natural, *others])
        spans = tuple(_spans(lines, index + 1, end, hidden))
        found.append(Section(first=index, end=end, level=level, items=spans))
    return found


def items(text: str) -> list[Item]:
    """Return the open next steps of a prompt, in the order in which they stand."""
    lines = split_lines(text)
    spans = [span for section in sections(lines, Kind.NEXT_STEPS) for span in section.items]
    bodies = [_body(lines[first:end]) for first, end in spans]
    opened = [
        (body, span)
        for body, span in zip(bodies, spans, strict=True)
        if not ((task := _TASK.match(body)) and task[1] in "xX")
    ]
    texts = [_TASK.sub("", body, count=1) for body, _ in opened]
    return [
        Item(id=name, text=_OWN.sub("", body, count=1), line=first + 1, last_line=end)
        for name, body, (_, (first, end)) in zip(_names(texts), texts, opened, strict=True)
    ]


def find_item(found: Sequence[Item], wanted: str) -> Item:
    """Return the item with the id ``wanted``, in whatever case.

    Raises
    ------
    UsageError
        There is none; the nearest one is named.

    """
    for item in found:
        if item.id.lower() == wanted.strip().lower():
            return item
    ids = [item.id for item in found]
    near = difflib.get_close_matches(wanted, ids, n=1, cutoff=0.0)
    text = next((item.text.splitlines()[0] for item in found if item.id in near), "")
    raise UsageError(
        f"The prompt has no open next step {wanted!r}.",
        code="prompt.unknown-item",
        why="It may have been resolved, or reworded, which changes an id that is not written down.",
        remedy=f"The nearest is {near[0]} ({text}). `invoke prompt.list` lists them all."
        if near
        else "No next step is open; `invoke prompt.add` adds one.",
    )


def next_number(text: str) -> int:
    """Return the first number that no item of the prompt has ever had, resolved ones included."""
    return max((int(number) for number in _NUMBERED.findall(text)), default=0) + 1


def same_text(one: str, other: str) -> bool:
    """Say whether two items say the same, whatever their line breaks."""
    return one.split() == other.split()


def hidden_lines(lines: Sequence[str]) -> set[int]:
    """Return the indexes of lines that are code, or belong to the lab's regions."""
    hidden = covered(lines)
    region = False
    for index, line in enumerate(lines):
        closes = line.startswith("<!-- /lab:")
        region = region or (line.startswith("<!-- lab:") and index not in hidden)
        if region:
            hidden.add(index)
        if closes:
            region = False
    return hidden


def _kind_of(lines: Sequence[str], index: int) -> Kind | None:
    """Return the kind of section that a line is the title of."""
    if not _HEADING.match(lines[index]) and not _introduces(lines, index):
        return None
    # "Completed next steps" are completed.
    if _COMPLETED.search(lines[index]):
        return Kind.COMPLETED
    return Kind.NEXT_STEPS if _NEXT_STEPS.search(lines[index]) else None


def _introduces(lines: Sequence[str], index: int) -> bool:
    """Say whether a line is a paragraph of its own that ends with a colon."""
    line = lines[index].strip()
    above = lines[index - 1].strip() if index else ""
    below = lines[index + 1] if index + 1 < len(lines) else ""
    return (
        line.strip("*_ ").endswith(":")
        and not lines[index][:1].isspace()
        and not _BULLET.match(line)
        and (not above or bool(_HEADING.match(above)) or above.startswith("<!--"))
        and (not below.strip() or bool(_OTHER_BLOCK.match(below)))
    )


def _end_of_heading(lines: Sequence[str], start: int, level: int, hidden: set[int]) -> int:
    for index in range(start + 1, len(lines)):
        heading = _HEADING.match(lines[index])
        if heading and index not in hidden and len(heading[1]) <= level:
            return index
    return len(lines)


def _end_of_list(lines: Sequence[str], start: int, hidden: set[int]) -> int:
    """Return where the list that a paragraph introduces is over: at the next text of its level."""
    begun = False
    for index in range(start + 1, len(lines)):
        line = lines[index]
        if _HEADING.match(line) and index not in hidden:
            return index
        if _BULLET.match(line) and index not in hidden:
            begun = True
        elif line.strip() and not line[:1].isspace() and not (begun and lines[index - 1].strip()):
            return index
    return len(lines)


def _spans(
    lines: Sequence[str], start: int, end: int, hidden: set[int]
) -> Iterator[tuple[int, int]]:
    """Yield the list items between two lines, without the blank lines after them."""
    first: int | None = None
    for index in range(start, end + 1):
        line = lines[index] if index < end else ""
        bullet = bool(_BULLET.match(line)) and not _RULE.fullmatch(line.strip())
        new = bullet and index not in hidden
        apart = bool(line[:1].strip()) and not lines[index - 1].strip()
        # A fence that is never closed is no code; moved with an item, it would make code of others.
        block = bool(_HEADING.match(line)) or begins_fence(line)
        over = index == end or new or apart or index in hidden or block
        if first is not None and over:
            last = index
            while not lines[last - 1].strip():
                last -= 1
            yield first, last
            first = None
        if new and index < end:
            first = index


def _body(lines: Sequence[str]) -> str:
    bullet = _BULLET.match(lines[0].rstrip("\r\n"))
    assert bullet is not None, "an item begins with its bullet"
    indent = bullet.start(1)
    rest = [line.rstrip() for line in lines[1:]]
    rest = [line[indent:] if line[:indent].isspace() else line for line in rest]
    return "\n".join([bullet[1].rstrip(), *rest])


def _names(texts: Sequence[str]) -> list[str]:
    """Return the items' ids: the written one, or the shortest hash that tells the texts apart."""
    digests = [hashlib.sha256(" ".join(text.split()).encode("utf-8", "replace")) for text in texts]
    hashes = [digest.hexdigest() for digest in digests]
    length = 4
    while len({digest[:length] for digest in hashes}) < len(set(hashes)):
        length += 1
    names: list[str] = []
    for text, digest in zip(texts, hashes, strict=True):
        own = _OWN.match(text)
        name = own[1] if own else f"x{digest[:length]}"
        copies = sum(1 for each in names if each.partition("-")[0] == name)
        names.append(f"{name}-{copies + 1}" if copies else name)
    return names
