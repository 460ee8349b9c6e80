"""The stand-in for environmentd, run as a user would run the real one."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
from standin import make_checkout

from lab.core.progress import SilentProgress
from lab.servers.postgres import EmbeddedServer

READY_S = 30.0


@dataclass
class Metadata:
    """A PostgreSQL with a database for the metadata of one environment."""

    server: EmbeddedServer
    url: str

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.url, autocommit=True)


@contextlib.contextmanager
def metadata_store(root: Path, **settings: str) -> Iterator[Metadata]:
    server = EmbeddedServer(
        states=root / "states",
        environments=root / "environments",
        name="metadata",
        user_settings=settings,
        base=root / "base",
    )
    server.start(SilentProgress())
    try:
        with server.connect("postgres", "test") as connection:
            connection.autocommit = True
            connection.execute("CREATE DATABASE materialize")
            info = connection.info
            password = urllib.parse.quote(info.password, safe="")
            url = f"postgres://{info.user}:{password}@127.0.0.1:{info.port}/materialize"
        yield Metadata(server, url)
    finally:
        server.stop(SilentProgress())


@dataclass
class Environment:
    """A checkout with the metadata store and the ports that it is to use."""

    root: Path
    checkout: Path
    metadata: Metadata
    first_port: int
    started: list[subprocess.Popen] = field(default_factory=list)
    log: Path = Path()

    def __post_init__(self) -> None:
        self.log = self.root / "environmentd.log"

    @property
    def environment_id(self) -> str:
        return (self.checkout / "mzdata" / "environment-id").read_text()

    def command(self, *flags: str, **moved: int) -> list[str]:
        port = moved.get("pubsub", self.first_port + 4)
        return [
            str(self.checkout / "bin" / "environmentd"),
            f"--postgres={self.metadata.url}",
            *flags,
            "--",
            f"--internal-persist-pubsub-listen-addr=127.0.0.1:{port}",
        ]

    def build(self, *flags: str) -> subprocess.CompletedProcess:
        command = [str(self.checkout / "bin" / "environmentd"), *flags, "--build-only"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def start(self, *flags: str, command: list[str] | None = None, **variables: str):
        """Start it, through `bin/environmentd` or by a command, and do not wait."""
        with self.log.open("a") as log:
            process = subprocess.Popen(
                command or self.command(*flags),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=os.environ | variables,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def up(self, *flags: str, command: list[str] | None = None, **variables: str):
        """Start it and wait until it is ready."""
        process = self.start(*flags, command=command, **variables)
        wait_until(lambda: process.poll() is not None or self.ready())
        assert process.poll() is None, self.log.read_text()
        return process

    def ready(self) -> bool:
        return self.get("/api/readyz") == (200, "ready")

    def get(self, path: str, data: bytes | None = None, port: int = 3, **headers: str):
        """Return status and body; status 0 where nobody answers."""
        url = f"http://127.0.0.1:{self.first_port + port}{path}"
        try:
            request = urllib.request.Request(url, data, headers)
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def connect(self, user: str = "materialize", **more) -> psycopg.Connection:
        port = self.first_port + (2 if user.startswith("mz_") else 0)
        options = {"connect_timeout": 10, "options": "--welcome_message=off"} | more
        return psycopg.connect(
            host="127.0.0.1", port=port, user=user, dbname="materialize", autocommit=True, **options
        )

    def processes(self, name: str) -> list[psutil.Process]:
        """Return the living processes whose executable has that name and lies under the root."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                executable = Path(process.exe())
                living = process.status() != psutil.STATUS_ZOMBIE
                if living and executable.name == name and self.root in executable.parents:
                    found.append(process)
        return found

    def server(self) -> psutil.Process:
        (found,) = self.processes("environmentd")
        return found

    def stop(self) -> None:
        """End environmentd as an interrupt of the wrapper does, and what else is left."""
        for process in self.started:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in self.started:
            process.wait(15)
        self.started.clear()
        left = [*self.processes("environmentd"), *self.processes("clusterd")]
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        wait_until(lambda: not self.processes("environmentd") + self.processes("clusterd"))


@contextlib.contextmanager
def environment(metadata: Metadata, **settings) -> Iterator[Environment]:
    """Make a checkout, for an environment of its own in the metadata store, and take it away."""
    with root_folder() as root:
        first_port = free_ports()
        checkout = make_checkout(root / "checkout", first_port=first_port, **settings)
        made = Environment(root, checkout, metadata, first_port)
        try:
            yield made
        finally:
            made.stop()
            forget_sockets(made)


@contextlib.contextmanager
def root_folder() -> Iterator[Path]:
    """Make a folder that every user may pass through."""
    root = Path(tempfile.mkdtemp(prefix="ddl-lab-standin-"))
    root.chmod(0o755)
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def forget_sockets(made: Environment) -> None:
    file = made.checkout / "mzdata" / "environment-id"
    if file.exists():
        shutil.rmtree(Path(tempfile.gettempdir()) / f"environmentd-{file.read_text()}", True)


def free_ports(count: int = 5) -> int:
    """Return the first of several ports in a row that nobody holds, below the ephemeral ones."""
    # Test runners side by side have neighbouring pids, and each may run several environments.
    for first in range(20000 + os.getpid() % 119 * 100, 32000, 10):
        with contextlib.ExitStack() as held:
            try:
                for port in range(first, first + count):
                    probe = held.enter_context(socket.socket())
                    probe.bind(("0.0.0.0", port))
            except OSError:
                continue
            return first
    raise AssertionError("no ports are free")


def wait_until(condition: Callable[[], bool], seconds: float = READY_S) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.03)
    return True
