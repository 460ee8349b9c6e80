"""What the doctor says of the upstream: its state, and what endangers it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from batch_lab import upstream_of
from lab_driver import Driver, make_driver, remove_driver

MEMORY = Path("/dev/shm")


@pytest.fixture(scope="module")
def lab() -> Iterator[Driver]:
    """A workspace in memory, where there is room."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 1e9
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tempfile, "tempdir", str(MEMORY) if roomy else None)
        made = make_driver()
    yield made
    made.run("upstream.down", "--destroy", "--yes", "upstream")
    remove_driver(made)


def findings(lab: Driver) -> dict[str, dict[str, str]]:
    said = lab.ok("lab.doctor", "--json").data["findings"]
    return {each["name"]: each for each in said if each["name"].startswith("upstream")}


def test_nothing_is_said_before_there_is_any_and_alarms_afterwards(lab: Driver) -> None:
    assert findings(lab) == {}
    lab.ok("upstream.up", "--tables", "2")
    found = findings(lab)
    assert found["upstream"]["status"] == "ok"
    assert "running" in found["upstream"]["found"]
    if lab.directory.is_relative_to(MEMORY):
        assert "in memory" in found["upstream's data"]["found"]
        assert "lost" in found["upstream's data"]["cost"]
    assert "upstream's WAL" not in found

    with contextlib.closing(upstream_of(lab).connect("test")) as connection:
        connection.execute("SELECT pg_create_logical_replication_slot('left', 'pgoutput')")
        connection.execute(
            "SELECT pg_logical_emit_message(false, 'fill', repeat('x', 1000000))"
            " FROM generate_series(1, 70)"
        )
        held = findings(lab)["upstream's WAL"]
        connection.execute("SELECT pg_drop_replication_slot('left')")
    assert held["status"] == "look"
    assert "left (database upstream)" in held["found"]
    assert "`upstream.clean`" in held["cost"]

    lab.ok("upstream.down")
    assert "stopped" in findings(lab)["upstream"]["found"]
