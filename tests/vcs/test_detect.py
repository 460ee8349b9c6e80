from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from vcs_support import Run

from lab.core.errors import PreconditionError
from lab.vcs.base import Repository
from lab.vcs.detect import Preference, create_repository, open_repository


@pytest.fixture
def without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Take programs from PATH: call it with the names of those that stay."""

    def without_all_but(*names: str) -> None:
        folder = tmp_path / "programs"
        folder.mkdir()
        for name in names:
            program = shutil.which(name)
            if program is None:
                pytest.skip(f"needs {name} on PATH")
            (folder / name).symlink_to(program)
        monkeypatch.setenv("PATH", str(folder))

    return without_all_but


def described(repository: Repository | None) -> tuple[str, Path] | None:
    return repository and (repository.system, repository.root)


def test_the_system_is_that_of_the_repository(jj_root: Path, tmp_path: Path, run: Run) -> None:
    assert described(open_repository(jj_root, enclosing=False)) == ("jj", jj_root)
    assert described(open_repository(jj_root, "git", enclosing=False)) == ("git", jj_root)
    assert open_repository(jj_root, "none", enclosing=False) is None
    plain = tmp_path / "plain"
    run(["git", "init", "--quiet", str(plain)], tmp_path)
    assert described(open_repository(plain, enclosing=False)) == ("git", plain)


def test_an_outer_repository_counts_only_where_it_may(git_root: Path) -> None:
    inner = git_root / "logs"
    inner.mkdir()
    assert open_repository(inner, enclosing=False) is None
    assert described(open_repository(inner, enclosing=True)) == ("git", git_root)


def test_the_nearest_repository_counts(jj_root: Path, run: Run) -> None:
    inner = jj_root / "inner"
    run(["git", "init", "--quiet", str(inner)], jj_root)
    (inner / "folder").mkdir()
    assert described(open_repository(inner / "folder", enclosing=True)) == ("git", inner)


def test_a_colocated_repository_falls_back_to_git_without_jj(  # type: ignore[no-untyped-def]
    jj_root: Path, without
) -> None:
    without("git")
    repository = open_repository(jj_root, enclosing=False)
    assert repository is not None
    assert repository.system == "git"
    assert any("jj is not installed" in warning for warning in repository.status().warnings)
    with pytest.raises(PreconditionError) as caught:
        open_repository(jj_root, "jj", enclosing=False)
    assert caught.value.code == "vcs.no-jj"


def test_a_native_repository_needs_jj(  # type: ignore[no-untyped-def]
    tmp_path: Path, jj_program: str, run: Run, without
) -> None:
    root = tmp_path / "native"
    run([jj_program, "git", "init", "--no-colocate", "--quiet", str(root)], tmp_path)
    with pytest.raises(PreconditionError) as caught:
        open_repository(root, "git", enclosing=False)
    assert caught.value.code == "vcs.unfit"
    without("git")
    with pytest.raises(PreconditionError) as caught:
        open_repository(root, enclosing=False)
    assert caught.value.code == "vcs.no-jj"


def test_a_git_repository_is_not_turned_into_jjs(git_root: Path) -> None:
    with pytest.raises(PreconditionError) as caught:
        open_repository(git_root, "jj", enclosing=True)
    assert caught.value.code == "vcs.unfit"


@pytest.mark.parametrize("preference", ["auto", "jj"])
def test_a_new_workspace_gets_a_repository_of_its_own(
    git_root: Path, jj_program: str, run: Run, preference: Preference
) -> None:
    root = git_root / "logs"
    made = create_repository(root, preference)
    assert described(made) == ("jj", root)
    assert (root / ".git").is_dir(), "git can read it, too"
    assert described(create_repository(root, preference)) == ("jj", root)
    (root / "log.md").write_text("entry\n")
    assert made is not None
    made.describe("S", "work", paths=[root / "log.md"])
    made.start_new("S")
    assert run(["git", "log", "--format=%s"], root) == "work\n"
    assert run([jj_program, "workspace", "root"], root).strip() == str(root)
    assert list((root / ".lab").glob("new-repository-*")) == []


def test_without_jj_a_new_workspace_is_gits(tmp_path: Path, without) -> None:  # type: ignore[no-untyped-def]
    without("git")
    root = tmp_path / "logs"
    made = create_repository(root)
    assert described(made) == ("git", root)
    assert made is not None
    (root / "log.md").write_text("entry\n")
    made.describe("S", "work", paths=[root / "log.md"])
    assert made.status().empty
    with pytest.raises(PreconditionError):
        create_repository(tmp_path / "other", "jj")


def test_without_either_a_session_goes_on(tmp_path: Path, without) -> None:  # type: ignore[no-untyped-def]
    without()
    assert create_repository(tmp_path / "logs") is None
    with pytest.raises(PreconditionError):
        create_repository(tmp_path / "logs", "git")


def test_an_old_jj_makes_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "old"
    old.mkdir()
    (old / "jj").write_text("#!/bin/sh\necho jj 0.20.0\n")
    (old / "jj").chmod(0o755)
    monkeypatch.setenv("PATH", f"{old}:/usr/bin:/bin")
    with pytest.raises(PreconditionError) as caught:
        create_repository(tmp_path / "logs")
    assert caught.value.code == "vcs.jj-too-old"
    assert not (tmp_path / "logs" / ".git").exists()
