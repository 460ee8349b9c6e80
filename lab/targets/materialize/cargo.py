"""What cargo prints while it compiles, made fit to be watched; pure but for the clock.

Off a terminal cargo prints a line for each crate that it begins with. Told to, it prints its bar,
too, which is where the number of crates comes from: ``Building [==>   ] 343/512: mz-sql, mz-repr``
and a carriage return.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping

import msgspec

ENVIRONMENT: Mapping[str, str] = {
    "CARGO_TERM_COLOR": "never",
    "CARGO_TERM_PROGRESS_WHEN": "always",
    "CARGO_TERM_PROGRESS_WIDTH": "120",
}
"""Makes cargo print its bar where nobody has a terminal."""

INTERVAL_S = 3.0
LONG_INTERVAL_S = 15.0
_LONG_S = 120.0
_MOST_LINES = 25
_MOST_COLUMNS = 200
_BAR = re.compile(r"\s*Building \[[=> ]*\] (\d+)/(\d+)(?:: *(.*))?")
_TOLD = re.compile(r"\s+(?:Blocking|Updating|Downloading|Installing|Finished) .*")
_WRAPPER = re.compile(r"(?:==> |\$ |fatal: ).*")
_WARNING = re.compile(r"warning(?:\[\w+\])?: ")
_ERROR = re.compile(r"error(?:\[\w+\])?: ")
_NEXT = re.compile(r"(?:error|warning)(?:\[\w+\])?: |\s+Compiling ")


class Bar(msgspec.Struct, frozen=True):
    """One state of cargo's bar: crates done, of how many, and which are being compiled."""

    done: int
    total: int
    current: str


def read_bar(text: str) -> Bar | None:
    """Return the state of the bar that ``text`` shows; None where it shows none."""
    found = _BAR.fullmatch(text.rstrip())
    return Bar(int(found[1]), int(found[2]), found[3] or "") if found else None


class Watch:
    """Takes what cargo prints, piece by piece, and says now and then how far it is."""

    def __init__(self) -> None:
        self._rest = b""
        self._bar: Bar | None = None
        self._first: Bar | None = None
        self._started = self._said = time.monotonic()
        self.warned = False

    def take(self, printed: bytes) -> Iterator[tuple[str, bool]]:
        """Return the lines that ``printed`` completes, each with whether a person should see it.

        States of the bar are no lines.
        """
        *whole, self._rest = re.split(rb"\r\n|\r|\n", self._rest + printed)
        for line in whole:
            text = line.decode("utf-8", "replace")
            bar = read_bar(text)
            if bar is None:
                self.warned = self.warned or bool(_WARNING.match(text))
                yield text, bool(_TOLD.fullmatch(text) or _WRAPPER.fullmatch(text))
            else:
                self._bar = bar
                self._first = self._first or bar

    def rest(self) -> str:
        """Return the last line, where it did not end."""
        return self._rest.decode("utf-8", "replace")

    def report(self) -> str:
        """Return how far cargo is, where it is time to say so again; else an empty text."""
        now = time.monotonic()
        long = now - self._started > _LONG_S
        if now - self._said < (LONG_INTERVAL_S if long else INTERVAL_S) or self._bar is None:
            return ""
        self._said = now
        bar, first = self._bar, self._first or self._bar
        words = f"Compiling: {bar.done} of {bar.total} crates"
        rate = (bar.done - first.done) / (now - self._started)
        if rate:
            words += f", {rate:.1f}/s, {_left((bar.total - bar.done) / rate)}"
        return f"{words}: {bar.current}" if bar.current else words


def first_error(printed: str) -> str:
    """Return the lines of the first error in what cargo ``printed``; empty where there is none.

    It ends with an empty line, unless its causes follow.
    """
    lines = printed.splitlines()
    start = next((i for i, line in enumerate(lines) if _ERROR.match(line)), None)
    if start is None:
        return ""
    block = lines[start : start + _MOST_LINES]
    return shortened(block[: _end(block)])


def _end(block: list[str]) -> int:
    causes = False
    for i, line in enumerate(block):
        following = block[i + 1] if i + 1 < len(block) else ""
        if i and _NEXT.match(line):
            return i
        if not line.strip():
            causes = causes or following.startswith("Caused by")
            if not (causes and following.startswith(("Caused by", "  "))):
                return i
    return len(block)


def shortened(lines: list[str]) -> str:
    """Return ``lines`` as one text, each cut off where it gets too long to read."""
    cut = (line if len(line) <= _MOST_COLUMNS else f"{line[:_MOST_COLUMNS]} …" for line in lines)
    return "\n".join(cut)


def _left(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"about {minutes} min left" if minutes else "less than a minute left"
