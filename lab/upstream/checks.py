"""The proof that a source can read the upstream, check by check."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import psycopg

from lab.core.checks import disk_space
from lab.core.errors import LabError
from lab.core.results import Check
from lab.servers.connection import Connection
from lab.upstream import slots, tables
from lab.upstream.base import PREFIX, PUBLICATION, ROLE, SCHEMA
from lab.upstream.failures import first_line
from lab.upstream.slots import Room, Slot

LEAST_FREE = 2
"""Slots and WAL senders that one ``CREATE TABLE … FROM SOURCE`` wants free."""
MOST_HELD_BYTES = 64_000_000
"""WAL that idle slots may hold back; more fills the disk, and is decoded once they are read."""

_AGAIN = "`upstream.up` makes what is missing."
_RIGHTS = """
SELECT rolcanlogin, rolreplication, rolsuper, rolcreatedb, rolcreaterole, rolbypassrls,
       has_database_privilege(oid, current_database(), 'CONNECT'),
       has_schema_privilege(oid, %s, 'USAGE')
  FROM pg_roles WHERE rolname = %s
"""
_WANTED = ("LOGIN", "REPLICATION")
_UNWANTED = ("SUPERUSER", "CREATEDB", "CREATEROLE", "BYPASSRLS")


def verify(
    connection: Connection,
    *,
    tables: int,
    columns: str,
    login: Callable[[], str],
    watch: Callable[[], Connection],
    directory: str,
    only_look: bool,
) -> tuple[Check, ...]:
    """Return all checks.

    ``connection`` is the administrator's to the database with the tables; ``login`` logs in as the
    source's role and returns why that fails; ``watch`` opens a connection to where statistics are
    read; ``directory`` is empty where the data cannot be seen. With ``only_look`` nothing may be
    made there, not even to look.
    """
    room = slots.read_room(connection)
    return (
        Check(name="server answers", passed=True, found="yes"),
        role_answers(login()),
        role_rights(connection),
        wal_level(connection),
        free_slots(room),
        free_senders(room),
        *table_checks(connection, tables),
        as_declared(connection, columns, only_look=only_look),
        orphans(slots.read_slots(connection)),
        statistics(watch),
        *((disk_space(Path(directory)),) if directory else ()),
    )


def role_answers(why: str) -> Check:
    """Check that the source's role is let in with its password; ``why`` says why not."""
    return Check(
        name="role logs in",
        passed=not why,
        found=why or f"{ROLE}, with its password",
        expected=f"{ROLE}, with its password",
        remedy="`upstream.up` sets its password right.",
    )


def role_rights(connection: Connection) -> Check:
    """Check that the role may do what a source needs, and nothing more on the server."""
    row = connection.execute(_RIGHTS, (SCHEMA, ROLE)).fetchone()
    if row is None:
        found = ["no such role"]
    else:
        login, replication, *more, connects, uses = row
        pairs = zip(_WANTED, (login, replication), strict=True)
        found = [f"lacks {right}" for right, has in pairs if not has]
        found += [f"has {right}" for right, has in zip(_UNWANTED, more, strict=True) if has]
        found += [] if connects else ["lacks CONNECT on the database"]
        found += [] if uses else [f"lacks USAGE on the schema {SCHEMA}"]
    return Check(
        name="rights of the role",
        passed=not found,
        found="; ".join(found) or "login and replication",
        expected="login and replication, nothing more",
        remedy="`upstream.up` sets the role right.",
    )


def wal_level(connection: Connection) -> Check:
    """Check that the WAL carries what logical replication needs."""
    row = connection.execute("SHOW wal_level").fetchone()
    level = row[0] if row else ""
    return Check(
        name="wal_level",
        passed=level == "logical",
        found=level,
        expected="logical",
        remedy="Set wal_level to logical there, and restart that server.",
    )


def free_slots(room: Room) -> Check:
    """Check that slots are left for one statement."""
    return Check(
        name="free replication slots",
        passed=room.free_slots >= LEAST_FREE,
        found=f"{room.free_slots} of {room.max_slots}",
        expected=f"at least {LEAST_FREE}",
        remedy="`upstream.clean` drops slots that no source uses any more; max_replication_slots"
        " sets how many there are.",
    )


def free_senders(room: Room) -> Check:
    """Check that WAL senders are left for one statement."""
    free = room.max_senders - room.senders
    return Check(
        name="free WAL senders",
        passed=free >= LEAST_FREE,
        found=f"{free} of {room.max_senders}",
        expected=f"at least {LEAST_FREE}",
        remedy="End what replicates from there besides; max_wal_senders sets how many there are.",
    )


def table_checks(connection: Connection, wanted: int) -> tuple[Check, ...]:
    """Check that tables 1 to ``wanted`` are there, published, and readable."""
    found = tables.find(connection)
    published = tables.published(connection)
    return (
        # Tables that are not published are of no harm to a source.
        _whole("tables", wanted, found.existing, more=()),
        _whole(
            f"publication {PUBLICATION}",
            wanted,
            published,
            more=[number for number in published if number > wanted],
        ),
        _all("replica identity FULL", found.not_full, _AGAIN),
        _all(f"SELECT for {ROLE}", found.not_granted, _AGAIN),
    )


def as_declared(connection: Connection, columns: str, *, only_look: bool) -> Check:
    """Check that all tables have the columns that were brought up."""
    return _all(
        "names and types of columns" if only_look else "columns",
        tables.otherwise(connection, columns, only_look=only_look),
        "Bring the tables that are named back to the columns of the others, or take the upstream"
        " down with --destroy and bring it up anew.",
    )


def orphans(found: Sequence[Slot]) -> Check:
    """Check that little WAL is held back by slots that nobody reads just now.

    A source that is paused, or whose environment is stopped, has such a slot, too.
    """
    idle = [slot for slot in found if not slot.active]
    return Check(
        name="WAL held back by idle slots",
        passed=sum(slot.retained_bytes for slot in idle) < MOST_HELD_BYTES,
        found="; ".join(described(slot) for slot in idle) or "none",
        expected=f"less than {MOST_HELD_BYTES / 1e6:,.0f} MB",
        remedy="Start the environment whose source reads them, or let `upstream.clean` drop those"
        " that no source uses any more.",
    )


def described(slot: Slot) -> str:
    """Return a slot for people: name, database, and the WAL that it holds back."""
    held = f"{slot.retained_bytes / 1e6:,.1f} MB"
    return f"{slot.name} (database {slot.database or 'none'}) holds back {held} of WAL"


def statistics(watch: Callable[[], Connection]) -> Check:
    """Check that what is asked of the upstream can be seen."""
    found = "yes"
    try:
        with contextlib.closing(watch()) as connection:
            connection.execute("SELECT count(*) FROM pg_stat_statements").fetchone()
    except LabError as error:
        found = f"{error.what} {error.why}".strip()
    except psycopg.Error as error:
        found = first_line(error)
    return Check(
        name="pg_stat_statements readable",
        passed=found == "yes",
        found=found,
        expected="yes",
        remedy="`upstream.up` makes the extension where the server loads its library.",
    )


def _whole(name: str, wanted: int, found: Collection[int], *, more: Collection[int]) -> Check:
    """Check that the numbers 1 to ``wanted`` are ``found``, and no ``more`` that are too many."""
    lacking = tables.missing(wanted, found)
    words = [f"{len(found):,}"]
    words += [f"missing {tables.in_short(lacking)}"] if lacking else []
    words += [f"besides {tables.in_short(more)}"] if more else []
    return Check(
        name=name,
        passed=not lacking and not more,
        found=", ".join(words),
        expected=f"{wanted:,} ({PREFIX}1…{wanted})" if wanted else "0",
        remedy=_AGAIN if lacking else f"Ask for the {len(found):,} that are there with --tables.",
    )


def _all(name: str, unlike: Collection[int], remedy: str) -> Check:
    shown = (
        f"not on {tables.counted(len(unlike))} ({tables.in_short(unlike)})" if unlike else "on all"
    )
    return Check(
        name=name,
        passed=not unlike,
        found=shown,
        expected="on all",
        remedy=remedy if unlike else "",
    )
