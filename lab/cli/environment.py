"""The environment that a workspace's configuration describes."""

from __future__ import annotations

from lab.core.config import Config
from lab.core.workspace import Workspace
from lab.targets.base import Environment
from lab.targets.registry import target


def open_environment(workspace: Workspace, config: Config) -> Environment:
    """Return the environment of ``workspace``; nothing is started.

    Raises
    ------
    UsageError
        The configured target is unknown.
    """
    return target(config.target).environment(workspace, config)
