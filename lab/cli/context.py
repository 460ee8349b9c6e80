"""What the tasks of a session work with, made from how the program was called."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lab.cli.flags import typed

if TYPE_CHECKING:
    from lab.cli.command import Front
    from lab.session.context import Context


def open_context(front: Front) -> Context:
    """Return the workspace with its configuration and environment; nothing is started.

    Raises
    ------
    UsageError
        The configuration cannot be understood.
    """
    from lab.cli.environment import open_environment
    from lab.session.context import Context

    config = front.config().config
    return Context(
        workspace=front.workspace,
        config=config,
        environment=open_environment(front.workspace, config),
        progress=front.progress,
        confirm=_confirmed,
    )


def _confirmed(question: str) -> bool:
    """Ask at the terminal; off a terminal, and without an answer, it is no."""
    if not sys.stdin.isatty():
        return False
    return typed(f"{question} [y/N] ").lower() in ("y", "yes")
