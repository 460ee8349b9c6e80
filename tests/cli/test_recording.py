"""A repository that is not as a session needs it, and none at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from lab_driver import Driver
from trial import QUICK, ends_in_one_entry, evidence


def test_a_change_that_somebody_else_described(driver: Driver) -> None:
    driver.variables["LAB_MEASURE_MOST_SAMPLES"] = "6"
    driver.ok("session.measure", *QUICK)
    driver.call("jj", "describe", "-m", "My own work")
    before = evidence(driver)

    for task in ("session.measure", "session.start", "session.measure --check"):
        refused = driver.json(*task.split())
        assert refused.code == 4
        assert "My own work" in refused.error["why"]
        assert "jj new" in refused.error["next"]

    assert evidence(driver) == before
    assert driver.json("session.status").data == {"session": None}
    driver.call("jj", "new")
    ends_in_one_entry(driver, 1, "session.measure", *QUICK)
    assert "My own work" in driver.call("jj", "log", "-r", "@---", "--no-graph")


@pytest.mark.parametrize("wanted", ["none", "nothing installed"])
def test_without_version_control(driver: Driver, wanted: str) -> None:
    driver.variables["LAB_MEASURE_MOST_SAMPLES"] = "6"
    if wanted == "none":
        driver.variables["LAB_SESSION_VCS"] = "none"
    else:
        driver.variables["PATH"] = _path_without_vcs(driver.home / "bin")

    result = ends_in_one_entry(driver, 0, "session.measure", *QUICK)

    recorded = next(step for step in result.envelope["steps"] if step["name"] == "vcs")
    assert (recorded["status"], recorded["why"]) == ("skipped", "no version control here")
    assert not (driver.workspace / ".jj").exists()
    assert not (driver.workspace / ".git").exists()


def _path_without_vcs(folder: Path) -> str:
    """Make a folder with all programs on PATH but jj and git."""
    folder.mkdir()
    for place in reversed(os.environ["PATH"].split(os.pathsep)):
        if not Path(place).is_dir():
            continue
        for program in Path(place).iterdir():
            if program.name not in ("jj", "git"):
                link = folder / program.name
                link.unlink(missing_ok=True)
                link.symlink_to(program)
    assert shutil.which("git", path=str(folder)) is None
    return str(folder)


@pytest.mark.parametrize("wanted", ["jj", "git"])
def test_the_version_control_asked_for_is_missing(driver: Driver, wanted: str) -> None:
    driver.variables["PATH"] = _path_without_vcs(driver.home / "bin")

    refused = driver.json("session.measure", *QUICK, LAB_SESSION_VCS=wanted)

    assert (refused.code, refused.error["code"]) == (3, f"vcs.no-{wanted}")
    assert driver.json("session.status").data == {"session": None}
