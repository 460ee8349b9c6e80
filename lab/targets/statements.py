"""The statements that are measured, each create with its drop, and the fixtures they need.

The SQL is such that every target takes it; only where the fixtures lie differs.
"""

from __future__ import annotations

from collections.abc import Sequence

from lab.core.errors import UsageError
from lab.core.nearest import did_you_mean
from lab.targets.base import Cycle, Operation, Workload

FIXTURES = ("base", "renamed")
"""The tables that the statements work on. ``base`` stays empty: what a statement costs besides the
catalog would blur what is studied."""

_COLUMNS = "(a int, b text)"


def _pair(kind: str, create: str, drop: str) -> Cycle:
    return Cycle((Operation(f"create-{kind}", create), Operation(f"drop-{kind}", drop)))


def _rename(schema: str, old: str, new: str) -> tuple[Operation, ...]:
    return (Operation("alter-rename", f"ALTER TABLE {schema}.{old} RENAME TO {new}"),)


def cycles(schema: str) -> tuple[Cycle, ...]:
    """Return all cycles, on fixtures in ``schema``. A cycle leaves the object count as it was."""
    base = f"{schema}.base"
    query = f"SELECT a, b FROM {base}"  # noqa: S608  constants
    return (
        _pair("table", f"CREATE TABLE {schema}.t_{{i}} {_COLUMNS}", f"DROP TABLE {schema}.t_{{i}}"),
        _pair("view", f"CREATE VIEW {schema}.v_{{i}} AS {query}", f"DROP VIEW {schema}.v_{{i}}"),
        _pair("index", f"CREATE INDEX i_{{i}} ON {base} (a)", f"DROP INDEX {schema}.i_{{i}}"),
        _pair(
            "materialized-view",
            f"CREATE MATERIALIZED VIEW {schema}.m_{{i}} AS {query}",
            f"DROP MATERIALIZED VIEW {schema}.m_{{i}}",
        ),
        Cycle(
            _rename(schema, "renamed", "renamed_anew"),
            alternate=_rename(schema, "renamed_anew", "renamed"),
        ),
    )


STATEMENTS = tuple(statement for cycle in cycles("") for statement in cycle.statements)
"""All kinds of statement."""


def workload(product: str, schema: str, statements: Sequence[str]) -> Workload:
    """Return how to measure ``statements``; a create brings its drop, and a drop its create.

    ``product`` is the target's name for people, ``schema`` where its fixtures lie.

    Raises
    ------
    UsageError
        A kind that is not known; the nearest one is named.
    """
    for statement in statements:
        if statement not in STATEMENTS:
            raise UsageError(
                f"{product} is not measured with `{statement}`.",
                code="statement.unknown",
                why=f"Known: {', '.join(STATEMENTS)}.",
                remedy=did_you_mean(statement, STATEMENTS, "Choose from these."),
            )
    asked = set(statements)
    teardown = f"DROP SCHEMA IF EXISTS {schema} CASCADE"
    fixtures = tuple(f"CREATE TABLE {schema}.{name} {_COLUMNS}" for name in FIXTURES)
    return Workload(
        setup=(teardown, f"CREATE SCHEMA {schema}", *fixtures),
        cycles=tuple(cycle for cycle in cycles(schema) if asked & set(cycle.statements)),
        teardown=(teardown,),
        fixtures=len(fixtures),
    )
