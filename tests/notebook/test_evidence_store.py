"""The evidence store: immutable files, numbers that nobody shares, and loud refusals."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from faults import bytes_read, fill, protected, small_disk
from notebook_support import make_run

from lab.core.errors import PreconditionError
from lab.core.files import sha256
from lab.core.workspace import Workspace
from lab.measure.record import Run, Sample
from lab.notebook import evidence


def test_a_run_comes_back_as_it_was_written(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    run = make_run(session=7)
    file = evidence.write_run(workspace, run)
    assert file.path == f"ddl-perf-evidence/007/run-{run.id}.json"
    content = (tmp_path / file.path).read_bytes()
    assert file.sha256 == sha256(content)
    assert content.endswith(b"}\n")
    assert b"\n" not in content[:-1]
    assert evidence.read_run(tmp_path / file.path) == run
    assert evidence.read_file(workspace, file) == run
    assert evidence.runs_of(workspace, 7) == [file]
    assert evidence.find_run(workspace, run.id) == file
    assert evidence.find_run(workspace, "../../etc/passwd") is None
    assert evidence.files_of(workspace, 7) == [tmp_path / file.path]
    assert evidence.session_folder(workspace, 1234).name == "1234"


def test_writing_it_again_is_fine_and_writing_another_is_refused(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    file = evidence.write_run(workspace, make_run())
    assert evidence.write_run(workspace, make_run()) == file
    with pytest.raises(PreconditionError) as caught:
        evidence.write_run(workspace, make_run(factor=2.0))
    assert caught.value.code == "evidence.differs"
    assert evidence.read_file(workspace, file) == make_run()


def test_a_run_of_1_mib_is_refused(tmp_path: Path) -> None:
    run = make_run()
    samples = tuple(Sample("create-table", i, i, 1_000_000) for i in range(40_000))
    large = msgspec.structs.replace(
        run, blocks=(msgspec.structs.replace(run.blocks[0], samples=samples),)
    )
    with pytest.raises(PreconditionError) as caught:
        evidence.write_run(Workspace(tmp_path), large)
    assert caught.value.code == "evidence.too-large"
    assert caught.value.remedy
    assert not list(tmp_path.rglob("*.json"))


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    file = evidence.write_run(workspace, make_run())
    path = tmp_path / file.path
    content = path.read_bytes()
    cases = {
        "evidence.newer-schema": content.replace(b'"schema_version":1', b'"schema_version":99'),
        "evidence.corrupt": content[:-20],
    }
    for code, changed in cases.items():
        path.write_bytes(changed)
        with pytest.raises(PreconditionError) as caught:
            evidence.read_run(path)
        assert caught.value.code == code
        assert str(path) in caught.value.what
    assert "99" in _refusal(path, content.replace(b'"schema_version":1', b'"schema_version":99'))
    path.write_bytes(content.replace(b'"seed":7', b'"seed":8', 1))
    with pytest.raises(PreconditionError) as caught:
        evidence.read_file(workspace, file)
    assert caught.value.code == "evidence.changed"
    path.unlink()
    with pytest.raises(PreconditionError) as caught:
        evidence.read_file(workspace, file)
    assert caught.value.code == "evidence.missing"


def _refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(PreconditionError) as caught:
        evidence.read_run(path)
    return caught.value.what


def test_a_full_disk_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        workspace = Workspace(disk)
        evidence.session_folder(workspace, 1).mkdir(parents=True)
        fill(disk, leave=0)
        with pytest.raises(PreconditionError) as caught:
            evidence.write_run(workspace, make_run())
        assert caught.value.code == "disk.full"
        assert evidence.files_of(workspace, 1) == []
        (disk / "filler").unlink()
        assert evidence.write_run(workspace, make_run())


def test_no_permission_is_said(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    folder = evidence.session_folder(workspace, 1)
    folder.mkdir(parents=True)
    with protected(folder), pytest.raises(PreconditionError) as caught:
        evidence.write_run(workspace, make_run())
    assert caught.value.code == "file.permission"


def test_a_number_is_free_until_its_folder_holds_something(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert evidence.free_number(workspace, 26) == 26
    # A folder that a killed command left empty is used again.
    evidence.session_folder(workspace, 26).mkdir(parents=True)
    assert evidence.free_number(workspace, 26) == 26
    evidence.write_run(workspace, make_run(session=26))
    assert evidence.in_use(workspace, 26)
    assert evidence.free_number(workspace, 26) == 27
    assert evidence.free_number(workspace, 3) == 3


def test_earlier_runs_come_newest_first_and_are_read_as_needed(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)

    def write(session: int, name: str, at: str) -> None:
        evidence.write_run(workspace, make_run(session, name, created_at=at))

    write(1, "a", "2026-02-01T00:00:00+00:00")
    write(2, "z", "2026-02-02T00:00:00+00:00")
    write(2, "b", "2026-02-02T01:00:00+00:00")
    write(3, "c", "2026-02-03T00:00:00+00:00")
    (evidence.session_folder(workspace, 2) / "run-broken.json").write_bytes(b"{")
    found = [(file.run, run.session) for file, run in evidence.earlier_runs(workspace, 3)]
    assert found == [("b", 2), ("z", 2), ("a", 1)]
    assert list(evidence.earlier_runs(workspace, 1)) == []

    size = len(msgspec.json.encode(make_run()))
    before = bytes_read()
    file, run = next(evidence.earlier_runs(workspace, 10))
    assert (file.run, type(run)) == ("c", Run)
    assert bytes_read() - before < 2 * size
