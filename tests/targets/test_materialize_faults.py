"""What goes wrong while environmentd starts, is filled and is measured: said, and got over."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from lab_driver import KILLED, Result
from materialize_driver import (
    MaterializeDriver,
    check_of,
    lives,
    materialize_lab,
    standin_only,
    wait_until,
)
from standin import Law

from lab.core.progress import SilentProgress
from lab.core.workspace import Workspace
from lab.targets.materialize.metadata_embedded import EmbeddedStore

MEASURE = ("session.measure", "--samples", "6", "--statements", "create-table")

pytestmark = standin_only


@pytest.fixture(scope="module")
def whole_lab() -> Iterator[MaterializeDriver]:
    with materialize_lab(law=Law(floor_ms=2, per_1000_objects_ms=1)) as made:
        made.variables["LAB_MEASURE_MOST_SAMPLES"] = "6"
        made.ok("env.start")
        yield made


@pytest.fixture
def idle(whole_lab: MaterializeDriver) -> Iterator[MaterializeDriver]:
    """A lab whose environmentd does not run, but its metadata store does."""
    whole_lab.end()
    yield whole_lab
    whole_lab.faults()
    whole_lab.declare()


@pytest.fixture
def lab(whole_lab: MaterializeDriver) -> Iterator[MaterializeDriver]:
    """A lab that runs without a fault."""
    if not whole_lab.servers():
        whole_lab.ok("env.start")
    yield whole_lab
    whole_lab.faults()


def total(lab: MaterializeDriver) -> int:
    return sum(lab.json("env.status").data["objects"]["by_type"].values())


def refusal(result: Result) -> tuple[int, str]:
    return result.code, result.error["code"]


# While it starts


def test_a_start_that_takes_too_long_goes_on_and_is_adopted(idle: MaterializeDriver) -> None:
    idle.declare(start_timeout_s=2)
    idle.faults(readyz_never=True)

    late = idle.json("env.start")

    assert refusal(late) == (124, "server.not-ready")
    assert "not ready after 2 s" in late.error["what"]
    assert "startup: envd init: complete" in late.error["why"]
    assert "run the command again" in late.error["next"]
    server = idle.server()
    assert refusal(idle.json("env.start", "--build", "debug")) == (124, "server.not-ready")
    idle.faults()
    assert idle.json("env.start").code == 0
    assert idle.server() == server


def test_a_start_that_hangs_says_where_and_can_be_stopped(idle: MaterializeDriver) -> None:
    idle.declare(start_timeout_s=2)
    idle.faults(hang_before_ready=True)

    late = idle.json("env.start")

    assert refusal(late) == (124, "server.not-ready")
    assert "it is at envd serve" in late.error["what"]
    assert idle.json("env.stop").code == 0
    assert not idle.processes()


def test_an_interrupted_start_goes_on_and_says_so(idle: MaterializeDriver) -> None:
    idle.faults(readyz_never=True)
    command = idle.spawn("env.start")
    assert wait_until(lambda: bool(idle.servers()))
    assert wait_until(lambda: "startup: envd init: complete" in idle.log)

    command.send_signal(signal.SIGINT)
    _, said = command.communicate(timeout=20)

    assert command.returncode == 130
    assert "Traceback" not in said
    assert "again" in said
    server = idle.server()
    idle.faults()
    assert idle.json("env.start").code == 0
    assert idle.server() == server


def test_a_panic_is_shown_with_its_message(idle: MaterializeDriver) -> None:
    idle.faults(panic_at_boot="the catalog is in tatters")

    failed = idle.json("env.start")

    assert refusal(failed) == (6, "server.panicked")
    assert "the catalog is in tatters" in failed.error["why"]
    assert "panicked at src/" in failed.error["why"]
    assert not idle.processes()
    idle.faults()
    idle.ok("env.start")


@pytest.mark.parametrize("directly", [False, True], ids=["wrapper", "directly"])
def test_an_environmentd_that_halts_is_started_anew(
    idle: MaterializeDriver, directly: bool
) -> None:
    """By the checkout's wrapper, or by the lab where that is not there."""
    wanted = idle.build_id("debug") if directly else "debug"
    idle.faults(halt_at_boot=1)

    started = idle.json("env.start", "--build", wanted)

    assert started.code == 0, started.err
    assert started.data["situation"]["process"]["pid"] == idle.server().pid


def test_an_environmentd_that_halts_for_ever_is_given_up(idle: MaterializeDriver) -> None:
    idle.faults(halt_at_boot=99)

    failed = idle.json("env.start", timeout=60)

    assert refusal(failed) == (6, "server.halted")
    assert "a halt that was asked for" in failed.error["why"]
    assert not idle.processes()


# While it is filled


def seed(lab: MaterializeDriver, more: int, **faults: Any) -> tuple[int, Result]:
    count = total(lab) + more
    lab.faults(**faults)
    return count, lab.json("lab.seed", "--count", str(count))


def test_a_panic_while_seeding(lab: MaterializeDriver) -> None:
    before = lab.server()
    count, failed = seed(lab, 30, panic_after_ddl=10)

    assert refusal(failed) == (6, "server.gone")
    assert "again: it goes on from here" in failed.error["next"]
    assert "panicked at" in failed.err
    assert not lives(before)
    again = lab.json("lab.seed", "--count", str(count))
    assert again.code == 0, again.err
    assert total(lab) == count


@pytest.mark.parametrize("directly", [False, True], ids=["wrapper", "directly"])
def test_a_halt_while_seeding_is_got_over(lab: MaterializeDriver, directly: bool) -> None:
    wanted = lab.build_id("debug") if directly else "debug"
    lab.end()
    lab.ok("env.start", "--build", wanted)

    count, done = seed(lab, 30, halt_after_ddl=10)

    assert done.code == 0, done.err
    assert total(lab) == count
    assert lab.json("env.start", "--build", wanted).code == 0
    assert lab.json("env.verify", "--objects", str(count)).code == 0


def test_a_reset_connection_while_seeding_is_got_over(lab: MaterializeDriver) -> None:
    """The statement was carried out: what is there is looked at, and not guessed."""
    before = lab.server()

    count, done = seed(lab, 20, reset_after_ddl=5)

    assert done.code == 0, done.err
    assert total(lab) == count
    assert lab.server() == before


def test_somebody_elses_ddl_while_seeding(lab: MaterializeDriver) -> None:
    count, first = seed(lab, 10, conflicts=3)

    if first.code:
        assert first.code == 6
        assert "40001" in first.error["why"]
        assert "again" in first.error["next"]
    lab.faults()
    assert lab.json("lab.seed", "--count", str(count)).code == 0
    assert total(lab) == count


def test_a_metadata_store_that_restarts_while_seeding(lab: MaterializeDriver) -> None:
    store = EmbeddedStore(Workspace(lab.directory), "materialize")
    count = total(lab) + 400
    command = lab.spawn("lab.seed", "--count", str(count), "--json")
    assert wait_until(lambda: _tables(lab) > count - 380)

    store.server.stop(SilentProgress())
    store.server.start(SilentProgress())
    out, said = command.communicate(timeout=60)

    assert command.returncode == 0, out + said
    assert total(lab) == count


def _tables(lab: MaterializeDriver) -> int:
    with lab.connect() as connection:
        row = connection.execute("SELECT count(*) FROM mz_objects WHERE id LIKE 'u%'").fetchone()
    connection.close()
    return int(row[0]) if row else 0


# While it is measured


def test_a_panic_while_measuring_voids_the_run(lab: MaterializeDriver) -> None:
    objects = total(lab)
    lab.faults(panic_after_ddl=12)

    void = lab.json(*MEASURE)

    assert refusal(void) == (6, "run.void")
    assert "broke off" in void.error["what"]
    lab.faults()
    again = lab.json(*MEASURE)
    assert again.code == 0, again.err
    assert lab.json("log.verify").code == 0
    assert total(lab) == objects


def test_metrics_that_break_off(lab: MaterializeDriver) -> None:
    lab.faults(truncated_metrics=200_000)

    refused = lab.json(*MEASURE)

    assert refusal(refused) == (4, "environment.unfit")
    assert "broke off after 200,000 bytes" in refused.error["why"]
    assert lab.json("session.status").data == {"session": None}


def test_metrics_that_take_their_time_are_foreseen(lab: MaterializeDriver) -> None:
    lab.faults(slow_metrics_s=0.4)

    done = lab.json(*MEASURE)

    assert done.code == 0, done.err
    assert "Counters are read at least" in done.err
    assert re.search(r"times at (0\.[4-9] s|[4-9]\d\d ms)", done.err), done.err


# What env.verify finds


@pytest.mark.parametrize("which", ["catalog", "coordinator"])
def test_an_inconsistency_that_environmentd_finds_in_itself(
    lab: MaterializeDriver, which: str
) -> None:
    lab.faults(**{f"{which}_check": "item u9 has no schema"})

    failed = lab.json("env.verify")

    assert failed.code == 4
    assert failed.data["passed"] is False
    (fault,) = [check for check in failed.data["checks"] if not check["passed"]]
    assert fault["name"] == f"{which} consistent"
    assert fault["found"] == "item u9 has no schema"
    shown = lab.run("env.verify")
    assert "FAILED" in shown.out
    assert "1 of " in shown.out


def test_a_count_that_is_not_as_expected(lab: MaterializeDriver) -> None:
    found = total(lab)

    failed = lab.json("env.verify", "--objects", str(found + 1))

    assert failed.code == 4
    check = check_of(failed.data, "user objects")
    assert check["expected"] == f"exactly {found + 1:,}"
    assert "lab.seed" in check["remedy"]


def test_nothing_that_answers(idle: MaterializeDriver) -> None:
    failed = idle.json("env.verify")

    assert failed.code == 4
    assert [check["name"] for check in failed.data["checks"]] == ["ready"]
    assert "`env.start`" in failed.data["checks"][0]["remedy"]


def test_blobs_that_are_deleted_under_a_living_server(lab: MaterializeDriver) -> None:
    blobs = lab.data_folder / "persist/blob"
    kept = blobs.rename(lab.directory / "kept-blobs")
    try:
        failed = lab.json("env.verify")

        assert failed.code == 4
        check = check_of(failed.data, "blobs and metadata")
        assert not check["passed"]
        assert str(blobs) in check["found"]
        assert refusal(lab.json(*MEASURE)) == (4, "environment.unfit")
    finally:
        shutil.rmtree(blobs, ignore_errors=True)
        kept.rename(blobs)
    assert lab.json("env.verify").code == 0


def test_a_metadata_store_that_was_killed(lab: MaterializeDriver) -> None:
    lab.kill(*lab.stores())

    failed = lab.json("env.verify")

    assert failed.code == 4
    check = check_of(failed.data, "blobs and metadata")
    assert "does not answer" in check["found"]
    assert "`lab.up`" in check["remedy"]
    lab.ok("lab.up")
    assert lab.json("env.verify").code == 0


def test_limits_that_leave_no_room_for_measuring(lab: MaterializeDriver) -> None:
    """Seeding to a limit is fine; what is measured needs a few tables more."""
    tables = total(lab)
    lab.ok("env.set", f"max_tables={tables + 1}")
    try:
        refused = lab.json(*MEASURE)

        assert refusal(refused) == (4, "environment.unfit")
        assert f"max_tables is {tables + 1:,}" in refused.error["why"]
        assert "`env.set max_tables=" in refused.error["next"]
    finally:
        lab.ok("env.set", f"max_tables={tables + 1000}")
    check = check_of(lab.json("env.verify").data, "room")
    assert check["passed"]


def test_a_server_without_self_checks_is_not_measured(lab: MaterializeDriver) -> None:
    count = total(lab) + 5
    words = ("lab.seed", "--count", str(count), "--no-self-checks")
    assert lab.run(*words, LAB_KILL_AT="lab.seed:batch").code == KILLED

    failed = lab.json("env.verify")

    assert failed.code == 4
    check = check_of(failed.data, "self-checks")
    assert not check["passed"]
    assert "switched off" in check["found"]
    lab.ok("lab.up")
    assert lab.json("env.verify").code == 0
    lab.ok("lab.seed", "--count", str(count))


def test_the_lab_waits_by_a_clock_that_cannot_jump() -> None:
    found = subprocess.run(
        ["grep", "-rnE", r"time\.time\(|datetime\.now\(\)", "lab/targets/materialize"],
        capture_output=True,
        text=True,
        check=False,
        cwd=__file__.rpartition("/tests/")[0],
    )
    assert found.stdout == ""
