"""The tasks on builds, by the real program on a checkout that a script compiles."""

from __future__ import annotations

from pathlib import Path

import pytest
from builds_support import Source, write_pair, write_program
from lab_driver import Driver

TASKS = ("build.debug", "build.list", "build.prune")


@pytest.fixture
def source(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(driver.home / "gitconfig"))
    made = Source(driver.directory / "checkout")
    (driver.directory / "lab.toml").write_text(
        'target = "materialize"\n[materialize]\ncheckout = "checkout"\n'
    )
    return made


@pytest.mark.parametrize("task", TASKS)
def test_a_target_that_is_not_compiled(driver: Driver, task: str) -> None:
    refused = driver.json(task)
    assert (refused.code, refused.error["code"]) == (2, "build.none")
    assert "postgres" in refused.error["what"]


def test_from_making_to_removing(driver: Driver, source: Source) -> None:
    empty = driver.json("build.list")
    assert (empty.code, empty.data["builds"]) == (0, [])
    assert "build.debug" in empty.envelope["hint"]
    foreseen = driver.json("build.debug", "--check")
    assert (foreseen.code, foreseen.envelope["status"]) == (0, "would change")
    assert not (source.root / "target").exists()
    assert not (driver.workspace / ".lab/builds").exists()

    made = driver.ok("build.debug", "--json")
    assert made.envelope["status"] == "changed"
    assert "Finished `debug` profile" in made.err
    assert driver.ok("build.debug", "--json").envelope["status"] == "ok"
    assert driver.ok("build.optimized", "--json").envelope["status"] == "changed"
    source.edit("fn main() { edited(); }\n")
    write_pair(source.root / "behaviour/next", "v2.0.0-dev (abcdef013)")
    edited = driver.ok("build.debug", "--json").data["build"]

    shown = driver.ok("build.list").out.splitlines()
    assert len(shown) == 5
    assert edited["id"] in shown[2]
    assert f"{edited['commit'][:9]}*" in shown[2]
    assert made.data["build"]["id"] in shown[4]
    assert "*" not in shown[4]
    pruned = driver.ok("build.prune", "--keep", "1", "--json")
    assert [each["status"] for each in pruned.envelope["steps"]] == ["changed"]
    assert len(pruned.data["kept"]) == 2
    assert not Path(made.data["build"]["directory"]).exists()


def test_adopting_and_checking(driver: Driver, source: Source) -> None:
    theirs = write_pair(driver.directory / "theirs")
    foreseen = driver.json("build.optimized", "--from", "theirs", "--check")
    assert foreseen.envelope["status"] == "would change"
    adopted = driver.ok("build.optimized", "--from", "theirs", "--json")
    assert adopted.envelope["status"] == "changed"
    assert not (source.root / "target").exists()
    id_ = adopted.data["build"]["id"]
    sound = driver.ok("build.check", "--build", id_[:5])
    assert "1 of 1 builds are sound." in sound.out

    write_program(Path(adopted.data["build"]["directory"]) / "clusterd", "clusterd other")
    damaged = driver.json("build.check")
    assert damaged.code == 4
    failed = [each for each in damaged.data["builds"][0]["checks"] if not each["passed"]]
    assert {each["name"] for each in failed} == {"content", "version"}
    (theirs / "clusterd").unlink()
    refused = driver.json("build.debug", "--from", "theirs")
    assert (refused.code, refused.error["code"]) == (3, "build.no-clusterd")
    assert driver.json("build.check", "--build", "debug").error["code"] == "build.unknown"


def test_a_build_that_fails(driver: Driver, source: Source) -> None:
    source.compiles_by("echo 'error[E0425]: cannot find `nope`' >&2; exit 101")
    failed = driver.json("build.debug")
    assert (failed.code, failed.error["code"]) == (6, "build.failed")
    assert "E0425" in failed.error["why"]
    assert "build-debug.log" in failed.error["next"]
