"""SIGKILL and Ctrl-C in the middle of the transactions of a batch benchmark."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import psutil
import pytest
from batch_lab import tables_made, target_of, upstream_lab
from lab_driver import Driver

SIZES = ("--sizes", "5,20", "--repetitions", "6")
LONG = ("session.measure", "--plan", "batch", *SIZES)


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


def test_ctrl_c_outside_of_a_session_says_that_nothing_is_kept(lab: Driver) -> None:
    server = server_of(lab)
    under_way = lab.spawn("measure.batch", *SIZES)
    wait_until_tables_are_made(lab, server, under_way)
    under_way.send_signal(signal.SIGINT)
    _, err = under_way.communicate(timeout=60)
    assert under_way.returncode == 130
    assert "Interrupted by SIGINT." in err
    assert "Nothing that was measured is kept" in err
    assert "upstream.clean" in err
    assert "goes on" not in err
    assert not list((lab.workspace / ".lab/batches").glob("*"))
    assert tables_made(lab) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_it_while_tables_are_dropped(
    lab: Driver, number: signal.Signals
) -> None:
    server = server_of(lab)
    under_way = lab.spawn("measure.batch", *SIZES)
    wait_until_tables_are_made(lab, server, under_way)
    with target_of(lab) as other:
        # Whoever wants to drop the tables has to wait for this transaction.
        other.execute("BEGIN")
        row = other.execute(
            "SELECT c.oid::regclass::text FROM pg_class c WHERE relname ~ '^bench_table_' LIMIT 1"
        ).fetchone()
        assert row is not None
        other.execute(f"COMMENT ON FOREIGN TABLE {row[0]} IS 'held'")
        under_way.send_signal(number)
        end = time.monotonic() + 60
        while not _drop_waits(lab):
            assert time.monotonic() < end, "nothing is dropped"
            assert under_way.poll() is None, under_way.communicate()
            time.sleep(0.05)
        under_way.send_signal(number)
        _, err = under_way.communicate(timeout=15)
        other.execute("ROLLBACK")
    assert under_way.returncode == 130
    assert f"Interrupted by {number.name}." in err
    assert "Nothing that was measured is kept" in err
    assert "Traceback" not in err
    # As it said.
    assert tables_made(lab) > 0
    lab.ok("upstream.clean")
    assert tables_made(lab) == 0


def _drop_waits(lab: Driver) -> bool:
    with target_of(lab) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND query ILIKE 'DROP%'"
        ).fetchone()
    return bool(row and row[0])
