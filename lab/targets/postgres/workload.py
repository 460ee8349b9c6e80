"""The statements that are measured, each create with its drop, and the fixtures they need."""

from __future__ import annotations

from collections.abc import Sequence

from lab.core.errors import UsageError
from lab.core.nearest import did_you_mean
from lab.targets.base import Cycle, Operation, Workload
from lab.targets.counting import FIXTURE_SCHEMA as SCHEMA

_COLUMNS = "(a int, b text)"
_BASE = f"{SCHEMA}.base"
_TEARDOWN = f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"
# The base table stays empty: what a statement costs besides the catalog would blur what is studied.
_FIXTURES = (f"CREATE TABLE {_BASE} {_COLUMNS}", f"CREATE TABLE {SCHEMA}.renamed {_COLUMNS}")


def _pair(kind: str, create: str, drop: str) -> Cycle:
    return Cycle((Operation(f"create-{kind}", create), Operation(f"drop-{kind}", drop)))


def _rename(old: str, new: str) -> tuple[Operation, ...]:
    return (Operation("alter-rename", f"ALTER TABLE {SCHEMA}.{old} RENAME TO {new}"),)


CYCLES = (
    _pair(
        "table",
        f"CREATE TABLE {SCHEMA}.t_{{i}} {_COLUMNS}",
        f"DROP TABLE {SCHEMA}.t_{{i}}",
    ),
    _pair(
        "view",
        f"CREATE VIEW {SCHEMA}.v_{{i}} AS SELECT a, b FROM {_BASE}",  # noqa: S608  constants
        f"DROP VIEW {SCHEMA}.v_{{i}}",
    ),
    _pair(
        "index",
        f"CREATE INDEX i_{{i}} ON {_BASE} (a)",
        f"DROP INDEX {SCHEMA}.i_{{i}}",
    ),
    _pair(
        "materialized-view",
        f"CREATE MATERIALIZED VIEW {SCHEMA}.m_{{i}} AS SELECT a, b FROM {_BASE}",  # noqa: S608  constants
        f"DROP MATERIALIZED VIEW {SCHEMA}.m_{{i}}",
    ),
    Cycle(_rename("renamed", "renamed_anew"), alternate=_rename("renamed_anew", "renamed")),
)
"""All cycles. A cycle leaves the object count as it was."""

STATEMENTS = tuple(statement for cycle in CYCLES for statement in cycle.statements)
"""All kinds of statement."""


def workload(statements: Sequence[str]) -> Workload:
    """Return how to measure ``statements``; a create brings its drop, and a drop its create.

    Raises
    ------
    UsageError
        A kind that is not known; the nearest one is named.

    """
    for statement in statements:
        if statement not in STATEMENTS:
            raise _unknown(statement)
    asked = set(statements)
    return Workload(
        setup=(_TEARDOWN, f"CREATE SCHEMA {SCHEMA}", *_FIXTURES),
        cycles=tuple(cycle for cycle in CYCLES if asked & set(cycle.statements)),
        teardown=(_TEARDOWN,),
        fixtures=len(_FIXTURES),
    )


def _unknown(statement: str) -> UsageError:
    return UsageError(
        f"PostgreSQL is not measured with `{statement}`.",
        code="statement.unknown",
        why=f"Known: {', '.join(STATEMENTS)}.",
        remedy=did_you_mean(statement, STATEMENTS, "Choose from these."),
    )
