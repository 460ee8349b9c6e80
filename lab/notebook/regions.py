"""Derived regions: the parts of a text that are made from evidence and can be made again.

A region is a pair of comments, each on a line of its own, in the first column::

    <!-- lab:derived region=results run=ID evidence=sha256:… v=1 -->
    …
    <!-- /lab:derived -->

Everything outside is prose and belongs to people.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from lab.core.errors import PreconditionError
from lab.notebook.fences import covered

_OPEN = re.compile(r"<!-- lab:(?P<kind>[a-z]+)(?P<attributes>(?: [a-z-]+=\S+)*) -->")
_CLOSE = re.compile(r"<!-- /lab:(?P<kind>[a-z]+) -->")


class Region(msgspec.Struct, frozen=True, kw_only=True):
    """One region of a text: what its opening comment says, and where it stands.

    ``line`` is that of the opening comment, from 1. ``begin`` and ``end`` are the offsets of the
    whole region, with the line end after its closing comment; ``body_begin`` and ``body_end`` those
    of what lies between the comments. ``closed`` is False where the closing comment is missing:
    such a region has no body.
    """

    attributes: dict[str, str]
    line: int
    begin: int
    end: int
    body_begin: int
    body_end: int
    closed: bool = True


def parse_regions(text: str, kind: str = "derived") -> list[Region]:
    """Return the regions of ``kind`` in ``text``, whose line ends may be of either sort.

    Inside a region everything up to its closing comment is its body; fenced code outside of one
    holds none.
    """
    found: list[Region] = []
    opened: Region | None = None
    lines = text.split("\n")
    code = covered(lines)
    begin = 0
    for number, raw in enumerate(lines, start=1):
        line = raw.removesuffix("\r")
        after = min(begin + len(raw) + 1, len(text))
        opening = _OPEN.fullmatch(line)
        closing = _CLOSE.fullmatch(line)
        if opened is not None and closing and closing["kind"] == kind:
            found.append(msgspec.structs.replace(opened, end=after, body_end=begin))
            opened = None
        elif opening and opening["kind"] == kind and (opened or number - 1 not in code):
            if opened is not None:
                found.append(_unclosed(opened))
            opened = _opened(opening["attributes"], number, begin, after)
        begin += len(raw) + 1
    if opened is not None:
        found.append(_unclosed(opened))
    return found


def splice(text: str, begin: int, end: int, replacement: str) -> str:
    """Return ``text`` with what lies from ``begin`` to ``end`` replaced; all else is untouched."""
    return text[:begin] + replacement + text[end:]


def wrap(kind: str, attributes: Mapping[str, str], body: str) -> str:
    """Return a region around ``body``, with a line feed at its end."""
    pairs = "".join(f" {name}={value}" for name, value in attributes.items())
    inner = body.strip("\n")
    return f"<!-- lab:{kind}{pairs} -->\n{inner}\n<!-- /lab:{kind} -->\n"


def body_lines(text: str, region: Region) -> list[str]:
    """Return the lines of the region's body, without their ends."""
    body = text[region.body_begin : region.body_end]
    return [line.removesuffix("\r") for line in body.split("\n")[:-1]]


def require_closed(region: Region, place: str) -> Region:
    """Return ``region`` if it has its closing comment.

    Raises
    ------
    PreconditionError
        It has none: where it ends is unknown, so it is not touched.

    """
    if region.closed:
        return region
    raise PreconditionError(
        f"A region that begins at {place}:{region.line} has no end.",
        code="notebook.unclosed-region",
        why="Its closing comment, which begins with <!-- /lab:, was removed.",
        remedy="Put the closing comment back below the region's last line.",
    )


def _opened(attributes: str, line: int, begin: int, after: int) -> Region:
    pairs = dict(pair.split("=", 1) for pair in attributes.split())
    return Region(
        attributes=pairs,
        line=line,
        begin=begin,
        end=after,
        body_begin=after,
        body_end=after,
    )


def _unclosed(region: Region) -> Region:
    return msgspec.structs.replace(region, closed=False)
