"""System variables: read and set as ``mz_system``, one statement per call (25001 otherwise)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lab.core.errors import ExternalError, LabError, UsageError
from lab.core.nearest import did_you_mean
from lab.servers.connection import Connection
from lab.targets.changes import SEEDING, Change, ChangeRecord, expected
from lab.targets.materialize.troubles import limit_of
from lab.targets.parts import Variable

if TYPE_CHECKING:
    import psycopg

_NAME = re.compile(r"[a-z_][a-z0-9_]*")
# SQLSTATEs: no such parameter; a value that does not fit; one that may not be changed.
_UNKNOWN = "42704"
_BAD_VALUE = "22023"
_FIXED = "55P02"
_ROOM = 1.25
_ROUND = 1000
# Limits are unsigned integers of 32 bits.
_MOST = 2**32 - 1


class SystemVariables:
    """The system variables of one environment; see `lab.targets.parts.Variables`.

    ``connect`` opens a connection as ``mz_system`` for a purpose; ``record`` is the file with what
    was set.
    """

    def __init__(
        self, connect: Callable[[str], Connection], declared: Mapping[str, str], record: Path
    ) -> None:
        self.declared = declared
        self.connect = connect
        self._record = ChangeRecord(record)

    def read(self, names: Sequence[str]) -> tuple[Variable, ...]:
        """Return the variables of these names in this order, all where there is none given."""
        with contextlib.closing(self.connect("env.get")) as connection:
            known = _all(connection)
        for name in names:
            if name not in known:
                raise _unknown(name, known)
        return tuple(Variable(name, known[name]) for name in names or known)

    def set(
        self, name: str, value: str | None, *, by: str, session: str = ""
    ) -> tuple[Variable, Variable]:
        """Set one, None for its default, and record it; return it before and after.

        It is recorded beforehand: what is interrupted in between differs from the record then, and
        is found by that.
        """
        (before,) = self.read((name,))
        earlier = self._record.read()
        change = Change(
            name=name,
            given=value,
            before=before.value,
            after=value or "",
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            by=by,
            session=session,
        )
        self._record.write((*earlier, change))
        try:
            with contextlib.closing(self.connect(by)) as connection:
                _change(connection, name, value)
        except UsageError:
            self._record.write(earlier)
            raise
        # Through a connection of its own: what a session begins with does not change under it.
        (after,) = self.read((name,))
        self._record.write((*earlier, msgspec.structs.replace(change, after=after.value)))
        return before, after

    def changes(self) -> tuple[Change, ...]:
        """Return what was set through the lab, the oldest first."""
        return self._record.read()

    def expected(self) -> dict[str, str]:
        """Return what was declared or set, as the server shows it."""
        return expected(self.changes(), self.declared)

    def make_room(self, error: psycopg.Error, objects: int) -> tuple[Variable, Variable] | None:
        """Raise the limit that ``error`` names, so that ``objects`` fit with a quarter to spare.

        Return the variable before and after; None where ``error`` names no limit, or one that
        cannot be high enough.
        """
        limit = limit_of(error)
        if limit is None:
            return None
        value = _roomy(max(objects, limit.desired))
        if value < limit.desired:
            return None
        return self.set(limit.name, str(value), by=SEEDING)

    def make_room_for(
        self, needed: Mapping[str, int], *, by: str
    ) -> tuple[tuple[Variable, Variable], ...]:
        """Raise the limits that are lower than ``needed``, with a quarter to spare; record it.

        Return each variable that was raised before and after.
        """
        short = [each for each in self.read(tuple(needed)) if int(each.value) < needed[each.name]]
        return tuple(self.set(each.name, str(_roomy(needed[each.name])), by=by) for each in short)


def _roomy(objects: int) -> int:
    """Return a limit that leaves room for ``objects`` and a quarter more."""
    return min(-(-int(objects * _ROOM) // _ROUND) * _ROUND, _MOST)


def _all(connection: Connection) -> dict[str, str]:
    return {name: str(value) for name, value, *_ in connection.execute("SHOW ALL")}


def _change(connection: Connection, name: str, value: str | None) -> None:
    import psycopg

    try:
        connection.execute(_statement(name, value))
    except psycopg.Error as error:
        raise _refusal(error, name, value) from error


def _statement(name: str, value: str | None) -> bytes:
    if value is None:
        return f"ALTER SYSTEM RESET {_checked(name)}".encode()
    return f"ALTER SYSTEM SET {_checked(name)} = '{value.replace(chr(39), chr(39) * 2)}'".encode()


def _checked(name: str) -> str:
    """Return ``name`` if it can stand in SQL as it is."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not the name of a system variable.",
            code="variables.name",
            why="A name consists of lower-case letters, digits and underscores.",
            remedy="`env.get` lists them all.",
        )
    return name


def _unknown(name: str, known: dict[str, str]) -> UsageError:
    _checked(name)
    return UsageError(
        f"There is no system variable `{name}`.",
        code="variables.unknown",
        remedy=did_you_mean(name, known, "`env.get` lists them all; `--match` narrows them down."),
    )


def _refusal(error: psycopg.Error, name: str, value: str | None) -> LabError:
    said = error.diag.message_primary or str(error).strip()
    if error.sqlstate == _UNKNOWN:
        return _unknown(name, {})
    if error.sqlstate == _BAD_VALUE:
        return UsageError(
            f"`{name}` does not take the value {value!r}.",
            code="variables.value",
            why=said,
            remedy=f"`env.get {name}` shows the value that it has.",
        )
    if error.sqlstate == _FIXED:
        return UsageError(f"`{name}` cannot be changed.", code="variables.fixed", why=said)
    return ExternalError(
        f"The server did not set `{name}`.",
        code="server.refused",
        why=said,
        remedy="`env.status` and `env.logs` show what is at work.",
    )
