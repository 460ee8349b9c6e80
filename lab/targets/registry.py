"""The databases under study, by name. A new target is a folder beside this file and a line here."""

from __future__ import annotations

from collections.abc import Callable

from lab.core.errors import UsageError
from lab.core.nearest import did_you_mean
from lab.targets.base import Target


def _postgres() -> Target:
    from lab.targets.postgres.target import PostgresTarget

    return PostgresTarget()


def _materialize() -> Target:
    from lab.targets.materialize.target import MaterializeTarget

    return MaterializeTarget()


_TARGETS: dict[str, Callable[[], Target]] = {"postgres": _postgres, "materialize": _materialize}


def names() -> tuple[str, ...]:
    """Return the names of all targets."""
    return tuple(_TARGETS)


def target(name: str) -> Target:
    """Return the target called ``name``.

    Raises
    ------
    UsageError
        There is none; the nearest name is given.

    """
    if name not in _TARGETS:
        raise UsageError(
            f"There is no target `{name}`.",
            code="target.unknown",
            why=f"Known: {', '.join(_TARGETS)}.",
            remedy=did_you_mean(name, _TARGETS, "Set `target` to one of these."),
        )
    return _TARGETS[name]()
