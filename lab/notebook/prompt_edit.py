"""Changes to a prompt, as splices of its lines: pure functions from text to text."""

from __future__ import annotations

from collections.abc import Sequence

from lab.notebook.prompt_text import (
    Item,
    Kind,
    Section,
    hidden_lines,
    items,
    next_number,
    same_text,
    sections,
    split_lines,
)
from lab.notebook.regions import Region, parse_regions, require_closed, splice, wrap

_NAME = "ddl-perf-prompt.md"


def insert_item(text: str, new: str) -> str:
    """Return ``text`` with ``new`` as the last item of the first section of next steps.

    Unchanged where an open item says the same. Without such a section, one is added at the end.
    """
    if any(same_text(item.text, new) for item in items(text)):
        return text
    end = _line_end(text)
    lines = split_lines(text)
    rest = new.strip().replace("\r\n", "\n").split("\n")
    item = _indented(f"N{next_number(text)}: {rest[0].strip()}", rest[1:], end)
    found = sections(lines, Kind.NEXT_STEPS)
    if not found:
        return _append(text, [f"## Next steps{end}", end, *item], end)
    return "".join(_into(lines, found[0], item, end))


def remove_item(text: str, item: Item, by: str) -> str:
    """Return ``text`` with ``item`` moved from the next steps to what was completed.

    Its lines stay as they are, with a line on what resolved it below them.
    """
    end = _line_end(text)
    lines = split_lines(text)
    first, last = item.line - 1, item.last_line
    moved = [line if line.endswith("\n") else line + end for line in lines[first:last]]
    # In an item of one paragraph the line joins it; below lists and paragraphs it stands apart.
    apart = any(not line.strip() or line.lstrip()[:2] in ("- ", "* ") for line in moved[1:])
    moved += [*([end] if apart else []), f"  Resolved by: {' '.join(by.split())}{end}"]
    alone = not first or not lines[first - 1].strip()
    if alone and last < len(lines) and not lines[last].strip():
        last += 1
    kept = [*lines[:first], *lines[last:]]
    found = sections(kept, Kind.COMPLETED)
    if found:
        return "".join(_into(kept, found[0], moved, end))
    steps = sections(lines, Kind.NEXT_STEPS)[0]  # begins above the item
    title = f"{'#' * steps.level} Completed{end}" if steps.level else f"Completed:{end}"
    return "".join([*kept[: steps.first], title, end, *moved, end, *kept[steps.first :]])


def with_session(
    text: str, *, session: str, status: Sequence[str], line: str, next_steps: Sequence[str]
) -> str:
    """Return ``text`` after a session: status, the session among the completed ones, next steps.

    The status is a region of the lab's, added above the status that people keep, or else above the
    next steps. Sessions are listed in the region ``completed`` where there is one, and else in that
    of the status. A session that is listed already changes nothing but the status.
    """
    marker = f"<!-- lab:session id={session} -->"
    known = marker in text
    if not known:
        for step in next_steps:
            text = insert_item(text, step)
    end = _line_end(text)
    text = _with_region(text, end)
    apart = bool(parse_regions(text, "completed"))
    listed = _listed(text, "completed" if apart else "status")
    if not known:
        listed = [*listed, f"{line} {marker}"]
    if apart:
        text = _replace(text, "completed", listed, end)
        return _replace(text, "status", list(status), end)
    return _replace(text, "status", [*status, "", *listed], end)


def _region(text: str, kind: str) -> Region:
    return require_closed(parse_regions(text, kind)[0], _NAME)


def _listed(text: str, kind: str) -> list[str]:
    """Return the lines of the region that list a session."""
    region = _region(text, kind)
    body = text[region.body_begin : region.body_end]
    return [line.rstrip("\r") for line in body.split("\n") if "<!-- lab:session " in line]


def _replace(text: str, kind: str, lines: Sequence[str], end: str) -> str:
    region = _region(text, kind)
    body = "".join(f"{line}{end}" for line in lines)
    return splice(text, region.body_begin, region.body_end, body)


def _with_region(text: str, end: str) -> str:
    """Return ``text`` with a status region: its own, or an empty one at a sensible place."""
    if parse_regions(text, "status"):
        return text
    region = split_lines(wrap("status", {}, "").replace("\n", end))
    lines = split_lines(text)
    place = _place_of_status(lines)
    if place is None:
        return _append(text, region, end)
    above = [end] if place and lines[place - 1].strip() else []
    return "".join([*lines[:place], *above, *region, end, *lines[place:]])


def _place_of_status(lines: Sequence[str]) -> int | None:
    """Return the index of the line that the status region goes before."""
    hidden = hidden_lines(lines)
    for index, line in enumerate(lines):
        begins = index not in hidden and (not index or not lines[index - 1].strip())
        words = line.lstrip("#* ").lower()
        if begins and words.startswith(("status", "current status")):
            heading = line.startswith("#")
            return _after_blanks(lines, index + 1) if heading else index
    steps = sections(lines, Kind.NEXT_STEPS)
    return steps[0].first if steps else None


def _after_blanks(lines: Sequence[str], index: int) -> int | None:
    while index < len(lines) and not lines[index].strip():
        index += 1
    return index if index < len(lines) else None


def _into(lines: Sequence[str], section: Section, item: Sequence[str], end: str) -> list[str]:
    """Return ``lines`` with ``item`` below the section's last item, or else below its text."""
    if section.items:
        place = section.items[-1][1]
        loose = len(section.items) > 1 and not lines[section.items[-1][0] - 1].strip()
        between = [end] if loose else []
    else:
        place = section.end
        while not lines[place - 1].strip():
            place -= 1
        between = [end]
    above = list(lines[:place])
    if not above[-1].endswith("\n"):
        above[-1] += end
    # Text right below an item would be read as part of it.
    below = [end] if place < len(lines) and lines[place].strip() else []
    return [*above, *between, *item, *below, *lines[place:]]


def _append(text: str, lines: Sequence[str], end: str) -> str:
    if text and not text.endswith("\n"):
        text += end
    apart = end if text.strip() and not text.endswith((f"{end}{end}", "\n\n")) else ""
    return "".join([text, apart, *lines])


def _indented(first: str, rest: Sequence[str], end: str) -> list[str]:
    below = [f"  {line.rstrip()}{end}" if line.strip() else end for line in rest]
    return [f"- {first}{end}", *below]


def _line_end(text: str) -> str:
    return "\r\n" if text.partition("\n")[0].endswith("\r") else "\n"
