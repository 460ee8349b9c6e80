"""The open session of a workspace: at most one, found again after any crash."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from lab.core.errors import StateMismatchError
from lab.core.files import create_exclusively, encode, read_struct
from lab.core.ids import timed_id
from lab.core.workspace import Workspace
from lab.notebook.evidence import RunFile
from lab.session.journal import DONE, Journal

LATENCY = "latency"
BATCH = "batch"
PLANS = (LATENCY, BATCH)
"""What can be measured: kinds of statement by themselves, or several in one transaction."""


class MeasureOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the flags of ``session.measure`` asked for; None where a flag was not given.

    ``sizes``, ``repetitions``, ``sweep`` (``--upstream-sweep``) and ``grow`` are of plan batch.
    """

    plan: str | None = None
    statements: tuple[str, ...] | None = None
    samples: int | None = None
    objects: int | None = None
    mode: str | None = None
    budget_s: int | None = None
    sizes: tuple[int, ...] | None = None
    repetitions: int | None = None
    sweep: tuple[int, ...] | None = None
    grow: bool | None = None

    @property
    def of_batches(self) -> bool:
        """Whether transactions of several statements are to be measured."""
        return self.plan == BATCH

    def same_as(self, other: MeasureOptions) -> bool:
        """Say whether both measure the same; growing the upstream is no part of that."""
        first, second = (
            msgspec.structs.replace(each, plan=each.plan or LATENCY, grow=None)
            for each in (self, other)
        )
        return first == second

    def text(self) -> str:
        """Return the options as they would be given."""
        given = [
            ("--plan", self.plan),
            ("--statements", ",".join(self.statements or ())),
            ("--samples", self.samples),
            ("--objects", self.objects),
            ("--mode", self.mode),
            ("--budget", self.budget_s),
            ("--sizes", ",".join(map(str, self.sizes or ()))),
            ("--repetitions", self.repetitions),
            ("--upstream-sweep", ",".join(map(str, self.sweep or ()))),
        ]
        shown = [f"{flag} {value}" for flag, value in given if value not in (None, "")]
        shown += ["--grow"] if self.grow else []
        return " ".join(shown) or "no options"


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """What a session was opened with.

    ``whole`` says that `session.measure` opened it to start, measure and finish in one go;
    ``options`` are the flags that decide what is measured, so that an interrupted command is
    resumed only by one that asks for the same.
    """

    id: str
    goal: str
    whole: bool
    options: MeasureOptions
    opened_at: str


class Session(msgspec.Struct, frozen=True):
    """The open session: what it was opened with, and its journal."""

    workspace: Workspace
    opening: Opening

    @property
    def id(self) -> str:
        """The session's unique id, which its entry and its changes carry."""
        return self.opening.id

    @property
    def directory(self) -> Path:
        """The session's private folder."""
        return self.workspace.sessions / self.id

    @property
    def journal(self) -> Journal:
        """The session's journal."""
        return Journal(self.directory / "journal.jsonl")

    @property
    def number(self) -> int | None:
        """The number of its entry; None before it has one."""
        left = self.journal.done("number")
        return None if left is None else int(left["number"])

    @property
    def finishing(self) -> bool:
        """Whether ``session.finish`` has begun to write."""
        return self.journal.begun("entry") is not None

    @property
    def entry(self) -> Path:
        """The entry's text, once it is composed."""
        return self.directory / "entry.md"

    @property
    def composed(self) -> bool:
        """Whether the entry is made, so that no note gets into it any more."""
        return self.entry.exists()

    def runs(self) -> list[RunFile]:
        """Return the files of the runs that are done, oldest first."""
        return [
            msgspec.convert(record.data, RunFile)
            for record in self.journal.records()
            if record.step.startswith("run-") and record.phase == DONE
        ]

    def label(self) -> str:
        """Return how messages name the session."""
        return f"session {self.number}" if self.number is not None else "the session"


def _current(workspace: Workspace) -> Path:
    return workspace.sessions / "current.json"


def open_session(workspace: Workspace) -> Session | None:
    """Return the open session; None where there is none."""
    opening = read_struct(_current(workspace), Opening)
    return None if opening is None else Session(workspace, opening)


def create_session(
    workspace: Workspace, *, goal: str, whole: bool, options: MeasureOptions
) -> Session:
    """Open a new session.

    Raises
    ------
    StateMismatchError
        One is open already.
    """
    now = datetime.now(UTC)
    opening = Opening(
        id=timed_id(now),
        goal=goal,
        whole=whole,
        options=options,
        opened_at=now.isoformat(timespec="seconds"),
    )
    if not create_exclusively(_current(workspace), encode(opening)):
        raise StateMismatchError(
            "A session is open already.",
            code="session.open",
            remedy="`invoke session.status` shows it; finish or abort it first.",
        )
    return Session(workspace, opening)


def require_session(workspace: Workspace) -> Session:
    """Return the open session.

    Raises
    ------
    StateMismatchError
        None is open.
    """
    session = open_session(workspace)
    if session is None:
        raise StateMismatchError(
            "No session is open.",
            code="session.none",
            remedy="Open one with `invoke session.start --goal TEXT`.",
        )
    return session


def close_session(session: Session) -> None:
    """Close the session; its private folder stays."""
    _current(session.workspace).unlink(missing_ok=True)
