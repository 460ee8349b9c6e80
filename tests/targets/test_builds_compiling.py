"""Compiling a checkout: what is shown, what is kept, what is said when it fails."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from builds_support import SUCCEED, Source, Watching, store
from hypothesis import given
from hypothesis import strategies as st

from lab.core.errors import ExternalError, LabError, PreconditionError, StateMismatchError
from lab.targets.materialize import cargo

OUTPUT = b"""\
   Compiling mz-ore v0.1.0 (/home/me/src/ore)
    Building [             ] 0/412: mz-ore                           \rwarning: unused variable: `y`
  --> src/ore/src/lib.rs:15:17
   |

    Building [=====>       ] 207/412: mz-sql, mz-repr(build), mz-...  \r    Blocking waiting for \
file lock on build directory
error[E0308]: mismatched types
 --> src/main.rs:1:26
  |

    Building [============>] 411/412: environmentd(bin)               \rerror: could not compile
"""
FAILED_SCRIPT = """\
error: failed to run custom build command for `demo v0.1.0`
note: a note

Caused by:
  process didn't exit successfully: `build-script-build` (exit status: 101)
  --- stderr
  protoc is missing

  thread 'main' panicked

   Compiling other
error: build failed
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "workspace/.lab/builds"


def lines_of(pieces: list[bytes]) -> list[tuple[str, bool]]:
    watch = cargo.Watch()
    return [line for piece in pieces for line in watch.take(piece)]


@given(st.lists(st.integers(0, len(OUTPUT)), max_size=12))
def test_lines_are_the_same_however_they_arrive(cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), len(OUTPUT)]
    pieces = [OUTPUT[start:end] for start, end in itertools.pairwise(ends)]

    lines = lines_of(pieces)

    assert lines == lines_of([OUTPUT])
    assert [line for line, told in lines if told] == [
        "    Blocking waiting for file lock on build directory"
    ]
    text = "\n".join(line for line, _ in lines)
    assert "Building" not in text
    assert text.count("error") == 2
    assert "warning: unused variable: `y`" in text


def test_the_bar_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cargo, "INTERVAL_S", 0.0)
    watch = cargo.Watch()
    assert watch.report() == ""
    list(watch.take(OUTPUT[: OUTPUT.index(b"    Blocking")]))
    said = watch.report()
    assert said.startswith("Compiling: 207 of 412 crates, ")
    assert said.endswith(": mz-sql, mz-repr(build), mz-...")
    assert "/s, " in said
    assert "left" in said


def test_the_first_error_is_found() -> None:
    text = "\n".join(line for line, _ in lines_of([OUTPUT]))
    assert cargo.first_error(text).splitlines() == [
        "error[E0308]: mismatched types",
        " --> src/main.rs:1:26",
        "  |",
    ]
    with_causes = cargo.first_error(FAILED_SCRIPT)
    assert "protoc is missing" in with_causes
    assert "panicked" in with_causes
    assert "build failed" not in with_causes
    assert cargo.first_error("   Compiling demo\nwarning: error: no\n") == ""


@given(st.text(alphabet="error: \nCausdby[E0]", max_size=400), st.integers(0, 40))
def test_an_error_is_never_long(text: str, repeated: int) -> None:
    shown = cargo.first_error("error: x\n" + text * repeated).splitlines()
    assert 1 <= len(shown) <= 25
    assert all(len(line) <= 210 for line in shown)


def test_a_failed_build_shows_its_first_error(source: Source, folder: Path) -> None:
    (source.root / "behaviour/printed").write_bytes(OUTPUT)
    source.compiles_by("cat behaviour/printed >&2; exit 101")
    watching = Watching()

    with pytest.raises(ExternalError) as failed:
        store(folder, source).make("debug", watching)

    assert failed.value.code == "build.failed"
    assert "exit code 101" in failed.value.what
    assert failed.value.why.startswith("error[E0308]: mismatched types\n --> src/main.rs:1:26")
    log = folder / "build-debug.log"
    assert str(log) in failed.value.remedy
    assert "could not compile" in log.read_text()
    assert "Building [" not in log.read_text()
    assert any("another cargo is at work" in each for each in watching.said)
    assert not any("warning" in each for each in watching.said)


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("echo fatal: python v3.10.0+ required >&2; exit 1", "build.failed", "python v3.10.0+"),
        ("exit 9", "build.failed", "printed nothing"),
        ("kill -KILL $$", "build.failed", "signal 9"),
        ("PATH=/nowhere cargo build", "build.failed", "cargo is not on PATH"),
        ("echo 'error: rustc: signal: 9, SIGKILL' >&2; exit 1", "build.failed", "memory"),
        ("echo 'error: No space left on device' >&2; exit 1", "disk.full", "full"),
        ("echo \"error: toolchain '1.0' is not installed\" >&2; exit 1", "build.failed", "Install"),
    ],
)
def test_failures_that_the_code_is_not_to_blame_for(
    source: Source, folder: Path, script: str, code: str, said: str
) -> None:
    source.compiles_by(script)
    with pytest.raises(LabError) as failed:
        store(folder, source).make("debug", Watching())
    assert failed.value.code == code
    assert said in f"{failed.value.what} {failed.value.why} {failed.value.remedy}"


@pytest.mark.parametrize("fault", ["mode", "interpreter"])
def test_a_wrapper_that_cannot_be_run(source: Source, folder: Path, fault: str) -> None:
    wrapper = source.root / "bin/environmentd"
    if fault == "mode":
        wrapper.chmod(0o644)
    else:
        wrapper.write_text("#!/nowhere/python3\n")
    with pytest.raises(PreconditionError) as failed:
        store(folder, source).make("debug", Watching())
    assert failed.value.code == "build.not-runnable"


def test_the_compiler_sees_the_users_environment(
    source: Source, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_TARGET", "postgres")
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
    monkeypatch.setenv("CARGO_TERM_PROGRESS_WHEN", "never")
    monkeypatch.setenv("OF_THE_USER", "kept")
    monkeypatch.setenv("PATH", f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}")
    source.compiles_by("env > behaviour/seen; " + SUCCEED)

    store(folder, source).make("optimized", Watching())

    seen = dict(
        line.split("=", 1)
        for line in (source.root / "behaviour/seen").read_text().splitlines()
        if "=" in line
    )
    assert "LAB_TARGET" not in seen
    assert "VIRTUAL_ENV" not in seen
    assert seen["OF_THE_USER"] == "kept"
    assert seen["CARGO_TERM_PROGRESS_WHEN"] == "always"
    if sys.prefix != sys.base_prefix:
        assert str(Path(sys.prefix) / "bin") not in seen["PATH"].split(":")


def test_a_tree_that_changes_meanwhile_is_compiled_again(source: Source, folder: Path) -> None:
    source.compiles_by("echo run >> behaviour/runs; cp behaviour/runs new.rs; " + SUCCEED)
    with pytest.raises(StateMismatchError) as restless:
        store(folder, source).make("debug", Watching())
    assert restless.value.code == "build.tree-changed"

    (source.root / "behaviour/runs").unlink()
    source.compiles_by("echo run >> behaviour/runs; echo x > lock; " + SUCCEED)
    build, _ = store(folder, source).make("debug", Watching())
    assert build.dirty == source.checkout.identity().dirty
    assert (source.root / "behaviour/runs").read_text() == "run\nrun\n"


def test_a_daemon_that_keeps_the_pipe_open_holds_nothing_up(source: Source, folder: Path) -> None:
    source.compiles_by("sleep 30 & echo $! > behaviour/pid\n" + SUCCEED)
    started = time.monotonic()
    try:
        store(folder, source).make("debug", Watching())
        assert time.monotonic() - started < 15
    finally:
        os.kill(int((source.root / "behaviour/pid").read_text()), signal.SIGKILL)


@pytest.mark.parametrize("stubborn", [False, True])
def test_an_interrupt_ends_the_whole_group(
    source: Source, folder: Path, tmp_path: Path, stubborn: bool
) -> None:
    ignore = "trap '' INT TERM; " if stubborn else ""
    source.compiles_by(f"{ignore}sleep 60 & echo $$ $! > behaviour/pids; wait; wait; sleep 60")
    script = (
        "import sys; from pathlib import Path\n"
        "from lab.core.progress import PlainProgress\n"
        "from lab.targets.materialize import compiling\n"
        "from lab.targets.materialize.builds import BuildStore\n"
        "from lab.targets.materialize.checkout import Checkout\n"
        "compiling._PATIENCE_S = 1.0\n"
        "builds = BuildStore(Path(sys.argv[1]), Checkout(Path(sys.argv[2])), frozenset)\n"
        "builds.make('debug', PlainProgress(sys.stderr))\n"
    )
    command = [sys.executable, "-c", script, folder, source.root]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as lab:
        pids = _pids(source.root / "behaviour/pids")
        lab.send_signal(signal.SIGINT)
        _, said = lab.communicate(timeout=30)

    assert lab.returncode != 0
    assert "cargo goes on from here" in said
    deadline = time.monotonic() + 5
    while any(_alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _pids(path: Path) -> list[int]:
    deadline = time.monotonic() + 20
    while not path.exists() or len(path.read_text().split()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return [int(each) for each in path.read_text().split()]


def _alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
