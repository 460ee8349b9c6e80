"""An embedded upstream in a place of its own, and what is asked of it by hand."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.core.config import Config, UpstreamConfig
from lab.core.progress import SilentProgress
from lab.core.workspace import Workspace
from lab.servers.records import Condition
from lab.upstream.assembly import open_upstream
from lab.upstream.upstream import Upstream

QUIET = SilentProgress()
COLUMNS = "id int PRIMARY KEY, a int, b text"


@contextlib.contextmanager
def place() -> Iterator[Path]:
    """A folder that a server of another user can reach, in memory where there is room."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1e9
    root = Path(tempfile.mkdtemp(prefix="ddl-lab-test-", dir=memory if roomy else None))
    root.chmod(0o755)
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def upstream_in(root: Path, **settings: Any) -> Upstream:
    workspace = Workspace(root)
    workspace.prepare()
    return open_upstream(workspace, Config(upstream=UpstreamConfig(**settings)))


@contextlib.contextmanager
def running(tables: int) -> Iterator[Upstream]:
    """An upstream with so many published tables, destroyed afterwards."""
    with place() as root:
        upstream = upstream_in(root)
        try:
            upstream.start(QUIET)
            upstream.provision(tables, COLUMNS, QUIET)
            yield upstream
        finally:
            if upstream.found().condition is not Condition.ABSENT:
                upstream.destroy(QUIET)


def ask(upstream: Upstream, sql: str, database: str = "") -> list[tuple[Any, ...]]:
    """The rows of what the administrator runs."""
    with contextlib.closing(upstream.connect("test", database)) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []
