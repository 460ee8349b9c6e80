"""Derived regions: the parts of a text that are made from evidence and can be made again.

A region is a pair of comments, each on a line of its own, in the first column::

    <!-- lab:derived region=results run=ID evidence=sha256:… form=… text=sha256:… -->
    …
    <!-- /lab:derived -->

Everything outside is prose and belongs to people. ``text`` is a hash of all that the region was
written with, so that what was edited by hand is known from what another lab wrote.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from lab.core.errors import PreconditionError
from lab.core.files import sha256
from lab.notebook.fences import covered

_OPEN = re.compile(r"<!-- lab:(?P<kind>[a-z]+)(?P<attributes>(?: [a-z-]+=\S+)*) -->")
_CLOSE = re.compile(r"<!-- /lab:(?P<kind>[a-z]+) -->")
_SHORT = 16


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


def comment(kind: str, attributes: Mapping[str, str]) -> str:
    """Return the comment that opens a region, or stands alone; without a line end."""
    pairs = "".join(f" {name}={value}" for name, value in attributes.items())
    return f"<!-- lab:{kind}{pairs} -->"


def parse_comment(line: str, kind: str) -> dict[str, str] | None:
    """Return the attributes of the `comment` that is the whole of ``line``; None where none is."""
    found = _OPEN.fullmatch(line.removesuffix("\r"))
    return _pairs(found["attributes"]) if found and found["kind"] == kind else None


def wrap(kind: str, attributes: Mapping[str, str], body: str) -> str:
    """Return a region around ``body``, with a line feed at its end."""
    inner = body.strip("\n")
    return f"{comment(kind, attributes)}\n{inner}\n<!-- /lab:{kind} -->\n"


def shortened(digest: str) -> str:
    """Return a hash as comments give it: ``sha256:`` and 16 hex digits."""
    algorithm, _, digits = digest.rpartition(":")
    return f"{algorithm or 'sha256'}:{digits[:_SHORT]}"


def sealed(attributes: Mapping[str, str], lines: Sequence[str] = ()) -> dict[str, str]:
    """Return ``attributes`` with ``text``, the hash of them and of the region's ``lines``."""
    pairs = [f"{name}={value}" for name, value in attributes.items() if name != "text"]
    whole = "\n".join([*pairs, *lines]).encode("utf-8", "surrogateescape")
    return {**attributes, "text": shortened(sha256(whole))}


def is_sealed(attributes: Mapping[str, str], lines: Sequence[str] = ()) -> bool:
    """Say whether ``text`` still is the hash that `sealed` gives."""
    return sealed(attributes, lines) == dict(attributes)


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
    return Region(
        attributes=_pairs(attributes),
        line=line,
        begin=begin,
        end=after,
        body_begin=after,
        body_end=after,
    )


def _pairs(attributes: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in attributes.split(" ") if pair)


def _unclosed(region: Region) -> Region:
    return msgspec.structs.replace(region, closed=False)
