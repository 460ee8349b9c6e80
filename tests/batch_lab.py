"""A workspace with an upstream, for the tests of batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lab_driver import Driver, make_driver, remove_driver

from lab.cli.environment import open_environment
from lab.core.loading import load_config
from lab.servers.connection import Connection
from lab.upstream.assembly import open_upstream
from lab.upstream.upstream import Upstream

SMALL = ("--plan", "batch", "--sizes", "1,3", "--repetitions", "2")
"""Eight tables are needed for it."""


@contextmanager
def upstream_lab(tables: int) -> Iterator[Driver]:
    """Lend a workspace whose upstream publishes ``tables``."""
    lab = make_driver()
    try:
        lab.ok("upstream.up", "--tables", str(tables))
        yield lab
    finally:
        lab.run("upstream.down")
        remove_driver(lab)


def upstream_of(lab: Driver) -> Upstream:
    from lab.core.workspace import Workspace

    workspace = Workspace(lab.workspace)
    return open_upstream(workspace, load_config(workspace.config).config)


@contextmanager
def target_of(lab: Driver) -> Iterator[Connection]:
    """Lend a connection to the database under study."""
    from lab.core.workspace import Workspace

    workspace = Workspace(lab.workspace)
    environment = open_environment(workspace, load_config(workspace.config).config)
    connection = environment.connect("test")
    try:
        yield connection
    finally:
        connection.close()


def tables_made(lab: Driver) -> int:
    """Count the tables that batches have made and that are still there."""
    with target_of(lab) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_foreign_table t JOIN pg_class c ON c.oid = t.ftrelid"
            " WHERE c.relname LIKE 'bench_table_%'"
        ).fetchone()
    assert row is not None
    return int(row[0])
