"""Builds that are kept: made, adopted, found, proven, removed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from builds_support import Source, Watching, kept, store, write_pair, write_program

from lab.core.errors import ExternalError, LabError, PreconditionError, UsageError
from lab.core.files import write_struct
from lab.core.progress import SilentProgress
from lab.core.results import Status
from lab.targets.materialize.copying import copy_programs
from lab.targets.parts import Build

QUIET = SilentProgress()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "workspace/.lab/builds"


def test_a_build_is_kept_whole_with_what_it_is_of(source: Source, folder: Path) -> None:
    build, step = store(folder, source).make("debug", QUIET)

    assert step.status is Status.CHANGED
    assert re.fullmatch("[0-9a-f]{12}", build.id)
    directory = Path(build.directory)
    assert directory == folder / build.id
    assert sorted(each.name for each in directory.iterdir()) == [
        "build.json",
        "clusterd",
        "environmentd",
    ]
    for name in ("environmentd", "clusterd"):
        copy = directory / name
        assert copy.read_bytes() == (source.root / "target/debug" / name).read_bytes()
        assert copy.stat().st_mode & 0o777 == 0o755
        assert len(build.files[name]) == 64
    assert build.profile == "debug"
    assert build.version == "v1.0.0-dev (abcdef012)"
    assert (build.commit, build.dirty) == (source.git("rev-parse", "HEAD").strip(), "")
    assert str(source.root) in build.origin
    assert store(folder).all() == (build,)


def test_what_is_there_already_is_ok_and_stays_as_it_is(source: Source, folder: Path) -> None:
    builds = store(folder, source)
    first, _ = builds.make("debug", QUIET)
    inode = (folder / first.id / "environmentd").stat().st_ino

    again, step = builds.make("debug", QUIET)

    assert step.status is Status.OK
    assert again == first
    assert (folder / first.id / "environmentd").stat().st_ino == inode
    optimized, step = builds.make("optimized", QUIET)
    assert step.status is Status.CHANGED
    assert optimized.id != first.id
    assert optimized.files == first.files


def test_a_damaged_copy_is_replaced_and_what_lies_beside_it_stays(
    source: Source, folder: Path
) -> None:
    builds = store(folder, source)
    build, _ = builds.make("debug", QUIET)
    (folder / build.id / "clusterd").write_bytes(b"cut off")
    (folder / build.id / "launch.json").write_text("{}")

    again, step = builds.make("debug", QUIET)

    assert step.status is Status.CHANGED
    assert again.id == build.id
    assert all(each.passed for each in builds.check(again))
    assert (folder / build.id / "launch.json").read_text() == "{}"
    assert kept(folder) == [build.id]


def test_the_build_asked_for_last_is_the_newest(source: Source, folder: Path) -> None:
    builds = store(folder, source)
    old, _ = builds.make("debug", QUIET)
    write_pair(source.root / "behaviour/next", "v1.0.1-dev (abcdef013)")
    new, _ = builds.make("debug", QUIET)
    assert builds.find("debug") == new
    assert new.id != old.id

    write_pair(source.root / "behaviour/next")
    back, step = builds.make("debug", QUIET)

    assert (back, step.status) == (old, Status.OK)
    assert builds.find("debug") == old
    assert builds.all() == (old, new)


def test_edits_are_part_of_what_a_build_is_of(source: Source, folder: Path) -> None:
    source.edit("fn main() { edited(); }\n")
    build, step = store(folder, source).make("debug", QUIET)
    assert build.dirty == source.checkout.identity().dirty != ""
    assert "uncommitted" in step.why


def test_no_checkout_and_no_such_profile(source: Source, folder: Path) -> None:
    with pytest.raises(PreconditionError) as refused:
        store(folder).make("debug", QUIET)
    assert refused.value.code == "build.no-checkout"
    with pytest.raises(UsageError) as unknown:
        store(folder, source).make("optimised", QUIET)
    assert unknown.value.code == "build.unknown-profile"
    assert "optimized" in unknown.value.remedy
    assert kept(folder) == []


def test_binaries_in_another_target_directory(
    source: Source, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    source.compiles_by(f"mkdir -p {elsewhere}/debug && cp behaviour/next/* {elsewhere}/debug")
    with pytest.raises(PreconditionError) as lost:
        store(folder, source).make("debug", QUIET)
    assert lost.value.code == "build.no-binaries"
    assert "CARGO_TARGET_DIR" in lost.value.remedy

    monkeypatch.setenv("CARGO_TARGET_DIR", str(elsewhere))
    assert store(folder, source).make("debug", QUIET)[1].status is Status.CHANGED


@pytest.mark.parametrize("whole_path", [False, True])
def test_binaries_of_somebody_else_are_adopted(
    folder: Path, tmp_path: Path, whole_path: bool
) -> None:
    theirs = write_pair(tmp_path / "theirs")
    (tmp_path / "linked").mkdir()
    for each in theirs.iterdir():
        (tmp_path / "linked" / each.name).symlink_to(each)
    named = tmp_path / "linked" / ("environmentd" if whole_path else "")

    build, step = store(folder).adopt("optimized", named, QUIET)

    assert step.status is Status.CHANGED
    assert (build.profile, build.commit, build.dirty) == ("optimized", "abcdef012", "")
    assert str(tmp_path / "linked") in build.origin
    assert not (folder / build.id / "environmentd").is_symlink()
    assert store(folder).adopt("optimized", theirs, QUIET)[1].status is Status.OK


def _machine_of_another_kind(directory: Path) -> None:
    path = directory / "clusterd"
    content = bytearray(path.read_bytes())
    content[18:20] = (8).to_bytes(2, "little")
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (lambda d: (d / "environmentd").rename(d / "env"), "build.no-environmentd", "environmentd"),
        (lambda d: (d / "clusterd").rename(d / "clusterd-1"), "build.no-clusterd", "clusterd"),
        (lambda d: (d / "clusterd").write_text("#!/bin/sh\n"), "build.wrong-architecture", "ELF"),
        (lambda d: (d / "clusterd").write_bytes(b""), "build.wrong-architecture", "ELF"),
        (_machine_of_another_kind, "build.wrong-architecture", "machine 8"),
        (lambda d: (d / "clusterd").chmod(0o644), "build.not-executable", "clusterd"),
        (lambda d: write_program(d / "clusterd", "no", 3), "build.unusable", "exit code 3"),
    ],
)
def test_what_is_not_adopted(
    folder: Path, tmp_path: Path, spoil: object, code: str, said: str
) -> None:
    theirs = write_pair(tmp_path / "theirs")
    assert callable(spoil)
    spoil(theirs)

    for attempt in (
        lambda: store(folder).adopt("debug", theirs, QUIET),
        lambda: store(folder).foresee("debug", theirs),
    ):
        with pytest.raises(LabError) as refused:
            attempt()
        assert refused.value.code == code
        assert said in f"{refused.value.what} {refused.value.why}"
        assert refused.value.remedy
    assert kept(folder) == []


def test_a_program_that_lacks_a_library(folder: Path, tmp_path: Path) -> None:
    theirs = write_pair(tmp_path / "theirs")
    library = tmp_path / "libown.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", library],
        input=b"int own(void) { return 0; }",
        check=True,
    )
    subprocess.run(
        ["cc", "-x", "c", "-", "-x", "none", library, "-o", theirs / "clusterd"],
        input=b'#include <stdio.h>\nint own(void);\nint main(void) { puts("v1.0.0-dev (a)");'
        b" return own(); }",
        check=True,
    )
    builds = store(folder)
    build, _ = builds.adopt("debug", theirs, QUIET)
    library.unlink()

    with pytest.raises(ExternalError) as refused:
        builds.adopt("optimized", theirs, QUIET)
    assert "libown.so" in refused.value.why
    failed = {each.name: each for each in builds.check(build) if not each.passed}
    assert sorted(failed) == ["libraries", "version"]
    assert "libown.so" in failed["libraries"].found


def test_doubts_about_adopted_binaries_are_told(folder: Path, tmp_path: Path) -> None:
    theirs = write_pair(tmp_path / "target/debug")
    assert "directory debug" in store(folder).adopt("optimized", theirs, QUIET)[1].why
    assert "directory" not in store(folder).adopt("debug", theirs, QUIET)[1].why
    write_program(theirs / "clusterd", "clusterd v0.9.0")
    assert "clusterd is v0.9.0" in store(folder).adopt("debug", theirs, QUIET)[1].why


def test_compiling_what_was_adopted_tells_what_it_is_of(source: Source, folder: Path) -> None:
    builds = store(folder, source)
    adopted, _ = builds.adopt("debug", source.root / "behaviour/next", QUIET)

    made, step = builds.make("debug", QUIET)

    assert step.status is Status.CHANGED
    assert (made.id, made.made_at) == (adopted.id, adopted.made_at)
    assert made.commit == source.git("rev-parse", "HEAD").strip()
    assert builds.make("debug", QUIET)[1].status is Status.OK


def test_what_would_be_done(source: Source, folder: Path) -> None:
    builds = store(folder, source)
    theirs = source.root / "behaviour/next"
    assert builds.foresee("debug").status is Status.WOULD_CHANGE
    foreseen = builds.foresee("optimized", theirs)
    assert foreseen.status is Status.WOULD_CHANGE
    assert kept(folder) == []
    assert not (source.root / "target").exists()

    made, _ = builds.make("debug", QUIET)
    adopted, _ = builds.adopt("optimized", theirs, QUIET)

    assert adopted.id in "".join(foreseen.diff)
    assert builds.foresee("optimized", theirs).status is Status.OK
    now = builds.foresee("debug")
    assert (now.status, made.id in now.why) == (Status.OK, True)
    source.edit("fn main() { edited(); }\n")
    assert builds.foresee("debug").status is Status.WOULD_CHANGE


def test_a_copy_that_does_not_fit(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(shutil.disk_usage(tmp_path).free + (1 << 30))

    with pytest.raises(PreconditionError) as refused:
        copy_programs({"environmentd": large}, target, QUIET)

    assert refused.value.code == "disk.full"
    assert "GB" in refused.value.why


def test_a_copy_of_many_pieces(tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * 37 + b"the end"
    (tmp_path / "large").write_bytes(content)
    (tmp_path / "target").mkdir()
    copy_programs({"environmentd": tmp_path / "large"}, tmp_path / "target", QUIET)
    assert (tmp_path / "target/environmentd").read_bytes() == content


def test_a_command_killed_while_copying_leaves_nothing_that_counts(
    source: Source, folder: Path
) -> None:
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from builds_support import store; from lab.core.progress import SilentProgress\n"
        "store(Path(sys.argv[2])).adopt('debug', Path(sys.argv[3]), SilentProgress())\n"
    )
    theirs = source.root / "behaviour/next"
    killed = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parents[1]), str(folder), str(theirs)],
        env={**os.environ, "LAB_KILL_AT": "build.copied:after"},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(kept(folder)) == 1
    assert store(folder).all() == ()

    build, _ = store(folder).adopt("debug", theirs, QUIET)

    assert kept(folder) == [build.id]


@pytest.mark.parametrize(
    ("damage", "failing"),
    [
        (lambda d: (d / "clusterd").unlink(), {"files"}),
        (lambda d: (d / "clusterd").chmod(0o644), {"executable"}),
        (lambda d: (d / "environmentd").write_bytes(b"x"), {"content", "architecture", "version"}),
        (_machine_of_another_kind, {"content", "architecture", "version"}),
        (lambda d: write_program(d / "clusterd", "clusterd v9"), {"content", "version"}),
        (lambda d: write_pair(d, "v9"), {"content", "version"}),
    ],
)
def test_what_a_check_finds(
    source: Source, folder: Path, damage: object, failing: set[str]
) -> None:
    builds = store(folder, source)
    build, _ = builds.make("debug", QUIET)
    assert all(each.passed for each in builds.check(build))
    assert callable(damage)
    damage(folder / build.id)

    failed = [each for each in builds.check(build) if not each.passed]

    assert {each.name for each in failed} == failing
    assert all(each.remedy for each in failed)


def test_a_check_says_where_the_checkout_has_got_to(source: Source, folder: Path) -> None:
    builds = store(folder, source)
    build, _ = builds.make("debug", QUIET)

    def said() -> str:
        return next(each.found for each in builds.check(build) if each.name == "commit")

    assert "as the checkout is now" in said()
    source.edit("fn main() { edited(); }\n")
    assert "other than that now" in said()
    unknown = msgspec.structs.replace(build, commit="")
    assert not next(each for each in builds.check(unknown) if each.name == "commit").passed


def _record(folder: Path, id_: str, profile: str = "debug") -> Build:
    build = Build(id=id_, profile=profile, files={})
    write_struct(folder / id_ / "build.json", build)
    return msgspec.structs.replace(build, directory=str(folder / id_))


def test_builds_are_found_by_id_and_by_profile(folder: Path) -> None:
    builds = store(folder)
    with pytest.raises(UsageError) as none:
        builds.find("debug")
    assert "build.debug" in none.value.remedy
    one = _record(folder, "abcd00000001")
    two = _record(folder, "abcd00000002", "optimized")
    _record(folder, "abcd00000003")
    (folder / "not-a-build").mkdir()

    assert builds.find("abcd00000001") == one
    assert builds.find("optimized") == two
    assert builds.find("debug").id == "abcd00000003"
    with pytest.raises(UsageError) as several:
        builds.find("abcd0000")
    assert several.value.code == "build.ambiguous"
    for wanted, near in (("abc", ""), ("abce00000001", "abcd00000001"), ("debugg", "debug")):
        with pytest.raises(UsageError) as unknown:
            builds.find(wanted)
        assert unknown.value.code == "build.unknown"
        assert near in unknown.value.remedy


def test_pruning_keeps_the_newest_and_what_runs(folder: Path) -> None:
    ids = [f"aaaa0000000{number}" for number in range(4)]
    for id_ in ids:
        _record(folder, id_)
    _record(folder, "bbbb00000000", "optimized")
    (folder / ".partial-x").mkdir()
    running = (folder / ids[0] / "environmentd",)
    before = kept(folder)
    builds = store(folder, running=running)

    foreseen = builds.prune(1, check=True)
    assert kept(folder) == before
    done = builds.prune(1, check=False)

    assert kept(folder) == [ids[0], ids[3], "bbbb00000000"]
    assert [each.name for each in foreseen] == [each.name for each in done]
    assert {each.status for each in foreseen} == {Status.WOULD_CHANGE, Status.SKIPPED}
    statuses = {each.name: each.status for each in done}
    assert statuses == {
        f"build {ids[0]}": Status.SKIPPED,
        f"build {ids[1]}": Status.CHANGED,
        f"build {ids[2]}": Status.CHANGED,
        "leftover": Status.CHANGED,
    }
    assert [each.status for each in store(folder).prune(9, check=False)] == [Status.OK]
    store(folder).prune(0, check=False)
    assert kept(folder) == []


def test_the_build_that_runs_is_known(source: Source, folder: Path, tmp_path: Path) -> None:
    builds = store(folder, source)
    write_pair(source.root / "target/optimized")
    running = source.root / "target/optimized/environmentd"
    link = tmp_path / "environmentd"
    link.symlink_to(running)

    loose = builds.identify(link)
    assert loose is not None
    assert (loose.profile, loose.directory) == ("optimized", "")
    assert (loose.version, loose.commit) == ("v1.0.0-dev (abcdef012)", "abcdef012")
    build, _ = builds.adopt("optimized", source.root / "behaviour/next", QUIET)
    assert loose.id == build.id

    assert builds.identify(link) == build
    assert builds.identify(folder / build.id / "environmentd") == build
    assert builds.identify(Path(f"{running} (deleted)")) is None
    assert builds.identify(tmp_path / "none") is None
    write_program(running, "environmentd v2.0.0 (abcdef019)")
    replaced = builds.identify(running)
    assert replaced is not None
    assert replaced.id != build.id
    elsewhere = write_pair(tmp_path / "elsewhere", "v3")
    unknown = builds.identify(elsewhere / "environmentd")
    assert unknown is not None
    assert (unknown.profile, unknown.commit) == ("", "")


def test_an_unchanged_file_is_not_read_again(folder: Path, tmp_path: Path) -> None:
    theirs = write_pair(tmp_path / "theirs")
    folder.parent.mkdir(parents=True)
    first = store(folder).identify(theirs / "environmentd")
    (folder / "hashes.json").write_bytes(
        re.sub(rb'"[0-9a-f]{64}"', b'"remembered"', (folder / "hashes.json").read_bytes())
    )
    again = store(folder).identify(theirs / "environmentd")
    assert first is not None
    assert again is not None
    assert set(again.files.values()) == {"remembered"}
    times = (theirs / "environmentd").stat()
    with (theirs / "environmentd").open("r+b") as file:
        file.write(b"\x7f")
    os.utime(theirs / "environmentd", ns=(times.st_atime_ns, times.st_mtime_ns))
    changed = store(folder).identify(theirs / "environmentd")
    assert changed is not None
    assert changed.files["environmentd"] == first.files["environmentd"]
    (folder / "hashes.json").write_text("broken")
    assert store(folder).identify(theirs / "environmentd") == first


def test_looking_makes_no_workspace(folder: Path, tmp_path: Path) -> None:
    theirs = write_pair(tmp_path / "theirs")
    store(folder).identify(theirs / "environmentd")
    store(folder).foresee("debug", theirs)
    assert not folder.parent.exists()


def test_binaries_that_are_replaced_meanwhile(source: Source, folder: Path) -> None:
    class Meddling(Watching):
        def stage(self, title: str, *, total: int, unit: str):  # type: ignore[no-untyped-def]
            write_pair(source.root / "behaviour/next", "v2")
            return super().stage(title, total=total, unit=unit)

    with pytest.raises(PreconditionError) as refused:
        store(folder).adopt("debug", source.root / "behaviour/next", Meddling())

    assert refused.value.code == "build.replaced"
    assert kept(folder) == []
