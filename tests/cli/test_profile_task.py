"""`measure.profile`: on the stand-in over HTTP, on PostgreSQL by perf."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_driver import Driver
from materialize_driver import MaterializeDriver, materialize_lab


@pytest.fixture(scope="module")
def materialize() -> Iterator[MaterializeDriver]:
    with materialize_lab() as made:
        made.ok("env.start")
        yield made


@pytest.fixture
def running(shared_driver: Driver) -> Driver:
    shared_driver.ok("env.start")
    return shared_driver


def test_outside_a_session_the_files_are_kept_apart(materialize: MaterializeDriver) -> None:
    result = materialize.json("measure.profile", "--seconds", "1")

    assert result.code == 0, result.err
    data = result.data
    assert data["statements"] > 0
    assert data["cpu_ns"] is not None
    assert 0 < len(data["hottest"]) <= 12
    assert all(0 <= frame["own"] <= frame["total"] <= 1 for frame in data["hottest"])
    for file in data["files"]:
        assert file.startswith(".lab/profiles/")
        assert (materialize.workspace / file).stat().st_size > 0
    assert "no session's evidence" in result.envelope["steps"][0]["why"]


def test_in_a_session_it_is_evidence_and_stands_in_the_entry(
    materialize: MaterializeDriver,
) -> None:
    materialize.ok("session.start", "--goal", "Where does the time go?")
    taken = materialize.json("measure.profile", "--seconds", "1", "--statement", "create-view")
    finished = materialize.ok("session.finish")

    assert taken.code == 0, taken.err
    files = taken.data["files"]
    assert [Path(file).parent.as_posix() for file in files] == ["ddl-perf-evidence/001"] * 2
    log = (materialize.workspace / "ddl-perf-log.md").read_text()
    assert all(file in log for file in files)
    assert taken.data["hottest"][0]["name"] in log
    assert "create-view in" in log
    assert materialize.json("log.verify").code == 0, finished.out


def test_a_heap_profile_that_the_build_does_not_make_is_said(
    materialize: MaterializeDriver,
) -> None:
    result = materialize.json("measure.profile", "--seconds", "1", "--heap")

    assert result.code == 0, result.err
    assert any("heap" in warning for warning in result.envelope["warnings"])


def test_bad_input(materialize: MaterializeDriver) -> None:
    unknown = materialize.json("measure.profile", "--statement", "create-tabel")
    assert (unknown.code, unknown.error["code"]) == (2, "statement.unknown")
    assert "create-table" in unknown.error["next"]
    assert materialize.json("measure.profile", "--seconds", "0").code == 2
    assert materialize.json("measure.profile", "--seconds", "soon").code == 2


def test_postgresql_has_no_profiler_of_its_own(running: Driver) -> None:
    refused = running.json("measure.profile", "--seconds", "1")

    assert (refused.code, refused.error["code"]) == (3, "profile.none")
    assert "--perf" in refused.error["next"]


def test_without_perf_it_is_said_how_to_get_it(running: Driver, tmp_path: Path) -> None:
    refused = running.json("measure.profile", "--perf", "--seconds", "1", PATH=str(tmp_path))

    assert (refused.code, refused.error["code"]) == (3, "profile.no-perf")


@pytest.mark.skipif(shutil.which("perf") is None, reason="needs perf")
def test_perf_samples_the_backend_that_serves(running: Driver) -> None:
    result = running.json("measure.profile", "--perf", "--seconds", "2")

    if result.code and "perf_event" in result.err + result.out:
        pytest.skip("needs the right to record performance events")
    assert result.code == 0, result.out + result.err
    names = {frame["name"] for frame in result.data["widest"] + result.data["hottest"]}
    assert names
    assert result.data["statements"] > 0
    assert any(file.endswith(".perf.txt") for file in result.data["files"])
