"""What the tests of provisioning, and the processes that they start, have in common."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lab.core.config import Config, PostgresConfig
from lab.core.progress import Progress, SilentProgress
from lab.core.results import Outcome
from lab.core.workspace import Workspace
from lab.provision.population import seed
from lab.targets.base import Environment
from lab.targets.registry import target

# What the lab's own tests need of a disk is speed.
FAST = {"fsync": "off"}


class Watching(SilentProgress):
    """Says nothing, keeps what was said, and calls back after each batch."""

    def __init__(self, after_batch: Callable[[int], None] = lambda _: None) -> None:
        self.said: list[str] = []
        self._after_batch = after_batch
        self._done = 0

    def say(self, text: str) -> None:
        self.said.append(text)

    @contextlib.contextmanager
    def stage(
        self, title: str, *, total: int, unit: str, growing: bool = False
    ) -> Iterator[Watching]:
        yield self

    def advance(self, count: int = 1) -> None:
        self._done += count
        self._after_batch(self._done)


def environment_in(root: Path, settings: dict[str, str] | None = None) -> Environment:
    workspace = Workspace(root)
    workspace.prepare()
    config = Config(postgres=PostgresConfig(settings={**FAST, **(settings or {})}))
    return target("postgres").environment(workspace, config)


def seeded(
    environment: Environment, count: int, progress: Progress | None = None, **options: Any
) -> Outcome:
    """Seed tables into the schema `lab`, unless told otherwise."""
    given = {"kind": "table", "schema": "lab", "drop_surplus": False, "check": False, **options}
    return seed(environment, count=count, progress=progress or SilentProgress(), **given)
