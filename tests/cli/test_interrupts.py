"""Ctrl-C, SIGTERM, SIGHUP and a closed terminal, at any time: the next command goes on."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab_driver import Driver, make_driver, remove_driver
from terminal import Terminal

PLAN = ("--samples", "1500", "--statements", "create-table")
SHORT = ("--samples", "2", "--statements", "create-table")
LATER = ["append", "describe", "separate-prompt"]
ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(scope="module")
def lab() -> Iterator[Driver]:
    """A workspace with one session, its server up; a run of `PLAN` takes some seconds."""
    made = make_driver()
    made.variables["LAB_MEASURE_MOST_SAMPLES"] = "300"
    made.ok("session.measure", *SHORT)
    yield made
    remove_driver(made)


def headings(lab: Driver) -> int:
    log = lab.workspace / "ddl-perf-log.md"
    return log.read_text().count("\n### Session ") if log.exists() else 0


def journaled(lab: Driver, step: str) -> bool:
    """Say whether the open session has begun ``step``."""
    current = lab.workspace / ".lab/sessions/current.json"
    try:
        session = json.loads(current.read_text())["id"]
        text = (current.parent / session / "journal.jsonl").read_text()
    except FileNotFoundError:
        return False
    return f'"step":"{step}","phase":"begun"' in text


def wait_for(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.01)


def server(lab: Driver) -> int:
    pid = lab.json("env.status").data["situation"]["process"]["pid"]
    assert isinstance(pid, int)
    return pid


def goes_on(lab: Driver, entries: int) -> None:
    """Check that one more command ends the session in exactly one entry."""
    result = lab.json("session.measure")
    assert result.code == 0, result.out + result.err
    assert headings(lab) == entries


@pytest.mark.parametrize(
    ("step", "number"),
    [*(("run-1", number) for number in ENDING), *zip(LATER, ENDING, strict=True)],
)
def test_a_signal_at_a_step(lab: Driver, step: str, number: signal.Signals) -> None:
    entries = headings(lab) + 1

    process = lab.spawn("session.measure", *(PLAN if step == "run-1" else SHORT), "--json")
    wait_for(lambda: journaled(lab, step) or process.poll() is not None, step)
    if step == "run-1":
        time.sleep(1.0)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)

    assert "Traceback" not in err
    assert "Exception ignored" not in err
    if process.returncode == 0:  # the signal came too late to interrupt anything
        assert step != "run-1"
        assert headings(lab) == entries
        return
    assert process.returncode == 130, err
    envelope = json.loads(out)
    assert (envelope["status"], envelope["exit_code"]) == ("failed", 130)
    assert envelope["error"]["code"] == "interrupted"
    assert f"Interrupted by {number.name}" in err
    assert "`ddl-lab session.measure`" in err
    assert "goes on" in err
    goes_on(lab, entries)


def test_a_second_ctrl_c_ends_it_without_a_traceback(lab: Driver) -> None:
    entries = headings(lab) + 1

    for pause in (0.0, 0.02, 0.1):
        process = lab.spawn("session.measure", *PLAN)
        wait_for(lambda: journaled(lab, "run-1"), "measuring")
        time.sleep(0.5)
        for _ in range(3):
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(pause)
        _, err = process.communicate(timeout=60)
        assert process.returncode in (130, -signal.SIGINT)
        assert "Traceback" not in err
        assert "Exception ignored" not in err

    goes_on(lab, entries)


def test_ctrl_c_while_the_program_is_loaded_is_quiet(lab: Driver) -> None:
    for tenths in (0.5, 1, 1.5, 2, 3):
        process = lab.spawn("lab.config")
        time.sleep(tenths / 10)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        # Before Python has looked at its command line, the signal alone ends it.
        assert process.returncode in (0, 130, -signal.SIGINT)
        assert tenths == 0.5 or "Traceback" not in err


def test_ctrl_c_at_a_terminal_leaves_the_server_alone(lab: Driver) -> None:
    entries = headings(lab) + 1
    before = server(lab)

    with Terminal(lab, "session.measure", *PLAN) as terminal:
        terminal.until("Measuring")
        time.sleep(0.5)
        terminal.type("\x03")
        assert terminal.wait() == 130

    assert "Interrupted by SIGINT" in terminal.seen
    assert "`ddl-lab session.measure`" in terminal.seen
    assert "Traceback" not in terminal.seen
    assert server(lab) == before
    goes_on(lab, entries)


def test_a_closed_terminal_ends_the_command_and_not_the_server(lab: Driver) -> None:
    entries = headings(lab) + 1
    before = server(lab)

    with Terminal(lab, "session.measure", *PLAN) as terminal:
        terminal.until("Measuring")
        terminal.close()
        assert terminal.wait() == 130

    assert server(lab) == before
    goes_on(lab, entries)


def test_under_nohup_a_closed_terminal_ends_nothing(lab: Driver) -> None:
    entries = headings(lab) + 1

    process = lab.spawn("session.measure", *PLAN, under=("nohup",))
    wait_for(lambda: journaled(lab, "run-1"), "measuring")
    time.sleep(0.5)
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 0, err
    assert headings(lab) == entries


def test_nobody_reading_the_progress_ends_nothing(lab: Driver) -> None:
    entries = headings(lab) + 1

    process = lab.spawn("session.measure", *PLAN)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()

    assert process.wait(60) == 0
    assert headings(lab) == entries


def test_after_all_of_that_everything_is_in_order(lab: Driver) -> None:
    assert lab.json("session.status").data == {"session": None}
    verified = lab.json("log.verify")
    assert verified.code == 0, verified.out
    assert lab.json("env.verify", "--objects", "0").code == 0
    objects = lab.json("env.status").data["objects"]
    assert (sum(objects["by_type"].values()), objects["fixtures"]) == (0, 0)
    undescribed = 'description("") & ~root()'
    assert lab.call("jj", "log", "--no-graph", "-r", undescribed, "-T", "'x'") == "x"
    folders = sorted(path.name for path in (lab.workspace / "ddl-perf-evidence").iterdir())
    assert folders == [f"{number:03d}" for number in range(1, headings(lab) + 1)]


@pytest.mark.parametrize("number", ENDING)
def test_the_first_start_of_a_server_is_interrupted(driver: Driver, number: signal.Signals) -> None:
    for milliseconds in (0, 400, 800):
        interrupted_start(driver, number, milliseconds / 1000)

    assert driver.json("env.start").code == 0
    assert driver.json("env.verify", "--objects", "0").code == 0


def interrupted_start(lab: Driver, number: signal.Signals, seconds: float) -> None:
    """Interrupt a start, with all programs that it runs, some time after its first file."""
    state = lab.workspace / ".lab/states"
    process = lab.spawn("env.start", "--json")
    wait_for(lambda: _entries(state) or process.poll() is not None, "the first file")
    time.sleep(seconds)
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=60)
    # The signal may end initdb before the lab itself has seen it: then initdb is what failed (6).
    assert process.returncode in (0, 130, 6), err
    assert "Traceback" not in err
    assert json.loads(out)["exit_code"] == process.returncode


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


@pytest.mark.parametrize("typed", ["main\n", "other\n", "\x03", "\x04"])
def test_a_reset_asks_at_a_terminal(driver: Driver, typed: str) -> None:
    driver.ok("env.start")

    with Terminal(driver, "env.reset", "--because", "a trial") as terminal:
        terminal.until("to destroy it:")
        terminal.type(typed)
        code = terminal.wait()

    assert "Traceback" not in terminal.seen
    phase = driver.json("env.status").data["situation"]["phase"]
    assert (code, phase) == {
        "main\n": (0, "absent"),
        "other\n": (2, "running"),
        "\x03": (130, "running"),
        "\x04": (2, "running"),
    }[typed]


def test_off_a_terminal_a_reset_asks_nothing(driver: Driver) -> None:
    driver.ok("env.start")

    refused = driver.json("env.reset", "--because", "a trial", timeout=20)
    wrong = driver.json("env.reset", "--because", "a trial", "--yes", "other", timeout=20)

    assert (refused.code, wrong.code) == (2, 2)
    assert refused.error["code"] == wrong.error["code"] == "reset.not-confirmed"
    assert driver.json("env.status").data["situation"]["phase"] == "running"
    assert driver.json("env.reset", "--because", "a trial", "--yes", "main").code == 0
