"""What was set in a running server through the lab, and what is to be expected of it since.

A server shows a value in its own spelling (``true`` as ``on``, ``10s`` as ``10 s``); the record
holds both, so that what is declared can be compared with what is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from lab.core.files import read_struct, write_struct

DECLARED = "lab.up"
"""Who sets what lab.toml declares."""
SEEDING = "lab.seed"
"""Who raises limits that a population needs."""
SOURCING = "upstream.connect"
"""Who sets what a source needs, and raises limits for the tables that are made from it."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A system variable that was set: as given (None: to its default), and as shown.

    ``by`` is the task that did it, ``session`` the id of the session that it is for, empty where it
    is to stay; ``at`` is ISO 8601, UTC.
    """

    name: str
    given: str | None
    before: str
    after: str
    at: str
    by: str
    session: str = ""


class ChangeRecord(msgspec.Struct, frozen=True):
    """The file with all changes of an environment, the oldest first.

    Whoever writes holds the workspace's lock.
    """

    path: Path

    def read(self) -> tuple[Change, ...]:
        """Return the changes.

        Raises
        ------
        PreconditionError
            The file is not what it should be.
        """
        return read_struct(self.path, tuple[Change, ...]) or ()

    def write(self, changes: Sequence[Change]) -> None:
        """Replace the changes."""
        write_struct(self.path, changes)


def expected(changes: Iterable[Change], declared: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that were declared or set, with the values that the server shows.

    What was set later than ``lab.up`` set what is declared counts more than that.
    """
    known = tuple(changes)
    last = {change.name: change for change in known}
    set_later = {
        name: change.after
        for name, change in last.items()
        if name not in declared or change.by != DECLARED
    }
    return {**_shown(known, declared), **set_later}


def aims(changes: Iterable[Change], declared: Mapping[str, str]) -> dict[str, str]:
    """Return what ``lab.up`` brings about: what is declared, as the server shows it.

    A limit that was raised since, for a population to fit, stays raised; so does what a source
    needs.
    """
    known = tuple(changes)
    last = {change.name: change for change in known}
    needed = {
        name: last[name].after
        for name in declared
        if name in last and last[name].by in (SEEDING, SOURCING)
    }
    return {**_shown(known, declared), **needed}


def for_sessions(changes: Iterable[Change], *, but: str = "") -> dict[str, str]:
    """Return the variables that were last set for a session, with what they were before that.

    Those that were last set for the session with the id ``but`` are left out.
    """
    before: dict[str, str] = {}
    last: dict[str, str] = {}
    for change in changes:
        last[change.name] = change.session
        if change.session:
            before.setdefault(change.name, change.before)
        else:
            before.pop(change.name, None)
    return {name: value for name, value in before.items() if last[name] != but}


def _shown(changes: Iterable[Change], declared: Mapping[str, str]) -> dict[str, str]:
    spelling = {(change.name, change.given): change.after for change in changes}
    return {name: spelling.get((name, value), value) for name, value in declared.items()}
