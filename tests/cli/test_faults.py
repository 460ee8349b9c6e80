"""What goes wrong around a session: each fault has its message and exit code, and loses nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lab_driver import KILLED, Driver, Result, make_driver, remove_driver

QUICK = ("--samples", "6", "--statements", "create-table")
LONG = ("--samples", "500", "--statements", "create-table,create-view")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")


@pytest.fixture
def lab(shared_driver: Driver) -> Iterator[Driver]:
    """A workspace of this module with at least one session in its log, and none open."""
    shared_driver.variables["LAB_MEASURE_MOST_SAMPLES"] = "6"
    if not headings(shared_driver):
        shared_driver.ok("session.measure", *QUICK)
    yield shared_driver
    if (shared_driver.workspace / ".lab/sessions/current.json").exists():
        shared_driver.run("session.abort")  # a test has failed


def headings(lab: Driver) -> int:
    log = lab.workspace / "ddl-perf-log.md"
    return log.read_text().count("\n### Session ") if log.exists() else 0


def evidence(lab: Driver) -> list[str]:
    folder = lab.workspace / "ddl-perf-evidence"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def process_id(lab: Driver) -> int:
    lab.ok("env.start")
    pid = lab.json("env.status").data["situation"]["process"]["pid"]
    assert isinstance(pid, int)
    return pid


def wait_for_run(process: subprocess.Popen[str]) -> None:
    """Wait until ``process`` says that it is in the middle of its run."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("Measuring"):
            return
    raise AssertionError(f"the run did not begin: {process.communicate()}")


def ends_in_one_entry(lab: Driver, entries: int, *words: str) -> Result:
    """Run ``words`` and check that exactly one entry has come to the ``entries`` of before."""
    result = lab.json(*(words or ("session.measure",)))
    assert result.code == 0, result.out + result.err
    assert headings(lab) == entries + 1
    assert lab.json("session.status").data == {"session": None}
    verified = lab.json("log.verify")
    assert verified.code == 0, verified.out
    return result


# The state of the environment


def test_another_number_of_objects_than_is_expected(lab: Driver) -> None:
    entries, before = headings(lab), evidence(lab)

    flag = lab.json("session.measure", "--objects", "5", *QUICK)
    declared = lab.json("session.measure", *QUICK, LAB_POPULATION_COUNT="7")
    started = lab.json("session.start", "--objects", "5")

    for result, count in ((flag, 5), (declared, 7), (started, 5)):
        assert result.code == 4
        assert result.error["code"] == "environment.unfit"
        assert f"objects: 0, expected {count}" in result.error["why"]
        assert f"`lab.seed --count {count}`" in result.error["next"]
        assert "`lab.up`" in result.error["next"]
    assert (headings(lab), evidence(lab)) == (entries, before)
    assert lab.json("session.status").data == {"session": None}


def test_what_check_foresees_is_what_happens(driver: Driver) -> None:
    driver.variables.update(LAB_MEASURE_MOST_SAMPLES="6", LAB_POPULATION_COUNT="3")

    for words in (["env.start"], ["lab.up", "--diff"], ["lab.down"]):
        before = _listing(driver)
        foreseen = driver.json(*words, "--check")
        assert _listing(driver) == before
        assert foreseen.code == 0
        assert foreseen.envelope["status"] == "would change"
        done = driver.json(*words)
        assert done.envelope["status"] == "changed"
        pairs = zip(foreseen.envelope["steps"], done.envelope["steps"], strict=True)
        for would, did in pairs:
            expected = "changed" if would["status"] == "would change" else would["status"]
            assert (did["name"], did["status"]) == (would["name"], expected)
        again = driver.json(*words, "--check")
        assert again.envelope["status"] == "ok", again.out
        assert not any(step["diff"] for step in again.envelope["steps"])


def test_a_session_is_foreseen_without_touching_anything(driver: Driver) -> None:
    driver.variables["LAB_MEASURE_MOST_SAMPLES"] = "6"
    driver.ok("session.start", "--goal", "Why?")
    driver.ok("session.measure", *QUICK)

    for task in ("session.measure", "session.finish", "session.abort", "session.note --text x"):
        before = _listing(driver)
        operation = driver.call("jj", "op", "log", "--limit=1", "--no-graph", "-T", "id")
        foreseen = driver.json(*task.split(), "--check")
        assert (foreseen.code, foreseen.envelope["status"]) == (0, "would change"), foreseen.err
        assert _listing(driver) == before, task
        now = driver.call("jj", "op", "log", "--limit=1", "--no-graph", "-T", "id")
        assert now == operation, task

    assert "session 1 would be appended" in driver.ok("session.finish", "--check").out
    assert driver.json("session.finish").data["session"] == 1


def _listing(lab: Driver) -> dict[str, tuple[int, int]]:
    """Return every file that is not a database's or a repository's own, with size and time."""
    passed_over = {"states", ".jj", ".git"}
    found = {}
    for path in lab.directory.rglob("*"):
        if path.is_file() and not passed_over & set(path.relative_to(lab.directory).parts):
            status = path.stat()
            found[str(path.relative_to(lab.directory))] = (status.st_size, status.st_mtime_ns)
    return found


# The server


def test_a_port_that_is_taken(driver: Driver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        refused = driver.json("session.measure", *QUICK, LAB_POSTGRES_PORT=port)

        assert refused.code == 3
        assert port in refused.error["what"]
        assert driver.json("session.status").data == {"session": None}
        assert headings(driver) == 0
    driver.variables.update(LAB_MEASURE_MOST_SAMPLES="6", LAB_POSTGRES_PORT=port)
    ends_in_one_entry(driver, 0, "session.measure", *QUICK)


def test_the_server_is_killed_in_the_middle_of_a_block(lab: Driver) -> None:
    entries, before = headings(lab), evidence(lab)
    pid = process_id(lab)

    measuring = lab.spawn("session.measure", *LONG, "--json", LAB_MEASURE_MOST_SAMPLES="500")
    wait_for_run(measuring)
    os.kill(pid, signal.SIGKILL)
    out, err = measuring.communicate(timeout=60)

    assert measuring.returncode == 6, out + err
    assert '"code": "run.void"' in out
    assert "`ddl-lab session.measure` measures anew" in err
    assert len(evidence(lab)) == len(before) + 1
    kept = (lab.workspace / "ddl-perf-evidence" / (set(evidence(lab)) - set(before)).pop()).stat()
    assert kept.st_size > 1000
    session = lab.json("session.status").data["session"]
    assert (session["number"], len(session["runs"])) == (entries + 1, 1)
    assert headings(lab) == entries
    refused = lab.json("session.measure", "--goal", "Something else")
    assert (refused.code, refused.error["code"]) == (4, "session.open")

    result = ends_in_one_entry(lab, entries)
    assert process_id(lab) != pid
    assert len(result.data["evidence"]) == 2
    entry = lab.ok("log.show", str(entries + 1)).out
    assert "This run is void" in entry
    for each in result.data["evidence"]:
        assert each["sha256"] in entry


def test_the_server_was_killed_before(lab: Driver) -> None:
    entries = headings(lab)
    os.kill(process_id(lab), signal.SIGKILL)

    result = ends_in_one_entry(lab, entries, "session.measure", *QUICK)

    started = next(step for step in result.envelope["steps"] if step["name"] == "environment")
    assert started["status"] == "changed"
    assert "recovered" in started["why"]


# Other commands


def test_another_command_at_work(lab: Driver) -> None:
    entries = headings(lab)
    lab.ok("session.start", "--goal", "Who comes first?")
    statements = "create-table,create-view,create-index,create-materialized-view,alter-rename"
    measuring = lab.spawn(
        *("session.measure", "--samples", "600", "--statements", statements),
        LAB_MEASURE_MOST_SAMPLES="600",
    )
    try:
        wait_for_run(measuring)
        # Held there, so that it is at work however fast this machine is.
        measuring.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        refused = lab.json("session.measure", *QUICK)
        assert time.monotonic() - began < 10
        assert (refused.code, refused.error["code"]) == (5, "workspace.busy")
        assert f"pid {measuring.pid}, session.measure" in refused.error["what"]
        for task in ("session.finish", "lab.seed --count 1", "env.stop"):
            assert lab.json(*task.split()).code == 5, task
        for task in ("session.status", "session.brief", "env.status", "log.list"):
            assert lab.json(task).code == 0, task
        lab.ok("session.note", "--finding", "Noted meanwhile.")
        assert measuring.poll() is None, "it ended before all of this was tried"
    finally:
        measuring.send_signal(signal.SIGCONT)
        measuring.terminate()
        measuring.communicate(timeout=60)
    lab.ok("session.measure", *QUICK)
    ends_in_one_entry(lab, entries, "session.finish")
    assert "Noted meanwhile." in lab.ok("log.show", str(entries + 1)).out


def test_many_writers_lose_nothing(lab: Driver) -> None:
    entries = headings(lab)
    lab.ok("session.start", "--goal", "Many at once")
    commands = [("session.note", "--text", f"Note {number:02d}.") for number in range(20)]
    commands += [("prompt.add", "--text", f"Step {number:02d}.") for number in range(10)]

    with ThreadPoolExecutor(len(commands)) as pool:
        results = list(pool.map(lambda words: lab.run(*words, timeout=120), commands))

    assert [result.code for result in results] == [0] * 30
    steps = [item["text"] for item in lab.json("prompt.list").data["items"]]
    assert sorted(each for each in steps if each.startswith("Step ")) == [
        f"Step {number:02d}." for number in range(10)
    ]
    ends_in_one_entry(lab, entries, "session.finish")
    entry = lab.ok("log.show", str(entries + 1)).out
    assert all(f"Note {number:02d}." in entry for number in range(20))


def test_a_note_that_comes_while_the_entry_is_written_is_kept_for_the_next(lab: Driver) -> None:
    entries = headings(lab)
    killed = lab.run("session.measure", *QUICK, LAB_KILL_AT="session.append:before")
    assert killed.code == KILLED

    late = lab.ok("session.note", "--text", "Too late for this one.")

    assert "next session" in late.out
    ends_in_one_entry(lab, entries)
    assert "Too late" not in lab.ok("log.show", str(entries + 1)).out
    ends_in_one_entry(lab, entries + 1, "session.measure", *QUICK)
    assert "Too late for this one." in lab.ok("log.show", str(entries + 2)).out


def test_two_workspaces_side_by_side() -> None:
    with contextlib.ExitStack() as stack:
        both = []
        for _ in range(2):
            made = make_driver()
            stack.callback(remove_driver, made)
            both.append(made)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda each: each.ok("env.start"), both))
        found = [each.json("env.status").data["situation"] for each in both]
        assert len({each["address"] for each in found}) == 2
        both[0].ok("env.stop")
        assert both[1].json("env.status").data["situation"] == found[1]


# The disk


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


# The version control


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
