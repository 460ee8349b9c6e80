"""A full disk, and files that may not be written: said, and nothing is lost or left in part."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_driver import KILLED, Driver
from trial import QUICK, ends_in_one_entry, evidence, headings

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")


@as_root
@pytest.mark.parametrize(
    ("vcs", "points"),
    [("jj", ["append:before", "describe:before", "new:before"]), ("git", ["prompt:after"])],
)
def test_a_full_disk_at_a_step(driver: Driver, vcs: str, points: list[str]) -> None:
    driver.variables.update(LAB_MEASURE_MOST_SAMPLES="6", LAB_SESSION_VCS=vcs)
    with _small_disk(driver.directory, "240m") as disk:
        driver.ok("session.measure", *QUICK)
        for point in ["", *points]:
            entries, log = headings(driver), (driver.workspace / "ddl-perf-log.md").read_bytes()
            if point:
                killed = driver.run("session.measure", *QUICK, LAB_KILL_AT=f"session.{point}")
                assert killed.code == KILLED

            disk.fill()
            full = driver.json("session.measure", *QUICK)

            assert (full.code, full.error["code"]) == (3, "disk.full"), f"{point}: {full.err}"
            assert "ree space there" in full.error["next"]
            assert (driver.workspace / "ddl-perf-log.md").read_bytes().startswith(log)
            assert not _litter(driver), point
            assert driver.json("session.status").code == 0
            disk.free()
            ends_in_one_entry(driver, entries)


@as_root
def test_a_disk_that_is_full_for_the_evidence_alone(driver: Driver) -> None:
    driver.variables["LAB_MEASURE_MOST_SAMPLES"] = "6"
    folder = driver.workspace / "ddl-perf-evidence"
    folder.mkdir(parents=True)
    (driver.workspace / ".lab").mkdir()
    with _small_disk(folder, "8k") as disk:
        full = driver.json("session.measure", *QUICK)

        assert (full.code, full.error["code"]) == (3, "disk.full"), full.err
        assert evidence(driver) == []
        disk.resize("10m")
        ends_in_one_entry(driver, 0, "session.measure", *QUICK)


@as_root
def test_a_disk_that_is_full_for_notes_and_the_journal(driver: Driver) -> None:
    driver.variables["LAB_MEASURE_MOST_SAMPLES"] = "6"
    folder = driver.workspace / ".lab/sessions"
    folder.mkdir(parents=True)
    with _small_disk(folder, "2m") as disk:
        driver.ok("session.start", "--goal", "Is there room?")
        driver.ok("session.note", "--text", "The first.")
        disk.fill()
        for words in (("session.note", "--text", "The second."), ("session.finish",)):
            full = driver.json(*words)
            assert (full.code, full.error["code"]) == (3, "disk.full"), full.err
        driver.ok("env.stop")  # what frees the disk must not need space
        disk.free()
        driver.ok("session.note", "--text", "The second.")
        ends_in_one_entry(driver, 0, "session.finish")
    assert driver.ok("log.show", "1").out.count("The second.") == 1


class _SmallDisk:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        for size in (65536, 512):
            with contextlib.suppress(OSError), self._filler.open("ab", buffering=0) as file:
                while file.write(b"\0" * size):
                    pass

    def free(self) -> None:
        self._filler.unlink()

    def resize(self, size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", self._folder], check=True)


@contextlib.contextmanager
def _small_disk(folder: Path, size: str) -> Iterator[_SmallDisk]:
    options = f"size={size},mode=755"
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {made.stderr.decode().strip()}")
    try:
        yield _SmallDisk(folder)
    finally:
        lab = Driver(folder, folder.parent / "home")
        if (folder / "logs").exists():
            lab.run("env.stop")
        subprocess.run(["umount", "-l", folder], check=True)


def _litter(lab: Driver) -> list[str]:
    """Return temporary files that were left behind."""
    return [
        str(path)
        for path in (lab.workspace / ".lab", lab.workspace / "ddl-perf-evidence", lab.workspace)
        for path in path.glob(".*.*")
        if path.name != ".gitignore"
    ]


# Permissions


def test_a_log_that_cannot_be_written(lab: Driver) -> None:
    entries = headings(lab)
    log = lab.workspace / "ddl-perf-log.md"
    with _protected(log):
        refused = lab.json("session.measure", *QUICK)

    assert (refused.code, refused.error["code"]) == (3, "file.permission"), refused.err
    assert str(log) in refused.error["what"]
    assert headings(lab) == entries
    assert not _litter(lab)
    ends_in_one_entry(lab, entries)


@contextlib.contextmanager
def _protected(path: Path, mode: int = 0o444) -> Iterator[None]:
    """Make ``path`` one that nobody may change; permissions alone do not stop root."""
    before = path.stat().st_mode
    path.chmod(mode)
    root = os.geteuid() == 0
    if root and subprocess.run(["chattr", "+i", path], capture_output=True, check=False).returncode:
        pytest.skip("this file system knows no immutable files")
    try:
        yield
    finally:
        if root:
            subprocess.run(["chattr", "-i", path], check=True)
        path.chmod(before)


def test_a_folder_that_cannot_be_written(driver: Driver) -> None:
    """A place that nobody expected to be closed is named all the same."""
    folder = driver.workspace / "ddl-perf-evidence"
    folder.mkdir(parents=True)
    (driver.workspace / ".lab").mkdir()
    with _protected(folder, 0o555):
        refused = driver.json("session.measure", *QUICK)

    assert (refused.code, refused.error["code"]) == (3, "file.permission"), refused.err
    assert str(folder) in refused.error["what"]
    assert driver.json("session.status").data == {"session": None}
    driver.variables["LAB_MEASURE_MOST_SAMPLES"] = "6"
    ends_in_one_entry(driver, 0, "session.measure", *QUICK)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_configuration_that_cannot_be_read(driver: Driver) -> None:
    file = driver.directory / "lab.toml"
    file.write_text("")
    file.chmod(0)

    refused = driver.json("lab.config")

    assert (refused.code, refused.error["code"]) == (3, "file.permission")
