"""Progress with rate and time left, for a terminal, for a log file, and for nobody."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any, Protocol, TextIO, cast

PLAIN_INTERVAL_S = 3.0
QUIET_S = 2.0


class Stage(Protocol):
    """Something that advances towards a known total."""

    def advance(self, count: int = 1) -> None:
        """Say that ``count`` more units are done."""


class Progress(Protocol):
    """How a long task tells people that it lives. Everything goes to standard error."""

    def say(self, text: str) -> None:
        """Say one line."""

    def stage(
        self, title: str, *, total: int, unit: str
    ) -> contextlib.AbstractContextManager[Stage]:
        """Open a stage of ``total`` units; its rate and time left are shown after two seconds."""


class _SilentStage:
    def advance(self, count: int = 1) -> None:
        pass


class SilentProgress:
    """Says nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""

    @contextlib.contextmanager
    def stage(self, title: str, *, total: int, unit: str) -> Iterator[Stage]:
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


class _PlainStage:
    def __init__(self, stream: TextIO, title: str, total: int, unit: str) -> None:
        self._stream = stream
        self._title = title
        self._total = total
        self._unit = unit
        self._done = 0
        self._started = time.monotonic()
        self._next = self._started + QUIET_S

    def advance(self, count: int = 1) -> None:
        self._done += count
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + PLAIN_INTERVAL_S
        rate = self._done / (now - self._started)
        left = (self._total - self._done) / rate if rate else float("inf")
        print(
            f"{self._title}: {self._done}/{self._total} {self._unit}, "
            f"{rate:,.0f}/s, {_duration(left)} left",
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
    def stage(self, title: str, *, total: int, unit: str) -> Iterator[Stage]:
        """Open a stage that prints a line every few seconds."""
        yield _PlainStage(self._stream, title, total, unit)


class RichProgress:
    """A bar with rate and time left, for a terminal."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        self._console = Console(file=stream, highlight=False)

    def say(self, text: str) -> None:
        """Print one line, dimmed."""
        self._console.print(text, style="dim", markup=False)

    @contextlib.contextmanager
    def stage(self, title: str, *, total: int, unit: str) -> Iterator[Stage]:
        """Open a stage shown as a bar that goes away when it is done."""
        from rich import progress as bars

        with bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TextColumn(unit),
            bars.TextColumn("{task.fields[rate]}"),
            bars.TimeRemainingColumn(),
            console=self._console,
            transient=True,
        ) as bar:
            yield _RichStage(bar, bar.add_task(title, total=total, rate=""))


class _RichStage:
    def __init__(self, bar: object, task: object) -> None:
        self._bar = bar
        self._task = task

    def advance(self, count: int = 1) -> None:
        from rich.progress import Progress as Bar
        from rich.progress import TaskID

        bar, task = cast(Bar, self._bar), cast(TaskID, self._task)
        bar.advance(task, count)
        speed = bar.tasks[bar.task_ids.index(task)].speed
        if speed:
            bar.update(task, rate=f"{speed:,.0f}/s")


def choose_progress() -> Progress:
    """Return the progress that fits where standard error goes."""
    stream = cast(TextIO, _Forgiving(sys.stderr))
    return RichProgress(stream) if stream.isatty() else PlainProgress(stream)


def _duration(seconds: float) -> str:
    if seconds == float("inf"):
        return "unknown time"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
