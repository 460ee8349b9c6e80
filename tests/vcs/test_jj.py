from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from recorder import record
from vcs_support import AUTHOR, Run

from lab.core.errors import ExternalError, PreconditionError, StateMismatchError
from lab.vcs.jj import POINTS, Jj

RECORDER = Path(__file__).with_name("recorder.py")


def history(root: Path, run: Run, revisions: str = "all() ~ root()") -> list[dict[str, object]]:
    """The changes, latest first, with title, files and whether each is the working copy."""
    fields = {
        "id": "json(change_id)",
        "title": "json(description.first_line())",
        "files": "json(diff.files().map(|f| f.path()))",
        "current": "json(current_working_copy)",
        "divergent": "json(divergent)",
    }
    template = "{" + ",".join(f'\\"{k}\\":" ++ {v} ++ "' for k, v in fields.items()) + "}\\n"
    printed = run(["jj", "log", "--no-graph", "-r", revisions, "-T", f'"{template}"'], root)
    return [json.loads(line) for line in printed.splitlines()]


def titles(root: Path, run: Run) -> list[object]:
    return [change["title"] for change in history(root, run)]


def edit(root: Path) -> None:
    (root / "code.txt").write_text("second\n")
    (root / "new.txt").write_text("new\n")
    (root / "log.md").write_text("entry\n")
    (root / "evidence.ignored").write_text("numbers\n")
    (root / "prompt.md").write_text("next steps\n")


def assert_recorded(root: Path, run: Run, *, separate_log: bool) -> None:
    changes = history(root, run)
    log = ["evidence.ignored", "log.md"]
    code = ["code.txt", "new.txt"]
    expected: list[tuple[str, list[str]]] = [("", []), ("the prompt", ["prompt.md"])]
    expected += [("the log", log)] if separate_log else []
    expected += [("work", code if separate_log else sorted(code + log))]
    assert [(c["title"], sorted(c["files"])) for c in changes[:-1]] == expected  # type: ignore[call-overload]
    assert changes[-1]["title"] == "base"
    assert [c["current"] for c in changes] == [True] + [False] * (len(changes) - 1)
    assert not any(c["divergent"] for c in changes)
    assert (root / "prompt.md").read_text() == "next steps\n"
    assert (root / "evidence.ignored").read_text() == "numbers\n"


@pytest.mark.parametrize("separate_log", [False, True])
def test_a_session_is_recorded(jj_root: Path, jj: Jj, run: Run, separate_log: bool) -> None:
    edit(jj_root)
    code = history(jj_root, run, "@")[0]["id"]
    record(jj_root, separate_log=separate_log)
    assert_recorded(jj_root, run, separate_log=separate_log)
    assert jj.describe("S", "work", paths=[]) == code, "the code's change keeps its id"
    record(jj_root, separate_log=separate_log)
    assert_recorded(jj_root, run, separate_log=separate_log)


def test_roles_may_be_separated_in_either_order(jj_root: Path, jj: Jj, run: Run) -> None:
    edit(jj_root)
    log, prompt = [jj_root / "log.md", jj_root / "evidence.ignored"], [jj_root / "prompt.md"]
    work = jj.describe("S", "work", paths=log)
    jj.start_new("S")
    first = jj.separate("S", "prompt", "the prompt", paths=prompt)
    second = jj.separate("S", "log", "the log", paths=log)
    ids = [change["id"] for change in history(jj_root, run)]
    assert ids[1:4] == [second, first, work]
    assert history(jj_root, run)[1]["files"] == ["evidence.ignored", "log.md"]


def test_a_native_repository_works_alike(tmp_path: Path, jj_program: str, run: Run) -> None:
    root = tmp_path / "native"
    run([jj_program, "git", "init", "--no-colocate", "--quiet", str(root)], tmp_path)
    (root / "code.txt").write_text("first\n")
    (root / ".gitignore").write_text("*.ignored\n")
    run([jj_program, "--quiet", "commit", "-m", "base"], root)
    edit(root)
    record(root, separate_log=False)
    assert_recorded(root, run, separate_log=False)


def test_the_first_change_of_a_repository_can_be_a_session(
    tmp_path: Path, jj_program: str, run: Run
) -> None:
    run([jj_program, "git", "init", "--quiet", "."], tmp_path)
    (tmp_path / "log.md").write_text("entry\n")
    jj = Jj(tmp_path, jj_program)
    jj.describe("S", "work", paths=[tmp_path / "log.md"])
    jj.start_new("S")
    assert titles(tmp_path, run) == ["", "work"]


def test_an_unedited_prompt_gets_no_change(jj_root: Path, jj: Jj, run: Run) -> None:
    (jj_root / "log.md").write_text("entry\n")
    jj.describe("S", "work", paths=[jj_root / "log.md"])
    jj.start_new("S")
    assert jj.separate("S", "prompt", "the prompt", paths=[jj_root / "prompt.md"]) is None
    assert titles(jj_root, run) == ["", "work", "base"]


def test_a_session_without_code_keeps_its_change_when_the_log_is_moved(
    jj_root: Path, jj: Jj, run: Run
) -> None:
    (jj_root / "log.md").write_text("entry\n")
    work = jj.describe("S", "work", paths=[jj_root / "log.md"])
    jj.separate("S", "log", "the log", paths=[jj_root / "log.md"])
    changes = history(jj_root, run)
    assert [change["title"] for change in changes] == ["", "the log", "work", "base"]
    assert changes[2]["id"] == work


def test_prompt_edits_after_the_new_change_was_started_go_along(
    jj_root: Path, jj: Jj, run: Run
) -> None:
    edit(jj_root)
    jj.describe("S", "work", paths=[])
    jj.start_new("S")
    (jj_root / "prompt.md").write_text("later steps\n")
    (jj_root / "other.txt").write_text("the next session's\n")
    prompt = jj.separate("S", "prompt", "the prompt", paths=[jj_root / "prompt.md"])
    changes = history(jj_root, run)
    assert [change["files"] for change in changes[:2]] == [["other.txt"], ["prompt.md"]]
    assert changes[1]["id"] == prompt
    assert run(["jj", "file", "show", "-r", "@-", "prompt.md"], jj_root) == "later steps\n"
    (jj_root / "prompt.md").write_text("the next session's steps\n")
    assert jj.separate("S", "prompt", "the prompt", paths=[jj_root / "prompt.md"]) == prompt
    assert run(["jj", "file", "show", "-r", "@-", "prompt.md"], jj_root) == "later steps\n"


# What comes before a point comes after another, but for the first.
KILLS = ["vcs.track:before", *(f"{point}:after" for point in POINTS)]


@pytest.mark.parametrize("point", KILLS)
def test_killed_anywhere_and_run_again_it_converges(jj_root: Path, run: Run, point: str) -> None:
    edit(jj_root)
    command = [sys.executable, str(RECORDER), str(jj_root), "separate"]
    killed = subprocess.run(command, env=os.environ | {"LAB_KILL_AT": point}, check=False)
    assert killed.returncode == -9, "the point was never reached"
    run(command, jj_root)
    assert_recorded(jj_root, run, separate_log=True)


def test_what_a_jj_that_died_left_in_head_is_put_right(jj_root: Path, jj: Jj, run: Run) -> None:
    edit(jj_root)
    jj.describe("S", "work", paths=[])
    jj.start_new("S")
    lock = jj_root / ".git" / "index.lock"
    lock.touch()
    squash = ["jj", "squash", "--from=@-", "--into=@", "-u", "prompt.md"]
    assert subprocess.run(squash, cwd=jj_root, capture_output=True, check=False).returncode
    lock.unlink()
    fresh = Jj(jj_root, "jj")
    assert fresh.separate("S", "prompt", "the prompt", paths=[jj_root / "prompt.md"])
    assert titles(jj_root, run) == ["", "the prompt", "work", "base"]
    assert not any(change["divergent"] for change in history(jj_root, run))


def test_a_held_index_is_waited_for(jj_root: Path, jj: Jj, run: Run) -> None:
    edit(jj_root)
    lock = jj_root / ".git" / "index.lock"
    lock.touch()
    timer = threading.Timer(0.5, lock.unlink)
    timer.start()
    jj.describe("S", "work", paths=[])
    timer.join()
    assert titles(jj_root, run) == ["work", "base"]


def test_an_index_that_stays_held_is_named_and_left_alone(
    jj_root: Path, jj: Jj, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = jj_root / ".git" / "index.lock"
    jj.describe("S", "work", paths=[])
    lock.touch()
    os.utime(lock, (time.time() - 120, time.time() - 120))
    with pytest.raises(ExternalError) as caught:
        jj.start_new("S")
    assert caught.value.code == "vcs.index-locked"
    assert str(lock) in caught.value.why
    assert "12" in caught.value.why, "its age"
    assert lock.exists()
    lock.unlink()
    jj.start_new("S")
    assert titles(jj_root, run) == ["", "work", "base"]


def test_a_command_that_fails_leaves_head_where_it_was(
    jj_root: Path, jj: Jj, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(jj_root)
    jj.describe("S", "work", paths=[])
    # A lock that appears between the look for it and jj's own: jj meets it.
    monkeypatch.setattr("lab.vcs.git_directory.GitDirectory.wait_for_index", lambda self: None)
    lock = jj_root / ".git" / "index.lock"
    lock.touch()
    head = (jj_root / ".git" / "HEAD").read_bytes()
    with pytest.raises(ExternalError, match="jj new failed"):
        jj.start_new("S")
    assert (jj_root / ".git" / "HEAD").read_bytes() == head
    lock.unlink()
    jj.start_new("S")
    assert titles(jj_root, run) == ["", "work", "base"]


def test_the_status_says_where_the_working_copy_stands(jj_root: Path, jj: Jj, run: Run) -> None:
    before = run(["jj", "--ignore-working-copy", "op", "log", "--no-graph", "-T", "id"], jj_root)
    assert jj.status().empty
    edit(jj_root)
    status = jj.status()
    assert not status.empty
    assert status.system == "jj"
    assert status.version.startswith("0.")
    assert status.change == history(jj_root, run, "@")[0]["id"]
    assert status.author == "Test Author <author@example.org>"
    assert status.warnings == ()
    assert before.startswith(status.operation), "looking recorded nothing"


def test_a_described_working_copy_is_refused(jj_root: Path, jj: Jj, run: Run) -> None:
    run(["jj", "describe", "-m", "somebody's work"], jj_root)
    for step in (lambda: jj.require_ready("S", []), lambda: jj.describe("S", "m", paths=[])):
        with pytest.raises(StateMismatchError) as caught:
            step()
        assert caught.value.code == "vcs.described"
        assert "somebody's work" in caught.value.why
    assert titles(jj_root, run) == ["somebody's work", "base"]


def test_the_sessions_own_description_is_no_obstacle(jj_root: Path, jj: Jj) -> None:
    jj.describe("S", "work", paths=[])
    assert jj.require_ready("S", []).description.startswith("work")
    with pytest.raises(StateMismatchError, match="already described"):
        jj.require_ready("T", [])


def test_conflicts_are_refused(jj_root: Path, jj: Jj, run: Run) -> None:
    for text in ("one", "two"):
        run(["jj", "new", 'description("base\n")', "-m", text], jj_root)
        (jj_root / "code.txt").write_text(text)
    run(["jj", "new", 'description("one\n")', 'description("two\n")'], jj_root)
    with pytest.raises(StateMismatchError) as caught:
        jj.require_ready("S", [])
    assert caught.value.code == "vcs.conflict"


def test_a_stale_workspace_is_refused(tmp_path: Path, jj_program: str, run: Run) -> None:
    # Native, since a second colocated workspace needs a newer git than Debian 12 has.
    root = tmp_path / "native"
    run([jj_program, "git", "init", "--no-colocate", "--quiet", str(root)], tmp_path)
    (root / "code.txt").write_text("first\n")
    run([jj_program, "--quiet", "commit", "-m", "base"], root)
    run([jj_program, "workspace", "add", "--quiet", "../second"], root)
    run([jj_program, "restore", "--from=root()", "--into=second@"], root)
    with pytest.raises(StateMismatchError) as caught:
        Jj(tmp_path / "second", jj_program).require_ready("S", [])
    assert caught.value.code == "vcs.stale"
    assert "jj workspace update-stale" in caught.value.remedy


def test_an_immutable_working_copy_is_refused(jj_root: Path, jj: Jj, isolated: Path) -> None:
    (isolated / "jj.toml").write_text(AUTHOR + '[revset-aliases]\n"immutable_heads()" = "@"\n')
    with pytest.raises(StateMismatchError) as caught:
        jj.require_ready("S", [])
    assert caught.value.code == "vcs.immutable"


@pytest.mark.parametrize("name", ["big.json", "big.ignored"])
def test_a_file_over_the_size_limit_is_refused(
    jj_root: Path, jj: Jj, isolated: Path, name: str
) -> None:
    (isolated / "jj.toml").write_text(AUTHOR + '[snapshot]\nmax-new-file-size = "10KiB"\n')
    big = jj_root / name
    big.write_bytes(bytes(10 * 1024))
    jj.require_ready("S", [big])
    big.write_bytes(bytes(10 * 1024 + 1))
    for step in (lambda: jj.require_ready("S", [big]), lambda: jj.describe("S", "m", paths=[big])):
        with pytest.raises(StateMismatchError) as caught:
            step()
        assert caught.value.code == "vcs.too-large"


def test_a_tracked_file_may_grow_over_the_limit(jj_root: Path, jj: Jj, isolated: Path) -> None:
    log = jj_root / "log.md"
    log.write_text("entry\n")
    jj.operation()
    log.write_bytes(bytes(2_000_000))
    jj.require_ready("S", [log])


def test_other_files_that_jj_leaves_out_are_named(jj_root: Path, jj: Jj) -> None:
    (jj_root / "core dump").write_bytes(bytes(2_000_000))
    assert any("core dump" in warning for warning in jj.require_ready("S", []).warnings)


def test_without_an_author_it_goes_on_and_says_so(
    jj_root: Path, jj: Jj, run: Run, isolated: Path
) -> None:
    (isolated / "jj.toml").write_text("")
    status = jj.require_ready("S", [])
    assert status.author == ""
    assert "jj config set" in status.warnings[0]
    jj.describe("S", "work", paths=[])
    assert titles(jj_root, run) == ["work", "base"]


def test_an_old_jj_is_refused(jj_root: Path, tmp_path: Path) -> None:
    old = tmp_path / "jj"
    old.write_text("#!/bin/sh\necho jj 0.20.0\n")
    old.chmod(0o755)
    with pytest.raises(PreconditionError) as caught:
        Jj(jj_root, str(old)).status()
    assert caught.value.code == "vcs.jj-too-old"
    assert "0.20.0" in caught.value.what


def test_a_failing_jj_is_quoted(jj_root: Path, jj: Jj, isolated: Path) -> None:
    (isolated / "jj.toml").write_text("user = 3\n[ui\n")
    with pytest.raises(ExternalError) as caught:
        jj.status()
    assert "jj.toml" in caught.value.why


def test_undo_takes_all_of_it_back(
    jj_root: Path, jj: Jj, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(jj_root)
    before = jj.operation()
    jj.describe("S", "work", paths=[jj_root / "log.md"])
    jj.separate("S", "prompt", "the prompt", paths=[jj_root / "prompt.md"])
    after = jj.operation()
    for folder in (jj_root, jj_root.parent):
        monkeypatch.chdir(folder)
        command = jj.undo_command(before, after)
        assert command.startswith("jj ")
    run([*shlex.split(command), "--quiet"], jj_root.parent)
    assert titles(jj_root, run) == ["", "base"]
    assert (jj_root / "prompt.md").read_text() == "next steps\n", "the edits are still there"
    assert (jj_root / "code.txt").read_text() == "second\n"


def test_undo_is_not_offered_after_something_else_happened(jj_root: Path, jj: Jj, run: Run) -> None:
    before = jj.operation()
    jj.describe("S", "work", paths=[])
    after = jj.operation()
    assert jj.undo_command(before, after)
    (jj_root / "code.txt").write_text("an edit that going back would lose\n")
    assert jj.undo_command(before, after) == ""
    assert jj.undo_command(after, after) == ""


def test_the_change_is_found_although_the_working_copy_moved_elsewhere(
    jj_root: Path, jj: Jj, run: Run
) -> None:
    edit(jj_root)
    work = jj.describe("S", "work", paths=[])
    run(["jj", "new", "root()"], jj_root)
    assert jj.describe("S", "work", paths=[]) == work
    assert jj.separate("S", "prompt", "the prompt", paths=[jj_root / "prompt.md"])
    assert sorted(map(str, titles(jj_root, run))) == ["", "base", "the prompt", "work"]


def test_a_lost_change_is_named(jj_root: Path, jj: Jj) -> None:
    with pytest.raises(StateMismatchError) as caught:
        jj.start_new("S")
    assert caught.value.code == "vcs.no-change"


def test_odd_file_names_are_recorded(jj_root: Path, jj: Jj, run: Run) -> None:
    odd = jj_root / 'a "b" \\ *ü.ignored'
    odd.write_text("x")
    jj.describe("S", "work", paths=[odd])
    assert odd.name in run(["jj", "file", "list", "-r", "@"], jj_root)


def test_what_lies_outside_is_refused(jj_root: Path, jj: Jj, tmp_path: Path) -> None:
    with pytest.raises(PreconditionError) as caught:
        jj.describe("S", "work", paths=[tmp_path / "elsewhere.md"])
    assert caught.value.code == "vcs.outside"
