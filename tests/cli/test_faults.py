"""What goes wrong around a session: each fault has its message and exit code, and loses nothing."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
from lab_driver import KILLED, Driver, make_driver, remove_driver
from trial import QUICK, ends_in_one_entry, evidence, headings

LONG = ("--samples", "500", "--statements", "create-table,create-view")


def process_id(lab: Driver) -> int:
    lab.ok("env.start")
    pid = lab.json("env.status").data["situation"]["process"]["pid"]
    assert isinstance(pid, int)
    return pid


def wait_for_run(postmaster: int) -> None:
    """Wait until the server that ``postmaster`` is the first process of executes measured DDL.

    Progress is told only after two seconds, and a quick machine is through with a run by then.
    """
    seen = 0
    deadline = time.monotonic() + 60
    while seen < 5:
        assert time.monotonic() < deadline, "the run did not begin"
        # Fixtures are made by the first of the two connections, on which nothing is measured.
        for backend in _backends(postmaster)[1:]:
            with contextlib.suppress(psutil.Error):
                seen += bool(re.search(r"\b(CREATE|DROP) (TABLE|VIEW)", backend.cmdline()[0]))


def _backends(postmaster: int) -> list[psutil.Process]:
    """Return the processes that serve connections to the measured database, the oldest first."""
    found = []
    for child in psutil.Process(postmaster).children():
        with contextlib.suppress(psutil.Error, IndexError):
            if " lab 127.0.0.1" in child.cmdline()[0]:
                found.append(child)
    return sorted(found, key=psutil.Process.create_time)


# The state of the environment


def test_another_number_of_objects_than_is_expected(lab: Driver) -> None:
    entries, before = headings(lab), evidence(lab)

    flag = lab.json("session.measure", "--objects", "5", *QUICK)
    declared = lab.json("session.measure", *QUICK, LAB_POPULATION_COUNT="7")
    started = lab.json("session.start", "--objects", "5")

    for result, count in ((flag, 5), (declared, 7), (started, 5)):
        assert result.code == 4
        assert result.error["code"] == "environment.unfit"
        assert f"objects: 0, expected {count}" in result.error["why"]
        assert f"`lab.seed --count {count}`" in result.error["next"]
        assert "`lab.up`" in result.error["next"]
    assert (headings(lab), evidence(lab)) == (entries, before)
    assert lab.json("session.status").data == {"session": None}


def test_what_check_foresees_is_what_happens(driver: Driver) -> None:
    driver.variables.update(LAB_MEASURE_MOST_SAMPLES="6", LAB_POPULATION_COUNT="3")

    for words in (["env.start"], ["lab.up", "--diff"], ["lab.down"]):
        before = _listing(driver)
        foreseen = driver.json(*words, "--check")
        assert _listing(driver) == before
        assert foreseen.code == 0
        assert foreseen.envelope["status"] == "would change"
        done = driver.json(*words)
        assert done.envelope["status"] == "changed"
        pairs = zip(foreseen.envelope["steps"], done.envelope["steps"], strict=True)
        for would, did in pairs:
            expected = "changed" if would["status"] == "would change" else would["status"]
            assert (did["name"], did["status"]) == (would["name"], expected)
        again = driver.json(*words, "--check")
        assert again.envelope["status"] == "ok", again.out
        assert not any(step["diff"] for step in again.envelope["steps"])


def test_a_session_is_foreseen_without_touching_anything(driver: Driver) -> None:
    driver.variables["LAB_MEASURE_MOST_SAMPLES"] = "6"
    driver.ok("session.start", "--goal", "Why?")
    driver.ok("session.measure", *QUICK)

    for task in ("session.measure", "session.finish", "session.abort", "session.note --text x"):
        before = _listing(driver)
        operation = driver.call("jj", "op", "log", "--limit=1", "--no-graph", "-T", "id")
        foreseen = driver.json(*task.split(), "--check")
        assert (foreseen.code, foreseen.envelope["status"]) == (0, "would change"), foreseen.err
        assert _listing(driver) == before, task
        now = driver.call("jj", "op", "log", "--limit=1", "--no-graph", "-T", "id")
        assert now == operation, task

    assert "session 1 would be appended" in driver.ok("session.finish", "--check").out
    assert driver.json("session.finish").data["session"] == 1


def _listing(lab: Driver) -> dict[str, tuple[int, int]]:
    """Return every file that is not a database's or a repository's own, with size and time."""
    passed_over = {"states", ".jj", ".git"}
    found = {}
    for path in lab.directory.rglob("*"):
        if path.is_file() and not passed_over & set(path.relative_to(lab.directory).parts):
            status = path.stat()
            found[str(path.relative_to(lab.directory))] = (status.st_size, status.st_mtime_ns)
    return found


# The server


def test_a_port_that_is_taken(driver: Driver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        refused = driver.json("session.measure", *QUICK, LAB_POSTGRES_PORT=port)

        assert refused.code == 3
        assert port in refused.error["what"]
        assert driver.json("session.status").data == {"session": None}
        assert headings(driver) == 0
    driver.variables.update(LAB_MEASURE_MOST_SAMPLES="6", LAB_POSTGRES_PORT=port)
    ends_in_one_entry(driver, 0, "session.measure", *QUICK)


def test_the_server_is_killed_in_the_middle_of_a_block(lab: Driver) -> None:
    entries, before = headings(lab), evidence(lab)
    pid = process_id(lab)

    measuring = lab.spawn("session.measure", *LONG, "--json", LAB_MEASURE_MOST_SAMPLES="500")
    wait_for_run(pid)
    os.kill(pid, signal.SIGKILL)
    out, err = measuring.communicate(timeout=60)

    assert measuring.returncode == 6, out + err
    assert '"code": "run.void"' in out
    assert "`ddl-lab session.measure` measures anew" in err
    assert len(evidence(lab)) == len(before) + 1
    kept = (lab.workspace / "ddl-perf-evidence" / (set(evidence(lab)) - set(before)).pop()).stat()
    assert kept.st_size > 1000
    session = lab.json("session.status").data["session"]
    assert (session["number"], len(session["runs"])) == (entries + 1, 1)
    assert headings(lab) == entries
    refused = lab.json("session.measure", "--goal", "Something else")
    assert (refused.code, refused.error["code"]) == (4, "session.open")

    result = ends_in_one_entry(lab, entries)
    assert process_id(lab) != pid
    assert len(result.data["evidence"]) == 2
    entry = lab.ok("log.show", str(entries + 1)).out
    assert "This run is void" in entry
    for each in result.data["evidence"]:
        assert each["sha256"] in entry


def test_the_server_was_killed_before(lab: Driver) -> None:
    entries = headings(lab)
    os.kill(process_id(lab), signal.SIGKILL)

    result = ends_in_one_entry(lab, entries, "session.measure", *QUICK)

    started = next(step for step in result.envelope["steps"] if step["name"] == "environment")
    assert started["status"] == "changed"
    assert "recovered" in started["why"]


# Other commands


def test_another_command_at_work(lab: Driver) -> None:
    entries = headings(lab)
    lab.ok("session.start", "--goal", "Who comes first?")
    pid = process_id(lab)
    statements = "create-table,create-view,create-index,create-materialized-view,alter-rename"
    measuring = lab.spawn(
        *("session.measure", "--samples", "400", "--statements", statements),
        LAB_MEASURE_MOST_SAMPLES="400",
    )
    try:
        wait_for_run(pid)
        # Held there, so that it is at work however fast this machine is.
        measuring.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        refused = lab.json("session.measure", *QUICK)
        assert time.monotonic() - began < 10
        assert (refused.code, refused.error["code"]) == (5, "workspace.busy")
        assert f"pid {measuring.pid}, session.measure" in refused.error["what"]
        for task in ("session.finish", "lab.seed --count 1", "env.stop"):
            assert lab.json(*task.split()).code == 5, task
        for task in ("session.status", "session.brief", "env.status", "log.list"):
            assert lab.json(task).code == 0, task
        lab.ok("session.note", "--finding", "Noted meanwhile.")
        assert measuring.poll() is None, "it ended before all of this was tried"
    finally:
        measuring.send_signal(signal.SIGCONT)
        measuring.terminate()
        measuring.communicate(timeout=60)
    lab.ok("session.measure", *QUICK)
    ends_in_one_entry(lab, entries, "session.finish")
    assert "Noted meanwhile." in lab.ok("log.show", str(entries + 1)).out


def test_many_writers_lose_nothing(lab: Driver) -> None:
    entries = headings(lab)
    lab.ok("session.start", "--goal", "Many at once")
    commands = [("session.note", "--text", f"Note {number:02d}.") for number in range(20)]
    commands += [("prompt.add", "--text", f"Step {number:02d}.") for number in range(10)]

    with ThreadPoolExecutor(len(commands)) as pool:
        results = list(pool.map(lambda words: lab.run(*words, timeout=120), commands))

    assert [result.code for result in results] == [0] * 30
    steps = [item["text"] for item in lab.json("prompt.list").data["items"]]
    assert sorted(each for each in steps if each.startswith("Step ")) == [
        f"Step {number:02d}." for number in range(10)
    ]
    ends_in_one_entry(lab, entries, "session.finish")
    entry = lab.ok("log.show", str(entries + 1)).out
    assert all(f"Note {number:02d}." in entry for number in range(20))


def test_a_note_that_comes_while_the_entry_is_written_is_kept_for_the_next(
    lab: Driver,
) -> None:
    entries = headings(lab)
    killed = lab.run("session.measure", *QUICK, LAB_KILL_AT="session.append:before")
    assert killed.code == KILLED

    late = lab.ok("session.note", "--text", "Too late for this one.")

    assert "next session" in late.out
    ends_in_one_entry(lab, entries)
    assert "Too late" not in lab.ok("log.show", str(entries + 1)).out
    ends_in_one_entry(lab, entries + 1, "session.measure", *QUICK)
    assert "Too late for this one." in lab.ok("log.show", str(entries + 2)).out


def test_two_workspaces_side_by_side() -> None:
    with contextlib.ExitStack() as stack:
        both = []
        for _ in range(2):
            made = make_driver()
            stack.callback(remove_driver, made)
            both.append(made)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda each: each.ok("env.start"), both))
        found = [each.json("env.status").data["situation"] for each in both]
        assert len({each["address"] for each in found}) == 2
        both[0].ok("env.stop")
        assert both[1].json("env.status").data["situation"] == found[1]
