"""The target ``postgres``."""

from __future__ import annotations

from lab.core.config import Config
from lab.core.workspace import Workspace
from lab.metrics.tree import CostSheet
from lab.targets.base import Environment
from lab.targets.postgres import costs
from lab.targets.postgres.environment import NAME, STATE, PostgresEnvironment


class PostgresTarget:
    """PostgreSQL, on the embedded server."""

    name: str = NAME
    least_change_ns: int = 50_000
    """0.05 ms: a DDL statement of PostgreSQL takes about one."""

    def cost_sheet(self, statement: str, mode: str) -> CostSheet:
        """Return what is declared about the costs of ``statement``: in each mode the same."""
        return costs.cost_sheet(statement)

    def environment(self, workspace: Workspace, config: Config) -> Environment:
        """Return the environment of ``workspace``; nothing is started."""
        from lab.servers.postgres import EmbeddedServer

        return PostgresEnvironment(
            EmbeddedServer(
                states=workspace.states,
                environments=workspace.environments,
                name=STATE,
                user_settings=config.postgres.settings,
                port=config.postgres.port,
            )
        )
