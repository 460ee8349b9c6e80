"""The target ``materialize``."""

from __future__ import annotations

from lab.core.config import Config
from lab.core.workspace import Workspace
from lab.metrics.tree import CostSheet
from lab.targets.base import Environment

NAME = "materialize"


class MaterializeTarget:
    """Materialize: environmentd out of a checkout, or the image."""

    name: str = NAME
    least_change_ns: int = 2_000_000
    """2 ms: a DDL statement of Materialize takes a hundred and more."""

    def cost_sheet(self, statement: str, mode: str) -> CostSheet:
        """Return what is declared about the costs of ``statement``, sent in ``mode``."""
        from lab.targets.materialize import costs

        return costs.cost_sheet(statement, mode)

    def environment(self, workspace: Workspace, config: Config) -> Environment:
        """Return the environment of ``workspace``; nothing is started.

        Raises
        ------
        UsageError
            Neither a checkout nor an image is named.
        PreconditionError
            The checkout is not there, or is not one of Materialize.
        """
        from lab.targets.materialize.assembly import assemble

        return assemble(workspace, config)
