"""The mark on figures that show shapes alone, such as those of a debug build."""

from __future__ import annotations

import re
from collections.abc import Sequence

MARK = "†"
_FIGURE = re.compile(r"(?<=\d) ms\b(?!†)")


def legend(shapes_only: str) -> str:
    """Return the sentence that says what the mark means."""
    return (
        f"{MARK} {shapes_only}: these figures show shapes (what grows, what is nested), neither"
        " absolute latencies nor proportions"
    )


def marked(text: str, shapes_only: str) -> str:
    """Return ``text`` with a mark at each figure in ms; as it is where figures mean themselves."""
    return _FIGURE.sub(f" ms{MARK}", text) if shapes_only else text


def marked_headers(headers: Sequence[str], shapes_only: str) -> list[str]:
    """Return the headers of a table with a mark at each whose column is in ms."""
    return [f"{each}{MARK}" if shapes_only and "(ms)" in each else each for each in headers]
