"""What an entry is rendered from."""

from __future__ import annotations

import msgspec

from lab.measure.findings import Analysis
from lab.measure.record import Run
from lab.notebook.evidence import RunFile


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wrote down during a session.

    ``kind`` is ``note``, ``finding`` or ``next``; ``at`` is ISO 8601.
    """

    kind: str
    text: str
    at: str


class MeasuredRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the session, its file, what it says, and the run that it was compared with."""

    file: RunFile
    run: Run
    analysis: Analysis
    earlier: RunFile | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One session, ready to be written about. ``date`` is ISO 8601; ``session`` the unique id."""

    number: int
    session: str
    title: str
    date: str
    goal: str
    notes: tuple[Note, ...] = ()
    runs: tuple[MeasuredRun, ...] = ()
