"""The statements that are measured, each create with its drop, and the fixtures they need."""

from __future__ import annotations

from collections.abc import Sequence

from lab.core.errors import UsageError
from lab.core.nearest import did_you_mean
from lab.targets.base import Cycle, Operation, Workload
from lab.targets.counting import FIXTURE_SCHEMA

_SCHEMA = f"materialize.{FIXTURE_SCHEMA}"
_COLUMNS = "(a int, b text)"
_BASE = f"{_SCHEMA}.base"
_TEARDOWN = f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE"
_FIXTURES = (f"CREATE TABLE {_BASE} {_COLUMNS}", f"CREATE TABLE {_SCHEMA}.renamed {_COLUMNS}")
_QUERY = f"SELECT a, b FROM {_BASE}"  # noqa: S608  constants


def _pair(kind: str, create: str, drop: str) -> Cycle:
    return Cycle((Operation(f"create-{kind}", create), Operation(f"drop-{kind}", drop)))


def _rename(old: str, new: str) -> tuple[Operation, ...]:
    return (Operation("alter-rename", f"ALTER TABLE {_SCHEMA}.{old} RENAME TO {new}"),)


CYCLES = (
    _pair("table", f"CREATE TABLE {_SCHEMA}.t_{{i}} {_COLUMNS}", f"DROP TABLE {_SCHEMA}.t_{{i}}"),
    _pair("view", f"CREATE VIEW {_SCHEMA}.v_{{i}} AS {_QUERY}", f"DROP VIEW {_SCHEMA}.v_{{i}}"),
    _pair("index", f"CREATE INDEX i_{{i}} ON {_BASE} (a)", f"DROP INDEX {_SCHEMA}.i_{{i}}"),
    _pair(
        "materialized-view",
        f"CREATE MATERIALIZED VIEW {_SCHEMA}.m_{{i}} AS {_QUERY}",
        f"DROP MATERIALIZED VIEW {_SCHEMA}.m_{{i}}",
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
            raise UsageError(
                f"Materialize is not measured with `{statement}`.",
                code="statement.unknown",
                why=f"Known: {', '.join(STATEMENTS)}.",
                remedy=did_you_mean(statement, STATEMENTS, "Choose from these."),
            )
    asked = set(statements)
    return Workload(
        setup=(_TEARDOWN, f"CREATE SCHEMA {_SCHEMA}", *_FIXTURES),
        cycles=tuple(cycle for cycle in CYCLES if asked & set(cycle.statements)),
        teardown=(_TEARDOWN,),
        fixtures=len(_FIXTURES),
    )
