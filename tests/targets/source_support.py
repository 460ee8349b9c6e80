"""A real upstream in a workspace, for tests of what reads it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg

from lab.core.config import Config
from lab.core.progress import SilentProgress
from lab.core.workspace import Workspace
from lab.targets.diagnosis import described
from lab.upstream.assembly import open_upstream
from lab.upstream.base import ROLE, Link
from lab.upstream.upstream import Upstream

QUIET = SilentProgress()
COLUMNS = "id int PRIMARY KEY, a int, b text"
TABLES = 20


@contextlib.contextmanager
def upstream_in(workspace: Workspace) -> Iterator[Upstream]:
    """Lend an embedded upstream of 20 published tables, and take it away."""
    made = open_upstream(workspace, Config())
    try:
        made.start(QUIET)
        made.provision(TABLES, COLUMNS, QUIET)
        yield made
    finally:
        made.destroy(QUIET)


def as_administrator(upstream: Upstream, *statements: str) -> None:
    with contextlib.closing(upstream.connect("test")) as connection:
        for statement in statements:
            connection.execute(statement.encode())


@contextlib.contextmanager
def another_password(upstream: Upstream, link: Link, password: str) -> Iterator[None]:
    """Change the role's password, and change it back."""
    as_administrator(upstream, f"ALTER ROLE {ROLE} PASSWORD '{password}'")
    try:
        yield
    finally:
        as_administrator(upstream, f"ALTER ROLE {ROLE} PASSWORD '{link.password}'")


@contextlib.contextmanager
def unpublished(upstream: Upstream, number: int) -> Iterator[None]:
    """Take a table out of the publication, and put it back."""
    table = f"public.bench_table_{number}"
    as_administrator(upstream, f"ALTER PUBLICATION ddl_lab DROP TABLE {table}")
    try:
        yield
    finally:
        as_administrator(upstream, f"ALTER PUBLICATION ddl_lab ADD TABLE {table}")


def sessions_of_the_role(upstream: Upstream) -> int:
    query = b"SELECT count(*) FROM pg_stat_activity WHERE usename = %s"
    with contextlib.closing(upstream.connect("test")) as connection:
        row = connection.execute(query, (ROLE,)).fetchone()
    return row[0]


def failure_of(connection: psycopg.Connection, statement: str) -> psycopg.Error:
    """Execute what fails, and return how."""
    try:
        connection.execute(statement.encode())
    except psycopg.Error as error:
        return error
    raise AssertionError(f"{statement} succeeded")


def meaning(sourcing, error: psycopg.Error):
    """Return what is said of an error of the server."""
    found = sourcing.diagnose(described(error))
    assert found is not None, described(error)
    assert found.what
    assert found.why
    assert found.remedy
    return found


def statuses(steps) -> dict[str, str]:
    return {step.name: step.status.value for step in steps}
