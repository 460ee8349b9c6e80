"""The `clusterd` processes of an environment: started, adopted, watched.

Each has a directory beside its sockets, named after environment and replica, with a file ``0.pid``:
two lines, pid and start time in seconds since the epoch. One that still runs is adopted as it is.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from standin import log

REPLICAS = {"s2": "s2", "u1": "u1"}
"""Replica by cluster: the catalog's and the users'."""
_WATCH_S = 0.2
_RESTART_S = 1.0


def run_directory(environment_id: str) -> Path:
    """Return where the sockets and pid files of an environment are."""
    return Path(tempfile.gettempdir()) / f"environmentd-{environment_id}"


def adoptable(environment_id: str) -> list[int]:
    """Return the pids of the environment's living processes."""
    if not environment_id:
        return []
    files = run_directory(environment_id).glob("*/0.pid")
    return [pid for pid in map(living, files) if pid]


def living(pid_file: Path) -> int:
    """Return the pid of the process that the file names, 0 where it does not live any more."""
    try:
        pid, began = map(int, pid_file.read_text().split())
    except (OSError, ValueError):
        return 0
    return pid if start_time(pid) == began else 0


def start_time(pid: int) -> int:
    """Return when the process started, in seconds since the epoch; 0 where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0
    if fields[0] == "Z":
        return 0
    lines = Path("/proc/stat").read_text().splitlines()
    booted = next(int(line.split()[1]) for line in lines if line.startswith("btime"))
    return booted + int(fields[19]) // os.sysconf("SC_CLK_TCK")


class Orchestrator:
    """Keeps one process a replica running.

    ``executable`` is environmentd's own: `clusterd` is looked for beside it.
    """

    def __init__(self, environment_id: str, executable: Path, pubsub_url: str) -> None:
        self._directory = run_directory(environment_id)
        self._environment_id = environment_id
        self._program = executable.with_name("clusterd")
        self._pubsub_url = pubsub_url
        self._children: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start or adopt all, and watch them from now on."""
        for replica in REPLICAS.values():
            self._ensure(replica)
        threading.Thread(target=self._watch, name="orchestrator", daemon=True).start()

    def alive(self, replica: str) -> bool:
        """Say whether the replica's process lives."""
        return bool(living(self._folder(replica) / "0.pid"))

    def _folder(self, replica: str) -> Path:
        return self._directory / f"cluster-{replica}-replica-{replica}-gen-0"

    def _ensure(self, replica: str) -> None:
        folder = self._folder(replica)
        pid = living(folder / "0.pid")
        where = "mz_orchestrator_process"
        if pid:
            log.log(f"adopting cluster-{replica}-replica-{replica}-gen-0-0, pid {pid}", where=where)
            return
        folder.mkdir(parents=True, exist_ok=True)
        arguments = [
            str(self._program),
            f"--storage-controller-listen-addr={folder}/storagectl-0",
            f"--compute-controller-listen-addr={folder}/computectl-0",
            f"--persist-pubsub-url={self._pubsub_url}",
            f"--environment-id={self._environment_id}",
        ]
        name = f"cluster-{replica}-replica-{replica}-gen-0-0"
        log.log(f"launching {name} via {' '.join(arguments)}", where=where)
        try:
            child = subprocess.Popen(arguments, stdin=subprocess.DEVNULL)
        except OSError as error:
            log.log(f"{name} failed to start: {error}", level="WARN", where=where)
            return
        self._children.append(child)
        (folder / "0.pid").write_text(f"{child.pid}\n{start_time(child.pid)}\n")

    def _watch(self) -> None:
        while True:
            time.sleep(_WATCH_S)
            for child in self._children:
                child.poll()
            for replica in REPLICAS.values():
                if not self.alive(replica):
                    time.sleep(_RESTART_S)
                    self._ensure(replica)
