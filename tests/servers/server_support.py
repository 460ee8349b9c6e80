"""Servers for the tests: made, found, killed, and taken away again."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from lab.core.killpoints import VARIABLE
from lab.core.processes import ProcessIdentity
from lab.core.progress import SilentProgress
from lab.servers import launch
from lab.servers.postgres import EmbeddedServer
from lab.servers.records import Condition

QUIET = SilentProgress()
START = """
import sys
from pathlib import Path
from lab.core.progress import SilentProgress
from lab.servers.postgres import EmbeddedServer
root = Path(sys.argv[1])
server = EmbeddedServer(
    states=root / "states", environments=root / "environments", name="main", user_settings={})
for step in getattr(server, sys.argv[2])(SilentProgress()):
    print(step.name, step.status.value, step.why)
"""


class Listening(SilentProgress):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def make_server(root: Path, **changes) -> EmbeddedServer:
    arguments = {
        "states": root / "states",
        "environments": root / "environments",
        "name": "main",
        "user_settings": {},
        "base": root / "base",
    }
    return EmbeddedServer(**(arguments | changes))


def start_elsewhere(
    root: Path, kill_at: str = "", action: str = "start"
) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", START, str(root), action],
        env=os.environ | {VARIABLE: kill_at},
        capture_output=True,
        text=True,
        check=False,
    )


def postmasters(root: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            arguments = process.cmdline()
        except psutil.Error:
            continue
        if len(arguments) > 2 and arguments[1] == "-D" and arguments[2].startswith(f"{root}/"):
            found.append(process.pid)
    return found


def open_folder() -> Path:
    """Make a folder that every user may pass through, in memory where there is enough of it."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1e9
    root = Path(tempfile.mkdtemp(prefix="ddl-lab-test-", dir=memory if roomy else None))
    root.chmod(0o755)
    return root


def clean_up(root: Path) -> None:
    for pid in postmasters(root):
        # By an immediate shutdown where it can be: a killed server leaves its shared memory behind.
        process = ProcessIdentity.of(pid)
        for number in (signal.SIGCONT, signal.SIGQUIT, signal.SIGKILL) if process else ():
            process.send(number)
            if number != signal.SIGCONT:
                launch.wait_until(lambda gone=process: not gone.alive(), 10)
    shutil.rmtree(root, ignore_errors=True)


def query(server: EmbeddedServer, sql: str):
    with server.connect("postgres", "ddl-lab test") as connection:
        cursor = connection.execute(sql)
        return cursor.fetchone() if cursor.description else None


def kill(server: EmbeddedServer) -> int:
    pid = server.inspect().process.pid
    os.kill(pid, signal.SIGKILL)
    assert launch.wait_until(lambda: server.inspect().condition is Condition.CRASHED, 10)
    return pid
