"""The tasks on the upstream as a user calls them: output, envelope, exit codes, interruptions."""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Iterator

import pytest
from lab_driver import KILLED, Driver, make_driver, remove_driver

from lab.cli.namespace import namespace

PARTS = ["database", "extension", "role", "tables", "publication"]


@pytest.fixture(scope="module")
def upstream_driver() -> Iterator[Driver]:
    """A place whose upstream was killed in the middle of coming up, and then brought up."""
    made = make_driver()
    yield made
    made.run("upstream.down", "--destroy", "--yes", "upstream")
    remove_driver(made)


@pytest.fixture
def driver_with_tables(upstream_driver: Driver) -> Driver:
    if not (upstream_driver.workspace / ".lab/upstream/record.json").exists():
        upstream_driver.ok("upstream.up", "--tables", "250")
    return upstream_driver


def found(envelope: dict) -> dict[str, str]:
    return {step["name"]: step["status"] for step in envelope["steps"]}


def test_before_there_is_any(upstream_driver: Driver) -> None:
    status = upstream_driver.ok("upstream.status")
    assert "There is no upstream." in status.out
    assert "next: ddl-lab upstream.up" in status.out
    for task in ("upstream.verify", "upstream.connect", "upstream.clean"):
        failed = upstream_driver.json(task)
        assert (failed.code, failed.error["code"]) == (3, "upstream.missing")
    foreseen = upstream_driver.json("upstream.up", "--check", "--tables", "250")
    assert foreseen.code == 0
    assert set(found(foreseen.envelope).values()) == {"would change"}
    assert not (upstream_driver.workspace / ".lab/upstream").exists()
    assert not (upstream_driver.workspace / ".lab/states").exists()


def test_killed_in_the_middle_it_is_gone_on_with(upstream_driver: Driver) -> None:
    killed = upstream_driver.run("upstream.up", "--tables", "250", LAB_KILL_AT="upstream.up:batch")
    assert killed.code == KILLED
    status = upstream_driver.json("upstream.status").envelope
    assert status["status"] == "would change"
    assert "+ 150 tables (bench_table_101…250)" in status["data"]["differences"]
    # It is known how many there were to be.
    resumed = upstream_driver.json("upstream.up").envelope
    assert found(resumed)["tables"] == "changed"
    assert resumed["data"]["record"]["tables"] == 250
    again = upstream_driver.json("upstream.up").envelope
    assert [found(again)[part] for part in PARTS] == ["ok"] * len(PARTS)


def test_verified_by_one_table_and_one_verdict(driver_with_tables: Driver) -> None:
    passed = driver_with_tables.ok("upstream.verify")
    assert re.search(r"All \d+ checks passed\.", passed.out)
    failed = driver_with_tables.run("upstream.verify", "--tables", "251")
    assert failed.code == 4
    assert "missing 251" in failed.out
    assert "upstream.up" in failed.out


def test_the_password_is_shown_nowhere(driver_with_tables: Driver) -> None:
    file = driver_with_tables.workspace / ".lab/upstream/password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    password = file.read_text().strip()
    for words in (("upstream.up", "--debug"), ("upstream.verify", "--json")):
        result = driver_with_tables.run(*words)
        assert password not in result.out + result.err
    files = [p for p in file.parents[1].rglob("*") if p.is_file() and p != file]
    for each in files:
        if each.suffix in (".log", ".json", ".conf"):
            assert password not in each.read_text(errors="replace"), each


def test_a_source_is_connected_and_cleaned(driver_with_tables: Driver) -> None:
    lab = driver_with_tables
    lab.ok("env.start")
    connected = lab.json("upstream.connect").envelope
    assert (connected["status"], connected["data"]) == ("changed", {"tables": 250})
    assert lab.json("upstream.clean", "--keep-source").code == 0
    assert lab.json("upstream.connect").envelope["status"] == "ok"
    cleaned = lab.json("upstream.clean").envelope
    assert cleaned["data"]["passed"] is True
    names = {check["name"] for check in cleaned["data"]["checks"]}
    assert {"user objects", "replication slots", "WAL senders"} <= names
    assert lab.json("upstream.connect", "--check").envelope["status"] == "would change"


def test_the_lab_stops_it_and_brings_it_back(driver_with_tables: Driver) -> None:
    lab = driver_with_tables
    assert found(lab.json("lab.down").envelope)["upstream"] == "changed"
    down = lab.json("upstream.connect")
    assert (down.code, down.error["code"]) == (3, "upstream.not-running")
    brought = lab.json("lab.up", LAB_UPSTREAM_TABLES="260").envelope
    assert found(brought) == {"environment": "changed", "upstream": "changed"}
    assert found(lab.json("lab.up").envelope) == {"environment": "ok"}


@pytest.mark.parametrize(
    ("words", "exit_code", "code"),
    [
        (("upstream.up", "--tables", "many"), 2, "usage.number"),
        (("upstream.up", "--columns", "id nosuchtype"), 2, "upstream.columns"),
        (("upstream.up", "--columns", "7"), 4, "upstream.columns"),
        (("upstream.up", "--provider", "podman"), 2, "upstream.unknown-provider"),
        (("upstream.up", "--provider", "docker"), 4, "upstream.other-provider"),
        (("upstream.down", "--destroy"), 2, "upstream.not-confirmed"),
        (("upstream.down", "--destroy", "--yes", "main"), 2, "upstream.not-confirmed"),
    ],
)
def test_what_is_refused_says_why_and_what_next(
    driver_with_tables: Driver, words: tuple[str, ...], exit_code: int, code: str
) -> None:
    refused = driver_with_tables.json(*words)
    assert (refused.code, refused.error["code"]) == (exit_code, code)
    assert refused.error["next"]


def test_what_went_well_is_shown_before_what_failed(driver_with_tables: Driver) -> None:
    failed = driver_with_tables.json("upstream.up", "--columns", "id nosuchtype")
    assert found(failed.envelope)["tables"] == "failed"
    assert found(failed.envelope)["role"] == "ok"
    shown = driver_with_tables.run("upstream.up", "--columns", "id nosuchtype")
    assert re.search(r"^ok +role ", shown.out, re.MULTILINE)
    assert re.search(r"^failed +tables ", shown.out, re.MULTILINE)


def test_a_port_that_somebody_holds_is_named(driver: Driver) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen(1)
        port = str(holder.getsockname()[1])
        taken = driver.json("upstream.up", "--tables", "1", LAB_UPSTREAM_PORT=port)
    assert (taken.code, taken.error["code"]) == (3, "port.taken")
    assert str(os.getpid()) in taken.error["why"]
    assert "[upstream]" in taken.error["next"]
    driver.ok("upstream.down", "--destroy", "--yes", "upstream")


@pytest.mark.parametrize("task", [each for each in namespace.task_names if "upstream." in each])
def test_help_shows_an_example(task: str) -> None:
    assert f"Example: invoke {task}" in (namespace[task].__doc__ or "")
