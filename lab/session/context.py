"""What the steps of a session work with."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from lab.core.config import Config
from lab.core.progress import Progress
from lab.core.workspace import Workspace
from lab.targets.base import Environment
from lab.vcs.base import Repository
from lab.vcs.detect import create_repository, open_repository


def _unasked(question: str) -> bool:
    return False


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """The workspace, its configuration and environment, and where progress is told.

    ``confirm`` puts a question that is answered by yes or no; where nobody can be asked it is no.
    """

    workspace: Workspace
    config: Config
    environment: Environment
    progress: Progress
    confirm: Callable[[str], bool] = _unasked

    def repository(self) -> Repository | None:
        """Open the workspace's repository; None where there is none or none is wanted."""
        return open_repository(
            self.workspace.root, self.config.session.vcs, enclosing=not self.workspace.is_default
        )

    def ensure_repository(self) -> Repository | None:
        """Open the workspace's repository; make one where the lab made the workspace."""
        found = self.repository()
        if found is None and self.workspace.is_default:
            found = create_repository(self.workspace.root, self.config.session.vcs)
        return found
