"""Seeding is interrupted by force: nothing is lost, and the same call goes on."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from provision_support import Watching, environment_in, seeded

from lab.core.errors import ExternalError, PreconditionError
from lab.core.killpoints import VARIABLE
from lab.core.progress import SilentProgress
from lab.core.results import Status
from lab.targets.base import Environment, PopulationScheme

# More tables than the smallest lock table holds in one transaction.
LOCKS_AT_MOST = 1500
CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from provision_support import environment_in, seeded
seeded(environment_in(Path(sys.argv[2])), int(sys.argv[3]))
"""


def objects(environment: Environment) -> int:
    connection = environment.connect("test")
    try:
        return environment.count_objects(connection).total
    finally:
        connection.close()


def test_sigkill_of_the_seeding_process_at_a_batch(
    environment: Environment, shared_root: Path
) -> None:
    command = [sys.executable, "-c", CHILD, str(Path(__file__).parent), str(shared_root), "700"]
    killed = subprocess.run(command, env={**os.environ, VARIABLE: "lab.seed:batch"}, check=False)
    assert killed.returncode == -signal.SIGKILL
    reached = objects(environment)
    assert 0 < reached < 700
    outcome = seeded(environment, 700)
    assert outcome.steps[1].diff[0] == f"- {reached} user objects"
    assert objects(environment) == 700


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGKILL])
def test_the_server_is_killed_in_the_middle(
    environment: Environment, number: signal.Signals
) -> None:
    server = environment.inspect().process
    assert server is not None

    def kill(done: int) -> None:
        if done >= 200:
            server.send(number)

    with pytest.raises(ExternalError) as gone:
        seeded(environment, 50_000, Watching(kill))
    assert gone.value.code == "server.gone"
    assert "same command" in gone.value.remedy
    said = re.search(r"Reached ([0-9,]+) user objects of 50,000", gone.value.what)
    assert said is not None
    count = int(said[1].replace(",", "")) + 500  # a string may have come through unacknowledged
    while server.alive():
        time.sleep(0.05)
    resumed = seeded(environment, count)
    assert [step.status for step in resumed.steps] == [Status.CHANGED, Status.CHANGED]
    assert objects(environment) == count


class LongStrings:
    """The environment's own population, with more statements in a string than the locks allow."""

    def __init__(self, environment: Environment, batch: int) -> None:
        self._environment = environment
        self._batch = batch

    def population(self, kind: str, schema: str) -> PopulationScheme:
        scheme = self._environment.population(kind, schema)
        return Lengthened(scheme, self._batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environment, name)


class Lengthened:
    def __init__(self, scheme: PopulationScheme, batch: int) -> None:
        self.batch = batch
        self._scheme = scheme

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scheme, name)


def test_strings_that_the_lock_table_does_not_hold_are_halved(
    roots: Callable[[], Path],
) -> None:
    environment = environment_in(
        roots(), {"max_locks_per_transaction": "10", "max_connections": "10"}
    )
    try:
        environment.start(SilentProgress())
        seeded(environment, 1)
        scheme = environment.population("table", "lab")
        numbers = range(2, LOCKS_AT_MOST + 2)
        with (
            contextlib.closing(environment.connect("test")) as connection,
            pytest.raises(psycopg.errors.OutOfMemory),
        ):
            connection.execute(";".join(map(scheme.create, numbers)).encode())
        batches: list[int] = []
        seeded(LongStrings(environment, LOCKS_AT_MOST), LOCKS_AT_MOST + 1, Watching(batches.append))
        assert len(batches) > 1
        assert objects(environment) == LOCKS_AT_MOST + 1
    finally:
        environment.reset(SilentProgress())


@pytest.fixture
def small_disk(may_mount: None, roots: Callable[[], Path]) -> Iterator[Path]:
    """A tmpfs for a few thousand files at most."""
    root = roots()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=192m,mode=755", "tmpfs", str(root)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {mounted.stderr.strip()}")
    yield root
    subprocess.run(["umount", "--lazy", str(root)], check=True)


def fill_up(disk: Path, *, leave: int) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - leave)
    return ballast


def test_the_disk_is_full_and_space_is_freed(small_disk: Path) -> None:
    environment = environment_in(small_disk)
    environment.start(SilentProgress())
    try:
        seeded(environment, 100)
        ballast = fill_up(small_disk, leave=2_000_000)
        with pytest.raises(PreconditionError) as full:
            seeded(environment, 4000)
        assert full.value.code == "disk.full"
        assert "of 4,000" in full.value.what
        assert str(small_disk) in full.value.why
        ballast.unlink()
        seeded(environment, 1000)
        assert objects(environment) == 1000
    finally:
        environment.reset(SilentProgress())


def leave_in_journal(environment: Environment, bytes_left: int) -> None:
    """Write so much that only ``bytes_left`` fit into the file of the journal that is in use."""
    segment = 16 * 1024 * 1024
    with contextlib.closing(environment.connect("test")) as connection:
        row = connection.execute("SELECT pg_current_wal_lsn() - '0/0'").fetchone()
        assert row is not None
        used = int(row[0]) % segment
        length = max(0, segment - used - bytes_left)
        connection.execute("SELECT pg_logical_emit_message(false, '', repeat('x', %s))", (length,))


def test_the_journal_of_the_server_has_no_space(environment: Environment, small_disk: Path) -> None:
    environment.stop(SilentProgress())
    (journal,) = Path(environment.inspect().directory).rglob("pg_wal")
    aside = journal.with_name("aside")
    owner = journal.stat()
    moved = small_disk / "pg_wal"
    shutil.copytree(journal, moved)
    for path in (moved, *moved.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    journal.rename(aside)
    journal.symlink_to(moved)
    try:
        environment.start(SilentProgress())
        leave_in_journal(environment, 2_000_000)
        ballast = fill_up(small_disk, leave=100_000)
        with pytest.raises(PreconditionError) as full:
            seeded(environment, 20_000)
        assert full.value.code == "disk.full"
        ballast.unlink()
        environment.start(SilentProgress())
        reached = objects(environment)
        assert 0 < reached < 20_000
        seeded(environment, reached + 300)
        assert objects(environment) == reached + 300
    finally:
        environment.reset(SilentProgress())
