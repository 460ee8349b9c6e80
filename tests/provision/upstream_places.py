"""A workspace with an environment and an upstream, both on embedded servers."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from provision_support import FAST

from lab.core.config import Config, PostgresConfig, UpstreamConfig
from lab.core.progress import SilentProgress
from lab.core.workspace import Workspace
from lab.servers.records import Condition
from lab.targets.base import Environment, Phase
from lab.targets.registry import target
from lab.upstream.assembly import open_upstream
from lab.upstream.upstream import Upstream

QUIET = SilentProgress()
COLUMNS = UpstreamConfig().columns


class Place(msgspec.Struct, frozen=True):
    """One workspace, with what ``lab.toml`` would say."""

    root: Path
    config: Config

    @property
    def environment(self) -> Environment:
        return target("postgres").environment(Workspace(self.root), self.config)

    @property
    def upstream(self) -> Upstream:
        return open_upstream(Workspace(self.root), self.config)

    def ask(self, sql: str, database: str = "") -> list[tuple[Any, ...]]:
        """The rows of what the upstream's administrator runs."""
        with contextlib.closing(self.upstream.connect("test", database)) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []


@contextlib.contextmanager
def place(**declared: Any) -> Iterator[Place]:
    """A place of its own; whatever runs there in the end is taken away."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1e9
    root = Path(tempfile.mkdtemp(prefix="ddl-lab-test-", dir=memory if roomy else None))
    root.chmod(0o755)
    Workspace(root).prepare()
    made = Place(
        root,
        Config(postgres=PostgresConfig(settings=FAST), upstream=UpstreamConfig(**declared)),
    )
    try:
        yield made
    finally:
        if made.environment.inspect().phase is not Phase.ABSENT:
            made.environment.reset(QUIET)
        if made.upstream.found().condition is not Condition.ABSENT:
            made.upstream.destroy(QUIET)
        shutil.rmtree(root, ignore_errors=True)
