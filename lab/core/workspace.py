"""Where log, prompt, evidence and the lab's own files live."""

from __future__ import annotations

from pathlib import Path

import msgspec

from lab.core.files import create_exclusively

CONFIG_NAME = "lab.toml"
DEFAULT_DIRECTORY = "logs"


class Workspace(msgspec.Struct, frozen=True):
    """The repository under study. All paths follow from ``root`` (absolute)."""

    root: Path

    @property
    def config(self) -> Path:
        """``lab.toml``."""
        return self.root / CONFIG_NAME

    @property
    def is_default(self) -> bool:
        """Whether the lab chose this folder itself, since no ``lab.toml`` names one."""
        return not self.config.is_file()

    @property
    def log(self) -> Path:
        """``ddl-perf-log.md``."""
        return self.root / "ddl-perf-log.md"

    @property
    def prompt(self) -> Path:
        """``ddl-perf-prompt.md``."""
        return self.root / "ddl-perf-prompt.md"

    @property
    def readme(self) -> Path:
        """What the default workspace comes with."""
        return self.root / "README.md"

    @property
    def evidence(self) -> Path:
        """The folder with one folder a session."""
        return self.root / "ddl-perf-evidence"

    @property
    def templates(self) -> Path:
        """Templates here take precedence over the shipped ones."""
        return self.root / "templates"

    @property
    def private(self) -> Path:
        """``.lab``: journal, locks, states, server directories; never part of the repository."""
        return self.root / ".lab"

    @property
    def sessions(self) -> Path:
        """One folder a session, with its journal and notes."""
        return self.private / "sessions"

    @property
    def states(self) -> Path:
        """One folder a named state."""
        return self.private / "states"

    @property
    def environments(self) -> Path:
        """What the lab knows of the servers that it started."""
        return self.private / "environments"

    def prepare(self) -> None:
        """Create the private folder, which hides itself from the repository."""
        self.private.mkdir(parents=True, exist_ok=True)
        ignore = self.private / ".gitignore"
        if not ignore.exists():
            create_exclusively(ignore, b"*\n")


def find_workspace(start: Path) -> Workspace:
    """Find the workspace that ``start`` belongs to.

    A ``lab.toml`` marks it, looked for upward, or a ``logs`` that the lab has made. Without either
    it is ``logs/`` in ``start``, which need not exist yet.
    """
    start = start.resolve()
    for directory in (start, *start.parents):
        made = directory.name == DEFAULT_DIRECTORY and (directory / ".lab").is_dir()
        if made or (directory / CONFIG_NAME).is_file():
            return Workspace(directory)
    return Workspace(start / DEFAULT_DIRECTORY)
