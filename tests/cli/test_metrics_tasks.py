"""The server's counters by hand: now, around a command, and saved."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from lab_driver import PROGRAM, Driver, make_driver, remove_driver


@pytest.fixture(scope="module")
def running() -> Iterator[Driver]:
    made = make_driver()
    made.ok("env.start")
    yield made
    remove_driver(made)


def moved(result_data: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    return {each["name"]: each["amount"] for each in result_data["moved"]}


def test_nothing_runs(driver: Driver) -> None:
    for words in (("metrics.show",), ("metrics.diff", "--around", "true")):
        assert driver.json(*words).code == 3
    assert driver.json("metrics.save", "--to", "x").code == 3
    assert not (driver.directory / "x").exists()


def test_show_is_narrowed_by_name_and_number(running: Driver) -> None:
    shown = running.ok("metrics.show", "--match", "wal", "--limit", "2").out
    assert "server.wal.bytes" not in shown
    assert "server.wal.records" in shown
    assert "2 of 4 series" in shown
    assert "Reading this took" in shown
    assert "server.wal.buffers_full" in running.ok("metrics.show", "--match", "wal", "--all").out
    reading = running.json("metrics.show", "--match", "wal").data["reading"]
    assert len(reading["series"]) == 4
    assert reading["cost_ns"] > 0
    names = [series[0] for series in running.json("metrics.show").data["reading"]["series"]]
    assert len(names) > 30
    assert not any(name.startswith("subject.") for name in names)


def test_a_name_that_nothing_has(running: Driver) -> None:
    result = running.json("metrics.show", "--match", "no such thing")
    assert (result.code, result.error["code"]) == (2, "metrics.no-match")


def test_what_a_command_moves(running: Driver) -> None:
    result = running.json("metrics.diff", "--around", f"{PROGRAM} lab.seed --count 20")
    assert result.code == 0
    assert result.data["exit_code"] == 0
    assert moved(result.data)["catalog.rows.inserted"] > 100
    assert "exactly 20 user objects" in result.err
    assert all(each["idle"] is None for each in result.data["moved"])
    assert any("--idle" in warning for warning in result.envelope["warnings"])


def test_what_the_server_does_by_itself_is_told_apart(running: Driver) -> None:
    result = running.json(
        "metrics.diff", "--around", "sleep 1", "--idle", "1", "--match", "database"
    )
    by_name = {each["name"]: each for each in result.data["moved"]}
    hits = by_name["database.hits"]
    assert hits["idle"] > 0
    assert not any("--idle" in warning for warning in result.envelope["warnings"])
    assert (
        "of that at rest"
        in running.ok("metrics.diff", "--around", "true", "--idle", "1", "--match", "database").out
    )


def test_a_command_that_fails_ends_with_the_labs_own_code(running: Driver) -> None:
    result = running.json("metrics.diff", "--around", "echo it said this; exit 3")
    assert (result.code, result.error["code"]) == (6, "metrics.command-failed")
    assert result.data["exit_code"] == 3
    assert result.envelope["status"] == "failed"
    assert "it said this" in result.err


@pytest.mark.parametrize(
    ("text", "code", "error"),
    [
        ("no-such-program --at-all", 6, "metrics.command-not-run"),
        ("echo 'no end", 2, "metrics.command"),
        (" ", 2, "metrics.command"),
    ],
)
def test_a_command_that_cannot_be_run(running: Driver, text: str, code: int, error: str) -> None:
    result = running.json("metrics.diff", "--around", text)
    assert (result.code, result.error["code"]) == (code, error)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo 'a  b' \"c d\"", "a  b c d\n"),
        ("echo '$HOME' | tr a-z A-Z", "$HOME\n"),
        ("WORD=hello && echo $WORD", "hello\n"),
        ("printf '%s\\n' 'x;y' z", "x;y\nz\n"),
    ],
)
def test_a_command_means_what_it_means_in_a_shell(running: Driver, text: str, said: str) -> None:
    assert running.ok("metrics.diff", "--around", text).err == said


def test_a_restart_meanwhile(running: Driver) -> None:
    restart = f"{PROGRAM} env.stop && {PROGRAM} env.start"
    result = running.json("metrics.diff", "--around", restart)
    assert (result.code, result.error["code"]) == (6, "metrics.restarted")


def test_saving_overwrites_only_when_told_to(running: Driver) -> None:
    target = running.directory / "counters.json"
    foreseen = running.ok("metrics.save", "--to", "counters.json", "--check", "--json")
    assert foreseen.envelope["status"] == "would change"
    assert not target.exists()
    saved = running.ok("metrics.save", "--to", "counters.json", "--json")
    assert saved.envelope["status"] == "changed"
    content = target.read_bytes()
    assert saved.data["bytes"] == len(content)
    assert len(json.loads(content)["series"]) > 30
    again = running.json("metrics.save", "--to", "counters.json")
    assert (again.code, again.error["code"]) == (3, "metrics.exists")
    assert target.read_bytes() == content
    assert running.json("metrics.save", "--to", "counters.json", "--check").code == 3
    running.ok("metrics.save", "--to", "counters.json", "--force")
    assert target.read_bytes() != content


@pytest.mark.parametrize("name", ["no/such/folder/x", "."])
def test_a_file_that_cannot_be(running: Driver, name: str) -> None:
    result = running.json("metrics.save", "--to", name, "--force")
    assert (result.code, result.error["code"]) == (3, "metrics.no-file")
