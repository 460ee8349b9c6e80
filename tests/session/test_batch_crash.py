"""SIGKILL in the middle of the transactions of a batch benchmark."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import psutil
import pytest
from batch_lab import tables_made, upstream_lab
from lab_driver import Driver

LONG = ("session.measure", "--plan", "batch", "--sizes", "5,20", "--repetitions", "6")


@pytest.fixture(scope="module")
def lab() -> Iterator[Driver]:
    with upstream_lab(150) as made:
        made.ok("env.start")
        yield made


def server_of(lab: Driver) -> psutil.Process:
    return psutil.Process(lab.json("env.status").data["situation"]["process"]["pid"])


def wait_until_tables_are_made(
    lab: Driver, server: psutil.Process, under_way: subprocess.Popen[str]
) -> None:
    """Wait for the first commit.

    The server is asked for it only once the command holds both of its connections: a session
    beside it would be found when the environment is verified.
    """
    end = time.monotonic() + 60
    while _sessions(server) < 2 or not tables_made(lab):
        assert time.monotonic() < end, "no transaction was committed"
        assert under_way.poll() is None, under_way.communicate()
        time.sleep(0.02)


def _sessions(server: psutil.Process) -> int:
    found = 0
    for child in server.children():
        with contextlib.suppress(psutil.Error, IndexError):
            found += " lab 127.0.0.1" in child.cmdline()[0]
    return found


def test_a_command_killed_among_its_transactions_is_gone_on_with(lab: Driver) -> None:
    server = server_of(lab)
    under_way = lab.spawn(*LONG)
    wait_until_tables_are_made(lab, server, under_way)
    os.kill(under_way.pid, signal.SIGKILL)
    under_way.communicate()
    assert tables_made(lab) > 0
    status = lab.ok("session.status", "--json").data["session"]
    assert (status["runs"], status["whole"]) == ([], True)

    # Without options it goes on with what was asked for.
    done = lab.ok("session.measure", "--json").data

    (run,) = done["runs"]
    assert [each["size"] for each in run["batch"]["sizes"]] == [5, 20]
    assert run["batch"]["failures"] == []
    assert tables_made(lab) == 0
    log = (lab.workspace / "ddl-perf-log.md").read_text()
    assert log.count("\n### Session ") == 1
    assert len(list((lab.workspace / "ddl-perf-evidence").rglob("run-*.json"))) == 1
    assert lab.json("session.status").data == {"session": None}
    lab.ok("log.verify")
    lab.ok("upstream.clean")
