"""How fast something advances that gets slower as it grows, and how long the rest of it takes.

What one unit takes is taken for a floor plus a slope times the number of units before it. Both are
fitted to windows of what is done, and the line is summed over what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_MOST_WINDOWS = 64
_WINDOW_S = 0.5
_RECENT_S = 3.0


class Window(NamedTuple):
    """``units`` in a row, the first of them number ``start`` (from 0), took ``seconds``."""

    start: int
    units: int
    seconds: float

    @property
    def middle(self) -> float:
        """The mean number of its units."""
        return self.start + (self.units - 1) / 2

    @property
    def mean(self) -> float:
        """Seconds a unit."""
        return self.seconds / self.units


class Line(NamedTuple):
    """Unit number ``i`` takes ``floor + slope * i`` seconds; neither is negative."""

    floor: float
    slope: float

    def seconds(self, first: int, end: int) -> float:
        """Return what the units from ``first`` to before ``end`` take together; 0 for none."""
        count = max(0, end - first)
        return count * (self.floor + self.slope * (first + end - 1) / 2) if count else 0.0


def fit(windows: Sequence[Window]) -> Line:
    """Fit a line to ``windows`` (at least one) by least squares, each weighing as its count.

    A slope that is not clear of its own standard error is drawn towards zero: a few noisy windows
    say nothing of what comes a thousand units later. Negative slopes count as none.
    """
    weight = float(sum(window.units for window in windows))
    middle = sum(window.units * window.middle for window in windows) / weight
    mean = sum(window.seconds for window in windows) / weight
    spread = sum(window.units * (window.middle - middle) ** 2 for window in windows)
    if len(windows) < 3 or spread == 0:
        return Line(mean, 0.0)
    slope = sum(w.units * (w.middle - middle) * (w.mean - mean) for w in windows) / spread
    if slope <= 0:
        return Line(mean, 0.0)
    residual = sum(w.units * (w.mean - mean - slope * (w.middle - middle)) ** 2 for w in windows)
    error = residual / (len(windows) - 2) / spread
    slope *= max(0.0, 1.0 - error / slope**2)
    floor = mean - slope * middle
    if floor < 0:
        # A floor is not negative: the line through origin and mean is the steepest there is.
        return Line(0.0, mean / middle)
    return Line(floor, slope)


class Pace:
    """What has been done of ``total`` units by the seconds that went by; memory is bounded."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._windows: list[Window] = []
        self._open = Window(0, 0, 0.0)
        self._first = Window(0, 0, 0.0)

    def note(self, count: int, seconds: float) -> None:
        """Count ``count`` more units, which took ``seconds``."""
        self._open = _longer(self._open, count, seconds)
        if self._first.seconds < _RECENT_S:
            self._first = _longer(self._first, count, seconds)
        self._done += count
        if self._open.units and self._open.seconds >= _WINDOW_S:
            self._windows.append(self._open)
            self._open = Window(self._done, 0, 0.0)
            if len(self._windows) > _MOST_WINDOWS:
                self._windows = _paired(self._windows)

    @property
    def rate(self) -> float:
        """Units a second of late; 0 before there are any."""
        units, seconds = 0, 0.0
        for window in reversed(self._all()):
            units, seconds = units + window.units, seconds + window.seconds
            if seconds >= _RECENT_S:
                break
        return units / seconds if seconds else 0.0

    @property
    def rate_at_first(self) -> float:
        """Units a second at the beginning; 0 before there are any."""
        return self._first.units / self._first.seconds if self._first.seconds else 0.0

    @property
    def seconds_left(self) -> float:
        """How long the rest takes by the fitted line; infinite before anything is done."""
        windows = self._all()
        return fit(windows).seconds(self._done, self._total) if windows else float("inf")

    def _all(self) -> tuple[Window, ...]:
        return (*self._windows, self._open) if self._open.units else tuple(self._windows)


def _longer(window: Window, units: int, seconds: float) -> Window:
    return Window(window.start, window.units + units, window.seconds + seconds)


def _paired(windows: Sequence[Window]) -> list[Window]:
    """Merge neighbours two by two; an odd one at the end stays."""
    pairs = (windows[index : index + 2] for index in range(0, len(windows), 2))
    return [Window(p[0].start, sum(w.units for w in p), sum(w.seconds for w in p)) for p in pairs]
