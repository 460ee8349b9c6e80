"""A real environment on the embedded server, shared by the tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from provision_support import environment_in

from lab.core.progress import SilentProgress
from lab.targets.base import Environment, Phase


@pytest.fixture(scope="session")
def roots() -> Iterator[Callable[[], Path]]:
    """Folders that a server of another user can reach; pytest's own are closed to it."""
    made: list[Path] = []

    def make() -> Path:
        root = Path(tempfile.mkdtemp(prefix="ddl-lab-test-", dir=_roomy_memory()))
        root.chmod(0o755)
        made.append(root)
        return root

    yield make
    for root in made:
        shutil.rmtree(root, ignore_errors=True)


def _roomy_memory() -> Path | None:
    """Return a file system in memory where there is a large one: tests wait for no disk there."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > 1e9 else None


@pytest.fixture(scope="session")
def shared_root(roots: Callable[[], Path]) -> Path:
    return roots()


@pytest.fixture(scope="session")
def shared(shared_root: Path) -> Iterator[Environment]:
    environment = environment_in(shared_root)
    yield environment
    if environment.inspect().phase is not Phase.ABSENT:
        environment.reset(SilentProgress())


@pytest.fixture
def environment(shared: Environment) -> Environment:
    """The shared environment, running and without any user object."""
    shared.start(SilentProgress())
    with contextlib.closing(shared.connect("test")) as connection:
        schemas = connection.execute(
            "SELECT quote_ident(nspname) FROM pg_namespace "
            "WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
        ).fetchall()
        for (schema,) in schemas:
            connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())
        connection.execute("CREATE SCHEMA public")
    return shared


@pytest.fixture
def total(environment: Environment) -> Callable[[], int]:
    def count() -> int:
        with contextlib.closing(environment.connect("test")) as connection:
            return environment.count_objects(connection).total

    return count


@pytest.fixture
def execute(environment: Environment) -> Callable[[str], None]:
    def run(sql: str) -> None:
        with contextlib.closing(environment.connect("test")) as connection:
            connection.execute(sql.encode())

    return run


@pytest.fixture
def existing(environment: Environment) -> Callable[[], frozenset[int]]:
    def numbers(kind: str = "table") -> frozenset[int]:
        with contextlib.closing(environment.connect("test")) as connection:
            return environment.population(kind, "lab").existing(connection)

    return numbers


@pytest.fixture(scope="session")
def may_mount() -> None:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root and mount(8), for a small tmpfs that can be filled up")
