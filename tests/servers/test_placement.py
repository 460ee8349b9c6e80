"""Where root's server has its files, and how an ordinary user's has them in place."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lab.core.errors import PreconditionError
from lab.core.progress import SilentProgress
from lab.servers import binaries, placement
from lab.servers.accounts import SYSTEM_USER, Account, account_for
from lab.servers.postgres import EmbeddedServer
from lab.servers.records import Condition

QUIET = SilentProgress()
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's server needs another user")

AS_USER = """
import os, sys
from pathlib import Path
# All that is imported later lies where the ordinary user may not look.
import filelock, psutil, psycopg, psycopg.pq, encodings.idna, importlib.metadata
from lab.core.progress import SilentProgress
from lab.servers.binaries import Binaries
from lab.servers.postgres import EmbeddedServer
root, programs, uid, gid = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
if uid != os.geteuid():
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
server = EmbeddedServer(
    states=root / "states", environments=root / "environments", name="main", user_settings={},
    binaries=Binaries(programs))
print(*server.start(SilentProgress()))
with server.connect("postgres", "ddl-lab test") as connection:
    print(connection.execute("SELECT 40 + 2").fetchone())
process = server.inspect().process
print("uid", __import__("psutil").Process(process.pid).uids().effective)
print(*server.stop(SilentProgress()))
print(*server.reset(SilentProgress()))
"""


def roomy_memory() -> str | None:
    """Return a file system in memory where there is a large one: tests wait for no disk there."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > 1e9 else None


@pytest.fixture
def folders():
    made = []

    def make(mode: int) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="ddl-lab-test-", dir=roomy_memory()))
        folder.chmod(mode)
        made.append(folder)
        return folder

    yield make
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)


def make_server(workspace: Path, base: Path, **changes) -> EmbeddedServer:
    return EmbeddedServer(
        states=workspace / "states",
        environments=workspace / "environments",
        name="main",
        user_settings={},
        base=base,
        **changes,
    )


@as_root
def test_out_of_reach_the_files_lie_elsewhere(folders):
    workspace, base, hidden = folders(0o700), folders(0o755), folders(0o700)
    package = binaries.shipped().root.parent
    shutil.copytree(package, hidden / "site" / package.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    shutil.copytree(libraries, hidden / "site" / libraries.name)
    programs = binaries.Binaries(hidden / "site" / package.name / "pginstall")

    server = make_server(workspace, base, binaries=programs)
    server.start(QUIET)
    try:
        assert server.link.is_symlink()
        assert server.folder.parent == base / "states"
        found = server.inspect()
        assert found.process.executable.startswith(f"{base}/postgresql-")
        assert workspace.stat().st_mode & 0o777 == 0o700
        assert server.data.owner() == SYSTEM_USER

        # `.lab` is removed while the server runs: the next start finds state and server again.
        shutil.rmtree(workspace / "states")
        shutil.rmtree(workspace / "environments")
        again = make_server(workspace, base, binaries=programs)
        assert again.inspect().condition is Condition.ABSENT
        (step,) = again.start(QUIET)
        assert "already running" in step.why
        assert again.inspect().process == found.process

        # A copy of the workspace is not let into the state of the original.
        copy = folders(0o700)
        subprocess.run(["cp", "-a", f"{workspace}/states", str(copy)], check=True)
        with pytest.raises(PreconditionError) as caught:
            make_server(copy, base).start(QUIET)
        assert caught.value.code == "state.shared"

        # A workspace that was moved keeps its state.
        moved = folders(0o700)
        (workspace / "states").rename(moved / "states")
        assert make_server(moved, base).inspect().process == found.process
        server = make_server(moved, base)
    finally:
        server.reset(QUIET)
    assert not server.link.is_symlink()
    assert list((base / "states").iterdir()) == []


@as_root
def test_the_system_user_is_made_once():
    first = account_for(Path("/nonexistent"))
    assert first.name == SYSTEM_USER
    assert first.uid != 0
    assert account_for(Path("/nonexistent")) == first
    assert pwd.getpwnam(SYSTEM_USER).pw_shell.endswith("nologin")


@as_root
def test_a_state_that_went_out_of_reach_is_named(folders):
    workspace, base = folders(0o755), folders(0o755)
    account = account_for(workspace / "nothing")
    folder = placement.place(workspace / "states" / "main", account, base)
    assert folder == workspace / "states" / "main"
    workspace.chmod(0o700)
    with pytest.raises(PreconditionError) as caught:
        placement.place(workspace / "states" / "main", account, base)
    assert caught.value.code == "state.unreachable"
    assert workspace.stat().st_mode & 0o777 == 0o700


@as_root
def test_a_state_of_another_user_is_refused(folders):
    workspace, base = folders(0o755), folders(0o755)
    server = make_server(workspace, base)
    server.data.mkdir(parents=True)
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        try:
            server.inspect()
        except PreconditionError as error:
            os._exit(7 if error.code == "state.owner" else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.mark.parametrize(
    ("mode", "owner", "group", "enters"),
    [
        (0o700, 1, 1, False),
        (0o711, 1, 1, True),
        (0o710, 1, 2000, True),
        (0o710, 1, 1, False),
        (0o100, 1000, 1, True),
        (0o677, 1000, 2000, False),
    ],
)
@as_root
def test_who_may_enter(folders, mode, owner, group, enters):
    folder = folders(0o755) / "folder"
    folder.mkdir()
    os.chown(folder, owner, group)
    folder.chmod(mode)
    assert Account("someone", 1000, 2000).can_enter(folder) is enters


def test_an_ordinary_user_needs_no_root(folders):
    workspace, public = folders(0o755), folders(0o755)
    uid, gid = os.geteuid(), os.getegid()
    programs = binaries.shipped()
    if uid == 0:
        nobody = pwd.getpwnam("nobody")
        uid, gid = nobody.pw_uid, nobody.pw_gid
        os.chown(workspace, uid, gid)
        programs = binaries.runnable(programs, Account("nobody", uid, gid), public)
    done = subprocess.run(
        [sys.executable, "-c", AS_USER, str(workspace), str(programs.root), str(uid), str(gid)],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        umask=0o077,
    )
    assert done.returncode == 0, done.stderr
    assert "(42,)" in done.stdout
    assert f"uid {uid}" in done.stdout
    assert list((workspace / "states").iterdir()) == []
