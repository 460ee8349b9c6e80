"""Ctrl-C, SIGTERM and a closed terminal: a command ends tidily and without a traceback."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

INTERRUPTED = 130

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """The process was asked to end; says by which signal."""


def end_quietly() -> None:
    """Let Ctrl-C end the process at once while there is nothing to tidy up yet, or any more."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _leave)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Make an exception of each signal that asks the process to end.

    A signal that is ignored stays so: under ``nohup`` a closed terminal ends nothing.
    """
    heeded = [each for each in _ENDING if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, _interrupt) for each in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(signal.Signals(number).name)


def _leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)
