"""What the session protocol needs of a version control system."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec


class VcsStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where the working copy stands.

    ``change`` is jj's change id or git's HEAD commit; ``commit`` the commit id; ``description``
    that of the working-copy change (empty under git, whose working copy has none); ``empty``
    whether the working copy holds no edits; ``author`` is empty where none is configured;
    ``operation`` is jj's operation id.
    """

    system: str
    version: str
    root: str
    change: str
    commit: str
    description: str
    empty: bool
    author: str
    operation: str = ""
    warnings: tuple[str, ...] = ()


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """What recording a session left behind.

    ``change`` is the change (jj) or commit (git) that describes the session; ``log_change`` and
    ``prompt_change`` are None where there was none; ``undo`` is a command that takes
    all of it back, empty where it would not be valid.
    """

    change: str
    log_change: str | None
    prompt_change: str | None
    operation_before: str
    operation_after: str
    undo: str
    warnings: tuple[str, ...] = ()


class Repository(Protocol):
    """A repository under study.

    The recording steps are called in order by the session's journal. Each is idempotent: it looks
    at the repository first and does nothing where its effect is already there, so that a process
    killed between or inside any two of them can be run again.
    ``session`` is the session's unique id, which the descriptions carry in a ``Lab-Session``
    trailer.
    """

    system: str
    root: Path

    def status(self) -> VcsStatus:
        """Look, and change nothing.

        Raises PreconditionError (too old a version, exit 3) and ExternalError.
        """

    def require_ready(self, session: str, files: Sequence[Path]) -> VcsStatus:
        """Refuse what a session cannot be recorded on.

        Raises StateMismatchError: the working-copy change is described by somebody else, there are
        conflicts, the workspace is stale, or one of ``files`` is over the size limit.
        """

    def describe(
        self, session: str, message: str, *, paths: Sequence[Path], apart: Sequence[Path] = ()
    ) -> str:
        """Describe the change that holds the session's work; return its id.

        ``paths`` are files that must be in it, whatever is ignored or untracked. ``apart`` are
        those that `separate` will be called for: git, which rewrites no commit, leaves them out;
        under jj they are in it until `separate` has moved them.
        """

    def start_new(self, session: str) -> str:
        """Start a new change on top of the described one; return its id (git: HEAD)."""

    def separate(
        self, session: str, role: str, message: str, *, paths: Sequence[Path]
    ) -> str | None:
        """Move ``paths`` from the session's change into one of their own, with an empty one on top.

        Returns the id of the change that now holds them, None where ``paths`` did not change.

        ``role`` is ``prompt`` or ``log``; the trailer ``Lab-Role`` tells them apart.
        """

    def operation(self) -> str:
        """Return the id of the current operation (jj) or HEAD (git)."""

    def undo_command(self, operation_before: str, operation_after: str) -> str:
        """Return the command that goes back to ``operation_before``.

        Empty where something else has happened since ``operation_after``.
        """
