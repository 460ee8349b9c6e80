"""Starting, adopting, changing over and stopping, by real commands on a real process tree."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from lab_driver import KILLED, Result
from materialize_driver import (
    MaterializeDriver,
    flag,
    free_ports,
    lives,
    materialize_lab,
    run_by_hand,
    standin_only,
    wait_until,
)
from standin import Law, set_behaviour, set_version

# What ties a process to its state and its place, and not to its build.
OF_A_STATE = (
    "--environment-id",
    "--listeners-config-path",
    "--orchestrator-process-secrets-directory",
    "--orchestrator-process-tcp-proxy-listen-addr",
    "--orchestrator-process-prometheus-service-discovery-directory",
    "--orchestrator-process-scratch-directory",
    "--persist-consensus-url",
    "--persist-blob-url",
    "--timestamp-oracle-url",
    "--internal-persist-pubsub-listen-addr",
    "--persist-pubsub-url",
)

BOOTS = "startup: envd init: beginning"


@pytest.fixture(scope="module")
def whole_lab() -> Iterator[MaterializeDriver]:
    with materialize_lab() as made:
        made.ok("env.start")
        made.execute("CREATE TABLE kept (a int)")
        yield made


@pytest.fixture
def lab(whole_lab: MaterializeDriver) -> MaterializeDriver:
    """A lab on one state, its declared build running."""
    running = whole_lab.json("env.status").data["situation"]
    if running["phase"] != "running" or not running["build"].startswith("debug"):
        whole_lab.end()
        whole_lab.ok("env.start")
    return whole_lab


def objects(lab: MaterializeDriver) -> int:
    return sum(lab.json("env.status").data["objects"]["by_type"].values())


def refusal(result: Result) -> tuple[int, str]:
    return result.code, result.error["code"]


# Starting


def test_starting_twice_is_ok(lab: MaterializeDriver) -> None:
    before = lab.server()

    again = lab.json("env.start")

    assert again.code == 0
    assert lab.step(again)["status"] == "ok"
    assert lab.server() == before


def test_a_start_reports_what_there_is(lab: MaterializeDriver) -> None:
    shown = lab.ok("env.start").out

    server = lab.server()
    for fact in (
        f"pid {server.pid}",
        f"127.0.0.1:{lab.first_port}",
        "debug v",
        "running for",
        "1 (1 table)",
        str(lab.data_folder),
    ):
        assert fact in shown, fact


def test_nothing_listens_but_on_loopback(lab: MaterializeDriver) -> None:
    for process in (lab.server(), *lab.workers()):
        for each in process.net_connections("inet"):
            if each.status == psutil.CONN_LISTEN:
                assert each.laddr.ip == "127.0.0.1", f"{process.name()}: {each.laddr}"


def test_another_build_is_no_reason_to_start_a_second_one(lab: MaterializeDriver) -> None:
    before = lab.server()
    identity = lab.build_id("optimized")

    for wanted in ("optimized", identity):
        refused = lab.json("env.start", "--build", wanted)

        assert refusal(refused) == (4, "environment.other-build")
        assert f"`env.switch {wanted}`" in refused.error["next"]
        assert str(before.pid) in refused.error["what"]
        assert lab.server() == before


@pytest.mark.parametrize("task", [("env.start", "--build"), ("env.switch",)])
def test_an_unknown_build(lab: MaterializeDriver, task: tuple[str, ...]) -> None:
    before = lab.server()
    lab.build_id("debug")

    refused = lab.json(*task, "optimised")

    assert refused.code in (2, 4)
    if task == ("env.switch",):
        assert refusal(refused) == (2, "build.unknown")
        assert "optimized" in refused.error["next"] or "build." in refused.error["next"]
    assert lab.server() == before, "nothing is stopped for a build that is not there"


def test_the_boot_is_kept_as_a_tree_of_costs(lab: MaterializeDriver) -> None:
    boots = lab.json("env.status", "--boot").data["boots"]

    newest = boots[0]
    assert newest["id"].startswith(f"{lab.server().pid}@")
    assert newest["ready_ns"] > 0
    whole = newest["phases"][0]
    assert whole["label"] == "envd init"
    assert 0 < whole["duration_ns"] <= newest["ready_ns"] + 2e9
    shown = lab.ok("env.status", "--boot").out
    assert "bootstrap" in shown
    assert "· " in shown


def test_a_saved_build_is_started_in_the_way_of_the_checkouts_wrapper(
    lab: MaterializeDriver,
) -> None:
    identity = lab.build_id("debug")
    through_wrapper = lab.server()
    arguments = _independent(through_wrapper)

    lab.end()
    lab.ok("env.start", "--build", identity)

    directly = lab.server()
    assert Path(directly.exe()).parent == lab.workspace / ".lab/builds" / identity
    assert _independent(directly) == arguments
    for name in OF_A_STATE:
        if name != "--listeners-config-path":
            assert flag(directly, name)
    assert all(Path(each.exe()).parent.name == identity for each in lab.workers())
    assert lab.json("env.start", "--build", "debug").code == 0, "it is of that profile"


def _independent(process: psutil.Process) -> list[str]:
    return [each for each in process.cmdline()[1:] if each.partition("=")[0] not in OF_A_STATE]


def test_the_secrets_of_whoever_starts_it_are_not_written_down(lab: MaterializeDriver) -> None:
    lab.end()
    lab.ok("env.start", MZ_LICENSE_KEY="hush-hush", MZ_SOME_SETTING="plain")

    written = "".join(path.read_text() for path in lab.environments.glob("*launch.json"))

    assert "MZ_SOME_SETTING" in written
    assert "hush-hush" not in written


# Interrupted starts


@pytest.mark.parametrize("point", ["launch:before", "launch:after", "record:after", "ready:after"])
def test_a_start_that_was_killed_is_taken_up(whole_lab: MaterializeDriver, point: str) -> None:
    lab = whole_lab
    lab.end()
    killed = lab.run("env.start", LAB_KILL_AT=f"env.start.{point}")
    assert killed.code == KILLED, killed.err

    again = lab.json("env.start")

    assert again.code == 0, again.err
    assert sum(again.data["objects"]["by_type"].values()) == 1
    assert lab.json("env.status").data["situation"]["process"]["pid"] == lab.server().pid
    assert len(lab.workers()) <= 4


def test_a_start_that_compiles_yet_is_stopped_too(whole_lab: MaterializeDriver) -> None:
    lab = whole_lab
    lab.end()
    assert lab.run("env.start", LAB_KILL_AT="env.start.launch:after").code == KILLED

    lab.ok("env.stop")

    assert not lab.processes()
    assert not lab.stores()


@standin_only
def test_a_start_that_compiles_yet_is_waited_for(whole_lab: MaterializeDriver) -> None:
    """A second environmentd beside the one that comes would kill it, or be killed."""
    lab = whole_lab
    # The metadata store runs then: the point at which the command is killed is its start's, too.
    lab.ok("env.start")
    lab.end()
    set_behaviour(lab.checkout, Law(), build_seconds=8.0, boot_ms=150.0)
    before = lab.log.count(BOOTS)
    assert lab.run("env.start", LAB_KILL_AT="env.start.launch:after").code == KILLED
    looked = lab.json("env.status").data["situation"]
    assert "an earlier start is under way" in looked["detail"]

    again = lab.json("env.start")

    assert again.code == 0, again.err
    assert "waiting for it" in again.err
    time.sleep(1)
    assert lab.log.count(BOOTS) == before + 1
    assert again.data["situation"]["process"]["pid"] == lab.server().pid


# Somebody else's environment


@contextlib.contextmanager
def somebody_elses(lab: MaterializeDriver, first_port: int = 0) -> Iterator[psutil.Process]:
    """Run the checkout's own program on the lab's state, in place of the lab's server."""
    url = lab.metadata_url
    lab.kill(*lab.processes())
    log = lab.directory.parent / "by-hand.log"
    run = run_by_hand(lab, *lab.by_hand(url, first_port), log=log)
    try:
        assert wait_until(lambda: bool(lab.servers())), log.read_text()
        yield lab.server()
    finally:
        lab.kill(*lab.processes())
        run.wait(10)


def test_the_right_build_of_somebody_else_is_adopted_and_left_alone(
    lab: MaterializeDriver,
) -> None:
    with somebody_elses(lab) as server:
        adopted = lab.json("env.start")

        assert adopted.code == 0, adopted.err
        situation = adopted.data["situation"]
        assert situation["phase"] == "running"
        assert situation["adopted"] is True
        assert situation["process"]["pid"] == server.pid
        assert "adopted" in situation["detail"]
        assert objects(lab) == 1
        assert lab.json("env.verify").code == 0

        stopped = lab.json("env.stop")
        assert lab.step(stopped)["status"] == "skipped"
        for words in (
            ("env.reset", "--because", "a test", "--yes", "materialize"),
            ("env.switch", "debug"),
        ):
            assert refusal(lab.json(*words)) == (4, "environment.foreign")
        assert lab.server() == server
        assert lives(server)


def test_another_build_of_somebody_else_is_refused_and_not_fenced_off(
    lab: MaterializeDriver,
) -> None:
    lab.declare(build="optimized")
    try:
        with somebody_elses(lab) as server:
            for words in (("env.start",), ("lab.up",), ("env.start", "--build", "optimized")):
                refused = lab.json(*words)
                assert refusal(refused) == (4, "environment.foreign"), words
                assert "debug" in refused.error["why"]
            assert lab.server() == server
            time.sleep(0.7)
            assert lives(server), "it was fenced off"
    finally:
        lab.declare()


def test_an_environment_on_other_ports_is_refused_and_not_fenced_off(
    lab: MaterializeDriver,
) -> None:
    other = free_ports()
    while other == lab.first_port:
        other += 5
    with somebody_elses(lab, other) as server:
        refused = lab.json("env.start")

        assert refusal(refused) == (4, "environment.foreign")
        assert str(other) in refused.error["why"]
        assert lab.server() == server
        assert lives(server)


def test_the_labs_own_environment_on_ports_that_were_declared_before(
    lab: MaterializeDriver,
) -> None:
    before, other = lab.server(), lab.first_port + 5
    lab.declare(port=other)
    try:
        refused = lab.json("env.start")
        assert refusal(refused) == (4, "environment.other-ports")
        assert "env.stop" in refused.error["next"]
        assert lab.server() == before

        lab.ok("lab.up")

        assert lab.server() != before
        assert lab.json("env.status").data["situation"]["address"] == f"127.0.0.1:{other}"
    finally:
        lab.declare()
        lab.ok("lab.up")


# What is left over


def test_workers_of_a_killed_server_are_ended_before_the_next_start(
    lab: MaterializeDriver,
) -> None:
    """They would be adopted with the build and the settings of their own start."""
    lab.ok("env.switch", lab.build_id("optimized"))
    lab.kill(lab.server())
    left = lab.workers()
    assert left
    status = lab.json("env.status").data["situation"]
    assert status["phase"] == "crashed"
    assert "left over" in status["detail"]

    lab.ok("env.start", "--build", "debug")

    assert not any(lives(each) for each in left)
    assert {Path(each.exe()).parent.name for each in lab.workers()} == {"debug"}


def test_workers_of_a_killed_server_are_ended_by_a_stop_too(lab: MaterializeDriver) -> None:
    lab.kill(*lab.processes("python", "python3", Path(sys.executable).resolve().name))
    lab.kill(lab.server())
    assert lab.workers()

    stopped = lab.json("env.stop")

    assert lab.step(stopped)["status"] == "changed"
    assert not lab.processes()
    assert not lab.stores()
    assert lab.step(lab.json("env.stop"))["status"] == "ok"


def test_workers_of_somebody_else_are_named_and_left_alone(lab: MaterializeDriver) -> None:
    with somebody_elses(lab):
        assert wait_until(lambda: bool(lab.workers()))
        assert lab.json("env.start").code == 0
        workers = lab.workers()
        others = [each for each in lab.processes() if each not in workers]
        lab.kill(*others)

        refused = lab.json("env.start")

        assert refusal(refused) == (3, "environment.stray-processes")
        assert all(str(each.pid) in refused.error["what"] for each in workers)
        assert not lab.servers()
        assert lab.workers() == workers


# Halves of a state


def halves_refused(lab: MaterializeDriver) -> dict[str, str]:
    refused = lab.json("env.start")
    assert refusal(refused) == (4, "state.halves"), refused.err
    assert not lab.servers()
    return refused.error


def test_a_missing_environment_id(lab: MaterializeDriver) -> None:
    """Without it environmentd would begin an empty catalog, and say nothing."""
    lab.end()
    file = lab.data_folder / "environment-id"
    kept = file.rename(lab.directory / "kept-id")
    files = sorted(path.name for path in lab.data_folder.iterdir())
    try:
        error = halves_refused(lab)
        assert str(file) in error["what"]
        assert sorted(path.name for path in lab.data_folder.iterdir()) == files
    finally:
        kept.rename(file)

    lab.ok("env.start")
    assert objects(lab) == 1


def test_blobs_that_were_moved_away(lab: MaterializeDriver) -> None:
    lab.end()
    blobs = lab.data_folder / "persist/blob"
    kept = blobs.rename(lab.directory / "kept-blobs")
    try:
        assert str(blobs) in halves_refused(lab)["what"]
        blobs.mkdir(exist_ok=True)
        assert str(blobs) in halves_refused(lab)["what"]
    finally:
        shutil.rmtree(blobs, ignore_errors=True)
        kept.rename(blobs)

    lab.ok("env.start")
    assert objects(lab) == 1


def test_a_metadata_store_that_was_lost(lab: MaterializeDriver) -> None:
    """A new one is empty: a start on it would begin an empty catalog beside the old blobs."""
    lab.ok("env.stop")
    store = lab.workspace / ".lab/states/materialize-metadata"
    kept = store.rename(lab.directory / "kept-metadata")
    try:
        assert "metadata store is empty" in halves_refused(lab)["what"]
        lab.ok("env.stop")
        assert not lab.stores()
    finally:
        shutil.rmtree(store, ignore_errors=True)
        kept.rename(store)

    lab.ok("env.start")
    assert objects(lab) == 1


# Things in the way


def test_ports_that_a_stranger_holds(lab: MaterializeDriver) -> None:
    lab.end()
    for offset in (0, 4):
        with socket.socket() as stranger:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            stranger.bind(("127.0.0.1", lab.first_port + offset))
            stranger.listen()

            refused = lab.json("env.start")

        assert refusal(refused) == (3, "port.taken")
        assert str(lab.first_port + offset) in refused.error["what"]
        assert str(psutil.Process().pid) in refused.error["why"]
        assert not lab.servers()


def test_a_disk_that_is_nearly_full(lab: MaterializeDriver) -> None:
    lab.end()
    small = lab.directory / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m,mode=755", "tmpfs", small],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting takes root")
    shutil.move(lab.data_folder, small / "mzdata")
    lab.declare(data="small/mzdata")
    try:
        refused = lab.json("env.start")

        assert refusal(refused) == (3, "disk.full")
        assert "small/mzdata" in refused.error["why"]
        assert not lab.servers()
    finally:
        shutil.move(small / "mzdata", lab.data_folder)
        subprocess.run(["umount", "-l", small], check=True)
        lab.declare()


@standin_only
def test_state_that_a_newer_version_has_opened(lab: MaterializeDriver) -> None:
    older = lab.build_id("debug")
    set_version(lab.checkout, "26.25.0-dev.0")
    lab.end()
    lab.ok("env.start")
    assert "v26.25.0" in lab.json("env.status").data["situation"]["build"]

    for words in (("env.switch", older), ("env.start", "--build", older)):
        refused = lab.json(*words, timeout=60)

        assert refusal(refused) == (3, "state.newer-version"), refused.err
        assert "26.25" in refused.error["why"]
        assert not lab.processes(), "nobody launches it again and again"
    lab.ok("env.start")
    assert objects(lab) == 1


# Stopping and destroying


def test_a_stop_ends_the_whole_tree_and_only_that(lab: MaterializeDriver) -> None:
    with materialize_lab() as other:
        other.ok("env.start")
        theirs = {*other.processes(), *other.stores()}
        assert len(theirs) >= 4
        assert lab.processes()
        assert lab.stores()

        lab.ok("env.stop")

        assert not lab.processes()
        assert not lab.stores()
        assert {*other.processes(), *other.stores()} == theirs

        other.execute("CREATE TABLE t (a int)")
        confirmed = ("env.reset", "--because", "a test", "--yes", "materialize")
        assert refusal(other.json(*confirmed[:-1], "wrong")) == (2, "reset.not-confirmed")
        assert objects(other) == 1
        other.ok(*confirmed)
        assert not other.processes()
        assert not other.stores()
        assert not other.data_folder.exists()
        assert other.json("env.status").data["situation"]["phase"] == "absent"


def test_a_build_that_was_compiled_by_the_start_is_hashed_once(lab: MaterializeDriver) -> None:
    """The binaries of a debug build are 600 MB each: they are not read at every look."""
    hashes = lab.workspace / ".lab/builds/hashes.json"
    assert hashes.exists()
    before = json.loads(hashes.read_text()), hashes.stat().st_mtime_ns

    lab.ok("env.status")

    assert (json.loads(hashes.read_text()), hashes.stat().st_mtime_ns) == before
    assert any(str(Path(lab.server().exe()).stat().st_ino) in key for key in before[0])
