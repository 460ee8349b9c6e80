"""Which lines of a Markdown text are code, so that nothing in them is taken for structure.

Only fences that begin in the first column count: the lab's headings and markers begin there, and a
fence inside a list item cannot hold a line that does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_FENCE = re.compile(r"(?P<mark>`{3,}(?=[^`]*$)|~{3,})(?P<info>.*)")


class Fence:
    """Follows the lines of a text, in order, and knows whether it is inside a fenced block."""

    def __init__(self) -> None:
        self._open = ""

    @property
    def inside(self) -> bool:
        """Whether a block is open after the lines taken so far."""
        return bool(self._open)

    def covers(self, line: str) -> bool:
        """Take the next line; say whether it is a fence or stands between two."""
        found = _FENCE.match(line.rstrip("\r\n"))
        if not self._open:
            self._open = found["mark"] if found else ""
            return bool(found)
        if found and found["mark"].startswith(self._open) and not found["info"].strip():
            self._open = ""
        return True


def begins_fence(line: str) -> bool:
    """Say whether ``line`` would open a fenced block."""
    return Fence().covers(line)


def covered(lines: Sequence[str]) -> set[int]:
    """Return the indexes of the lines in fenced blocks, from 0; a block without an end is none.

    To Markdown it would reach to the end of the text and swallow whatever is added there.
    """
    found: set[int] = set()
    block: list[int] = []
    fence = Fence()
    for index, line in enumerate(lines):
        if fence.covers(line):
            block.append(index)
        if not fence.inside:
            found.update(block)
            block = []
    return found
