"""Progress with rate and time left, for a terminal, for a log file, and for nobody."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any, Protocol, TextIO, cast

from lab.core.pace import Pace

PLAIN_INTERVAL_S = 3.0
QUIET_S = 2.0
RICH_INTERVAL_S = 0.5
WIDE = 120


class Stage(Protocol):
    """Something that advances towards a known total."""

    def advance(self, count: int = 1) -> None:
        """Say that ``count`` more units are done."""


class Progress(Protocol):
    """How a long task tells people that it lives. Everything goes to standard error."""

    def say(self, text: str) -> None:
        """Say one line."""

    def stage(
        self, title: str, *, total: int, unit: str, growing: bool = False
    ) -> contextlib.AbstractContextManager[Stage]:
        """Open a stage of ``total`` units; its rate and time left are shown after two seconds.

        ``growing`` says that each unit may take longer than the one before: the time left is
        foreseen by that, and the rate at the beginning is shown, too.
        """


class _SilentStage:
    def advance(self, count: int = 1) -> None:
        pass


class SilentProgress:
    """Says nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""

    @contextlib.contextmanager
    def stage(self, title: str, *, total: int, unit: str, growing: bool = False) -> Iterator[Stage]:
        """Open a stage that shows nothing."""
        yield _SilentStage()


class _Forgiving:
    """A stream whose reader may go away: no work ends because nobody watches it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Clock:
    """Takes the time between advances, and puts rate and time left into words."""

    def __init__(self, total: int, growing: bool) -> None:
        self.total = total
        self._pace = Pace(total)
        self._growing = growing
        self._started = self._last = time.monotonic()
        self.done = 0
        self.now = self._last

    def advance(self, count: int) -> None:
        self.done += count
        self.now = time.monotonic()
        self._pace.note(count, self.now - self._last)
        self._last = self.now

    def rate(self) -> str:
        if self._growing:
            now, first = _rate(self._pace.rate), _rate(self._pace.rate_at_first)
            return f"{now} now ({first} at first)"
        return _rate(self._mean_rate)

    def left(self) -> str:
        if self._growing:
            return f"about {duration_text(self._pace.seconds_left)} left"
        mean = self._mean_rate
        seconds = (self.total - self.done) / mean if mean else float("inf")
        return f"{duration_text(seconds)} left"

    @property
    def _mean_rate(self) -> float:
        passed = self.now - self._started
        return self.done / passed if passed else 0.0


class _PlainStage:
    def __init__(self, stream: TextIO, title: str, unit: str, clock: _Clock) -> None:
        self._stream = stream
        self._title = title
        self._unit = unit
        self._clock = clock
        self._next = clock.now + QUIET_S

    def advance(self, count: int = 1) -> None:
        clock = self._clock
        clock.advance(count)
        if clock.now < self._next:
            return
        self._next = clock.now + PLAIN_INTERVAL_S
        print(
            f"{self._title}: {clock.done}/{clock.total} {self._unit}, "
            f"{clock.rate()}, {clock.left()}",
            file=self._stream,
            flush=True,
        )


class PlainProgress:
    """A plain line every few seconds, for a pipe or a log file."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def say(self, text: str) -> None:
        """Print one line."""
        print(text, file=self._stream, flush=True)

    @contextlib.contextmanager
    def stage(self, title: str, *, total: int, unit: str, growing: bool = False) -> Iterator[Stage]:
        """Open a stage that prints a line every few seconds."""
        yield _PlainStage(self._stream, title, unit, _Clock(total, growing))


class RichProgress:
    """A bar with rate and time left, for a terminal."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        self._console = Console(file=stream, highlight=False)

    def say(self, text: str) -> None:
        """Print one line, dimmed."""
        self._console.print(text, style="dim", markup=False)

    @contextlib.contextmanager
    def stage(self, title: str, *, total: int, unit: str, growing: bool = False) -> Iterator[Stage]:
        """Open a stage shown as a bar that goes away when it is done."""
        from rich import progress as bars

        # The figures say more than a bar and the unit where not all fit.
        wide = self._console.width >= WIDE
        count = f"{{task.completed:.0f}}/{{task.total:.0f}}{f' {unit}' if wide else ''}"
        with bars.Progress(
            bars.TextColumn("{task.description}"),
            *((bars.BarColumn(),) if wide else ()),
            bars.TextColumn(f"{count}{{task.fields[pace]}}"),
            console=self._console,
            transient=True,
        ) as bar:
            task = bar.add_task(title, total=total, pace="")
            yield _RichStage(bar, task, _Clock(total, growing))


class _RichStage:
    def __init__(self, bar: object, task: object, clock: _Clock) -> None:
        self._bar = bar
        self._task = task
        self._clock = clock
        self._next = clock.now + QUIET_S

    def advance(self, count: int = 1) -> None:
        from rich.progress import Progress as Bar
        from rich.progress import TaskID

        bar, task, clock = cast(Bar, self._bar), cast(TaskID, self._task), self._clock
        clock.advance(count)
        bar.advance(task, count)
        if clock.now >= self._next:
            self._next = clock.now + RICH_INTERVAL_S
            bar.update(task, pace=f", {clock.rate()}, {clock.left()}")


def choose_progress() -> Progress:
    """Return the progress that fits where standard error goes."""
    stream = cast(TextIO, _Forgiving(sys.stderr))
    return RichProgress(stream) if stream.isatty() else PlainProgress(stream)


def duration_text(seconds: float) -> str:
    """Return a duration for people: ``4 min 10 s``, ``2 h 05 min``."""
    if seconds == float("inf"):
        return "unknown time"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _rate(per_second: float) -> str:
    return f"{per_second:,.0f}/s" if per_second >= 10 else f"{per_second:.1f}/s"
