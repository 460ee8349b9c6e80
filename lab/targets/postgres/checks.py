"""The proof that a PostgreSQL environment can be measured, check by check."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.core.checks import disk_space, no_answer
from lab.core.errors import LabError
from lab.core.results import Check
from lab.servers import settings
from lab.servers.connection import Connection
from lab.servers.postgres import EmbeddedServer
from lab.servers.records import Condition
from lab.targets import leftovers
from lab.targets.base import ObjectCounts
from lab.targets.postgres import objects

LONGEST_AUTOVACUUM_S = 30.0
"""An autovacuum that takes longer is no passing one: the run would be measured beside it."""
_SHOWN = 5

_STRAY = """
SELECT pid, coalesce(nullif(application_name, ''), 'no name'), coalesce(datname, ''), state
  FROM pg_stat_activity
 WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
   AND application_name NOT LIKE 'ddl-lab %'
 ORDER BY pid
"""
_OPEN = """
SELECT 'session ' || pid || ' (' || application_name || '), ' || state
  FROM pg_stat_activity
 WHERE state LIKE 'idle in transaction%' AND pid <> pg_backend_pid()
 UNION ALL SELECT 'prepared transaction ' || gid FROM pg_prepared_xacts
"""
_INVALID = """
SELECT indexrelid::regclass::text FROM pg_index WHERE NOT (indisvalid AND indisready) ORDER BY 1
"""
_AUTOVACUUM = """
SELECT query, extract(epoch FROM clock_timestamp() - xact_start)::float8
  FROM pg_stat_activity
 WHERE backend_type = 'autovacuum worker' AND clock_timestamp() - xact_start > %s * interval '1 s'
"""
_ORIGINS = """
SELECT lower(name), source, coalesce(sourcefile, ''), pending_restart
  FROM pg_settings WHERE lower(name) = ANY(%s) ORDER BY 1
"""


def verify(
    server: EmbeddedServer, connect: Callable[[str], Connection], expected_objects: int | None
) -> tuple[Check, ...]:
    """Return all checks; only the first where the server does not answer."""
    condition = server.inspect().condition
    try:
        with contextlib.closing(connect("env.verify")) as connection:
            counts = objects.count(connection)
            return (
                Check(name="server answers", passed=True, found="yes"),
                owner(condition),
                build(connection, server.binaries.version()),
                recovery(connection),
                counted(counts, expected_objects),
                leftovers.left_over(counts),
                indexes(connection),
                sessions(connection),
                transactions(connection),
                autovacuum(connection),
                declared(connection, server),
                disk_space(server.data),
            )
    except LabError as error:
        return (no_answer(error),)


def owner(condition: Condition) -> Check:
    """Check that the lab started the server."""
    return Check(
        name="started by the lab",
        passed=condition is Condition.RUNNING,
        found="yes" if condition is Condition.RUNNING else "no, by somebody else",
        expected="yes",
        remedy="Stop it the way it was started, then `env.start`.",
    )


def build(connection: Connection, version: str) -> Check:
    """Check that the server is the build that is installed."""
    running = connection.info.parameter_status("server_version") or ""
    return Check(
        name="build",
        passed=running == version,
        found=f"PostgreSQL {running}",
        expected=f"PostgreSQL {version}",
        remedy="`env.stop` and `env.start` put the installed build to work.",
    )


def recovery(connection: Connection) -> Check:
    """Check that the server is not in recovery: it would refuse DDL."""
    row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
    recovering = bool(row and row[0])
    return Check(
        name="not in recovery",
        passed=not recovering,
        found="in recovery" if recovering else "no",
        expected="no",
        remedy="Take the files standby.signal and recovery.signal out of the data directory, and"
        " start it anew.",
    )


def counted(counts: ObjectCounts, expected: int | None) -> Check:
    """Check that there are exactly ``expected`` user objects; any number where it is None."""
    types = ", ".join(f"{number:,} {kind}" for kind, number in sorted(counts.by_type.items()))
    return Check(
        name="objects",
        passed=expected is None or counts.total == expected,
        found=f"{counts.total:,}" + (f" ({types})" if types else ""),
        expected="any number" if expected is None else f"{expected:,}",
        remedy="" if expected is None else _towards(expected, counts.total),
    )


def _towards(expected: int, found: int) -> str:
    """Say how the number of objects comes to be the one that is expected."""
    if found < expected:
        return (
            f"`lab.seed --count {expected}` makes those that are missing; so does `lab.up` where"
            " lab.toml declares that many."
        )
    return (
        f"Measure with the {found:,} that are there (`--objects {found}`, or `count` under"
        " [population] in lab.toml), or let `lab.seed` drop the newest of its own with"
        " --drop-surplus."
    )


def indexes(connection: Connection) -> Check:
    """Check that all indexes are valid: an interrupted build leaves one that is not."""
    return _none(
        "no invalid indexes",
        [name for (name,) in connection.execute(_INVALID)],
        "Rebuild or remove the indexes that are named.",
    )


def sessions(connection: Connection) -> Check:
    """Check that nobody else is connected."""
    return _none(
        "no other sessions",
        [
            f"{name} (pid {pid}, database {database}, {state})"
            for pid, name, database, state in connection.execute(_STRAY)
        ],
        "Close the sessions that are named: what they do would be measured, too.",
    )


def transactions(connection: Connection) -> Check:
    """Check that no transaction was left open: it would hold locks, and keep dead rows alive."""
    return _none(
        "no open transactions",
        [each for (each,) in connection.execute(_OPEN)],
        "End the transactions that are named.",
    )


def autovacuum(connection: Connection, longest_s: float = LONGEST_AUTOVACUUM_S) -> Check:
    """Check that no autovacuum has been at work for more than ``longest_s`` seconds."""
    return _none(
        "no long autovacuum",
        [
            f"{query}, for {took:.0f} s"
            for query, took in connection.execute(_AUTOVACUUM, (longest_s,))
        ],
        "Wait until it has ended.",
    )


def declared(connection: Connection, server: EmbeddedServer) -> Check:
    """Check that the server runs with the declared settings, and that nothing overrides one."""
    wrong = list(server.settings_differences())
    names = [name.lower() for name in server.declared_settings()]
    for name, source, file, pending in connection.execute(_ORIGINS, (names,)):
        if pending:
            wrong.append(f"{name} waits for a new start")
        elif source != "configuration file" or Path(file).name != settings.FILE:
            wrong.append(f"{name} is set by {file or source}")
    return _none(
        "settings as declared",
        wrong,
        "Take back what was set otherwise (ALTER SYSTEM, ALTER DATABASE, ALTER ROLE);"
        " `env.stop` and `env.start` put what is declared into effect.",
    )


def _none(name: str, found: Sequence[str], remedy: str) -> Check:
    shown = "; ".join(found[:_SHOWN])
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return Check(
        name=name,
        passed=not found,
        found=f"{shown}{more}" if found else "none",
        expected="none",
        remedy=remedy,
    )
