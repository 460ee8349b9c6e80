"""The databases under study, by name. A new target is a folder beside this file and a line here."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from lab.core.errors import UsageError
from lab.targets.base import Target


def _postgres() -> Target:
    from lab.targets.postgres.target import PostgresTarget

    return PostgresTarget()


_TARGETS: dict[str, Callable[[], Target]] = {"postgres": _postgres}


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
        near = difflib.get_close_matches(name, _TARGETS, n=1, cutoff=0.4)
        raise UsageError(
            f"There is no target `{name}`.",
            code="target.unknown",
            why=f"Known: {', '.join(_TARGETS)}.",
            remedy=f"Did you mean `{near[0]}`?" if near else "Set `target` to one of these.",
        )
    return _TARGETS[name]()
