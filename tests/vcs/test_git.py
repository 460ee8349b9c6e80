from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from recorder import record
from vcs_support import Run

from lab.core.errors import ExternalError, StateMismatchError
from lab.vcs.git import POINTS, Git

RECORDER = Path(__file__).with_name("recorder.py")


def titles(root: Path, run: Run) -> list[str]:
    return run(["git", "log", "--format=%s"], root).splitlines()


def files(root: Path, run: Run, commit: str) -> list[str]:
    arguments = ["git", "show", "--format=", "--name-only", "--root", commit]
    return sorted(run(arguments, root).splitlines())


def edit(root: Path) -> None:
    (root / "code.txt").write_text("second\n")
    (root / "new.txt").write_text("new\n")
    (root / "log.md").write_text("entry\n")
    (root / "evidence.ignored").write_text("numbers\n")
    (root / "prompt.md").write_text("next steps\n")


def assert_recorded(root: Path, run: Run, *, separate_log: bool) -> None:
    log = ["evidence.ignored", "log.md"]
    expected = [("the prompt", ["prompt.md"])]
    expected += [("the log", log)] if separate_log else []
    expected += [("work", ["code.txt"] + ([] if separate_log else log))]
    commits = run(["git", "rev-list", "HEAD"], root).split()
    got = [(t, files(root, run, c)) for t, c in zip(titles(root, run), commits, strict=True)]
    assert got[:-1] == expected
    assert got[-1][0] == "base"
    assert run(["git", "status", "--porcelain"], root) == "?? new.txt\n"
    assert (root / "prompt.md").read_text() == "next steps\n"


@pytest.mark.parametrize("separate_log", [False, True])
def test_a_session_is_recorded_once(git_root: Path, run: Run, separate_log: bool) -> None:
    edit(git_root)
    record(git_root, separate_log=separate_log)
    assert_recorded(git_root, run, separate_log=separate_log)
    record(git_root, separate_log=separate_log)
    assert_recorded(git_root, run, separate_log=separate_log)


# What comes before a point comes after another, but for the first.
@pytest.mark.parametrize("point", ["vcs.stage:before", *(f"{point}:after" for point in POINTS)])
def test_killed_anywhere_and_run_again_it_converges(git_root: Path, run: Run, point: str) -> None:
    edit(git_root)
    command = [sys.executable, str(RECORDER), str(git_root), "separate"]
    killed = subprocess.run(command, env=os.environ | {"LAB_KILL_AT": point}, check=False)
    assert killed.returncode == -9, "the point was never reached"
    run(command, git_root)
    assert_recorded(git_root, run, separate_log=True)


def test_the_first_commit_of_a_repository_can_be_a_session(tmp_path: Path, run: Run) -> None:
    run(["git", "init", "--quiet", "-b", "main", "."], tmp_path)
    git = Git(tmp_path)
    assert git.status().change == ""
    (tmp_path / "log.md").write_text("entry\n")
    (tmp_path / "prompt.md").write_text("steps\n")
    run(["git", "add", "prompt.md"], tmp_path)
    before = git.operation()
    git.describe("S", "work", paths=[tmp_path / "log.md"], apart=[tmp_path / "prompt.md"])
    git.start_new("S")
    prompt = git.separate("S", "prompt", "the prompt", paths=[tmp_path / "prompt.md"])
    assert titles(tmp_path, run) == ["the prompt", "work"]
    assert files(tmp_path, run, "HEAD~1") == ["log.md"]
    assert git.undo_command(before, str(prompt)) == ""


def test_what_the_user_staged_is_in_the_commit_but_not_the_prompt(
    git_root: Path, git: Git, run: Run
) -> None:
    edit(git_root)
    run(["git", "add", "new.txt", "prompt.md"], git_root)
    git.describe("S", "work", paths=[], apart=[git_root / "prompt.md"])
    assert files(git_root, run, "HEAD") == ["code.txt", "new.txt"]
    assert run(["git", "status", "--porcelain"], git_root) == "?? log.md\n?? prompt.md\n"


def test_work_staged_for_later_stays_staged_when_the_prompt_is_committed(
    git_root: Path, git: Git, run: Run
) -> None:
    edit(git_root)
    git.describe("S", "work", paths=[git_root / "log.md"], apart=[git_root / "prompt.md"])
    run(["git", "add", "new.txt"], git_root)
    git.separate("S", "prompt", "the prompt", paths=[git_root / "prompt.md"])
    assert files(git_root, run, "HEAD") == ["prompt.md"]
    assert run(["git", "status", "--porcelain"], git_root) == "A  new.txt\n"


def test_an_unedited_prompt_gets_no_commit(git_root: Path, git: Git, run: Run) -> None:
    git.describe("S", "work", paths=[])
    assert git.start_new("S") == run(["git", "rev-parse", "HEAD"], git_root).strip()
    assert git.separate("S", "prompt", "the prompt", paths=[git_root / "prompt.md"]) is None
    assert titles(git_root, run) == ["work", "base"]


def test_a_deleted_prompt_is_recorded(git_root: Path, git: Git, run: Run) -> None:
    prompt = git_root / "prompt.md"
    prompt.write_text("steps\n")
    run(["git", "add", "."], git_root)
    run(["git", "commit", "--quiet", "-m", "prompt"], git_root)
    prompt.unlink()
    git.describe("S", "work", paths=[], apart=[prompt])
    git.separate("S", "prompt", "the prompt", paths=[prompt])
    assert files(git_root, run, "HEAD") == ["prompt.md"]
    assert files(git_root, run, "HEAD~1") == []


def test_untracked_files_are_named_and_left(git_root: Path, git: Git) -> None:
    edit(git_root)
    status = git.require_ready("S", [git_root / "log.md", git_root / "prompt.md"])
    assert len(status.warnings) == 1
    assert "new.txt" in status.warnings[0]
    assert "log.md" not in status.warnings[0]
    assert not status.empty
    assert status.author == "Test Author <author@example.org>"


def test_without_an_author_it_commits_as_the_lab_and_says_so(
    git_root: Path, git: Git, run: Run, isolated: Path
) -> None:
    (isolated / "gitconfig").write_text("")
    status = git.require_ready("S", [])
    assert status.author == ""
    assert "git config user.name" in status.warnings[0]
    git.describe("S", "work", paths=[])
    form = "--format=%an <%ae> %cn <%ce>"
    lab = "ddl-lab <ddl-lab@localhost>"
    assert run(["git", "log", "-1", form], git_root).strip() == f"{lab} {lab}"


def test_headings_in_a_message_are_kept(git_root: Path, git: Git, run: Run) -> None:
    git.describe("S", "work\n\n# Results\n", paths=[])
    assert run(["git", "log", "-1", "--format=%B"], git_root) == (
        "work\n\n# Results\n\nLab-Session: S\n\n"
    )


def hook(root: Path, name: str, script: str) -> None:
    path = root / ".git" / "hooks" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_a_failing_hook_is_quoted_and_the_session_can_go_on(
    git_root: Path, git: Git, run: Run
) -> None:
    edit(git_root)
    hook(git_root, "pre-commit", "echo 'line 3 is too long' >&2; exit 1")
    with pytest.raises(ExternalError) as caught:
        git.describe("S", "work", paths=[])
    assert caught.value.code == "vcs.hook-failed"
    assert "line 3 is too long" in caught.value.why
    assert "pre-commit" in caught.value.what
    assert titles(git_root, run) == ["base"]
    hook(git_root, "pre-commit", "exit 0")
    git.describe("S", "work", paths=[])
    assert titles(git_root, run) == ["work", "base"]


def test_a_detached_head_is_fine(git_root: Path, git: Git, run: Run) -> None:
    run(["git", "checkout", "--quiet", "--detach"], git_root)
    edit(git_root)
    git.require_ready("S", [])
    git.describe("S", "work", paths=[git_root / "log.md"])
    assert titles(git_root, run) == ["work", "base"]


def test_a_merge_in_progress_is_refused(git_root: Path, git: Git, run: Run) -> None:
    run(["git", "checkout", "--quiet", "-b", "side"], git_root)
    (git_root / "code.txt").write_text("side\n")
    run(["git", "commit", "--quiet", "-am", "side"], git_root)
    run(["git", "checkout", "--quiet", "main"], git_root)
    (git_root / "code.txt").write_text("main\n")
    run(["git", "commit", "--quiet", "-am", "main"], git_root)
    merge = ["git", "merge", "--quiet", "side"]
    assert subprocess.run(merge, cwd=git_root, capture_output=True, check=False).returncode
    with pytest.raises(StateMismatchError) as caught:
        git.require_ready("S", [])
    assert caught.value.code == "vcs.in-progress"
    (git_root / ".git" / "MERGE_HEAD").unlink()
    with pytest.raises(StateMismatchError) as caught:
        git.describe("S", "work", paths=[])
    assert caught.value.code == "vcs.conflict"
    assert "code.txt" in caught.value.why


def test_a_held_index_is_waited_for(git_root: Path, git: Git, run: Run) -> None:
    edit(git_root)
    lock = git_root / ".git" / "index.lock"
    lock.touch()
    timer = threading.Timer(0.5, lock.unlink)
    timer.start()
    git.describe("S", "work", paths=[])
    timer.join()
    assert titles(git_root, run) == ["work", "base"]


def test_an_index_that_stays_held_is_named_and_left_alone(git_root: Path, git: Git) -> None:
    edit(git_root)
    lock = git_root / ".git" / "index.lock"
    lock.touch()
    os.utime(lock, (time.time() - 120, time.time() - 120))
    with pytest.raises(ExternalError) as caught:
        git.describe("S", "work", paths=[])
    assert caught.value.code == "vcs.index-locked"
    assert str(lock) in caught.value.why
    assert "12" in caught.value.why, "its age"
    assert lock.exists()


def test_undo_goes_back_and_touches_no_file(git_root: Path, git: Git, run: Run) -> None:
    edit(git_root)
    before = git.operation()
    git.describe("S", "work", paths=[git_root / "log.md"], apart=[git_root / "prompt.md"])
    git.separate("S", "prompt", "the prompt", paths=[git_root / "prompt.md"])
    after = git.operation()
    run(shlex.split(git.undo_command(before, after)), Path.cwd())
    assert titles(git_root, run) == ["base"]
    assert (git_root / "log.md").read_text() == "entry\n"
    assert (git_root / "code.txt").read_text() == "second\n"
    assert git.undo_command(before, after) == "", "HEAD is no longer there"


def test_undo_is_not_offered_over_somebody_elses_commit(git_root: Path, git: Git, run: Run) -> None:
    before = git.operation()
    git.describe("S", "work", paths=[])
    run(["git", "commit", "--quiet", "--allow-empty", "-m", "theirs"], git_root)
    assert git.undo_command(before, git.operation()) == ""
    assert git.undo_command("0" * 40, git.operation()) == ""


def test_a_lost_commit_is_named(git_root: Path, git: Git) -> None:
    for step in (
        lambda: git.start_new("S"),
        lambda: git.separate("S", "prompt", "m", paths=[git_root / "prompt.md"]),
    ):
        with pytest.raises(StateMismatchError) as caught:
            step()
        assert caught.value.code == "vcs.no-change"


def test_odd_file_names_are_recorded(git_root: Path, git: Git, run: Run) -> None:
    odd = git_root / 'a "b" \\ *ü.ignored'
    odd.write_text("x")
    git.describe("S", "work", paths=[odd])
    assert run(["git", "show", "--format=", "--name-only", "-z"], git_root) == f"{odd.name}\0"


def test_a_repository_of_which_nothing_is_left_is_named(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    with pytest.raises(ExternalError) as caught:
        Git(tmp_path).status()
    assert caught.value.code == "vcs.git-failed"
