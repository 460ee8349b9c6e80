"""A driver for the target materialize: a workspace, a checkout and five ports of its own.

The checkout is a stand-in (`standin.make_checkout`), or the one that ``LAB_TEST_MATERIALIZE``
names: with that the same tests run on a real environmentd.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from lab_driver import Driver, make_driver, remove_driver
from standin import Law, listener_config, make_checkout, missing_packages, set_faults

REAL = os.environ.get("LAB_TEST_MATERIALIZE", "")
standin_only = pytest.mark.skipif(bool(REAL), reason="a real environmentd has no such fault")


@dataclass
class MaterializeDriver(Driver):
    """Runs ``ddl-lab`` in a workspace whose target is materialize."""

    checkout: Path = Path()
    first_port: int = 0
    declared: dict[str, str] = field(default_factory=dict)

    def declare(self, *more: str, **settings: object) -> None:
        """Write lab.toml: ``settings`` of [materialize], and ``more`` lines after them."""
        known = {"checkout": self.checkout, "port": self.first_port, **settings}
        lines = [f"{name} = {_as_toml(value)}" for name, value in known.items()]
        text = "\n".join(['target = "materialize"', "[materialize]", *lines, *more])
        (self.directory / "lab.toml").write_text(text + "\n")

    def faults(self, **faults: object) -> None:
        """Set exactly these faults of the stand-in; none to clear all."""
        set_faults(self.checkout, **faults)

    @property
    def data_folder(self) -> Path:
        return self.workspace / ".lab/states/materialize/mzdata"

    @property
    def environments(self) -> Path:
        return self.workspace / ".lab/environments"

    @property
    def environment_id(self) -> str:
        return (self.data_folder / "environment-id").read_text().strip()

    @property
    def log(self) -> str:
        return (self.environments / "materialize.log").read_text()

    def connect(self, user: str = "materialize") -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.first_port + (2 if user.startswith("mz_") else 0),
            user=user,
            dbname="materialize",
            options="--welcome_message=off",
            connect_timeout=10,
            autocommit=True,
        )

    def execute(self, *statements: str) -> None:
        with contextlib.closing(self.connect()) as connection:
            for statement in statements:
                connection.execute(statement)

    def processes(self, *names: str) -> list[psutil.Process]:
        """Return what this workspace's commands launched and still lives, by executable's name."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                mine = process.environ().get("HOME") == str(self.home)
                living = process.status() != psutil.STATUS_ZOMBIE
                if mine and living and (not names or Path(process.exe()).name in names):
                    found.append(process)
        return found

    def servers(self) -> list[psutil.Process]:
        return self.processes("environmentd")

    def server(self) -> psutil.Process:
        (found,) = self.servers()
        return found

    @property
    def metadata_url(self) -> str:
        """The metadata store of the environmentd that runs."""
        return flag(self.server(), "--persist-consensus-url").partition("?")[0]

    def build_id(self, profile: str) -> str:
        """Return the id of the build of ``profile``, which is compiled where there is none."""
        return self.json(f"build.{profile}").data["build"]["id"]

    def by_hand(self, metadata_url: str, first_port: int = 0) -> list[str]:
        """Return the command by which somebody else starts the checkout on this lab's state."""
        first = first_port or self.first_port
        listeners = self.directory.parent / f"listeners-{first}.json"
        listeners.write_text(json.dumps(listener_config(first, "127.0.0.1")))
        return [
            str(self.checkout / "bin/environmentd"),
            f"--postgres={metadata_url}",
            f"--blob=file://{self.data_folder}/persist/blob",
            f"--listeners-config-path={listeners}",
            "--",
            f"--environment-id={self.environment_id}",
            f"--internal-persist-pubsub-listen-addr=127.0.0.1:{first + 4}",
        ]

    def workers(self) -> list[psutil.Process]:
        return self.processes("clusterd")

    def stores(self) -> list[psutil.Process]:
        """Return the processes of the metadata store in this workspace."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if any(str(self.directory) in word for word in process.cmdline()):
                    found += [process] if "postgres" in process.name() else []
        return found

    def kill(self, *processes: psutil.Process) -> None:
        """Kill processes of this workspace, and wait until they are gone."""
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        assert wait_until(lambda: not any(map(lives, processes)))

    def end(self) -> None:
        """End the whole tree at once; the metadata store goes on, so that a start is quicker."""
        self.kill(*self.processes())

    def step(self, result: Any, name: str = "environment") -> dict[str, Any]:
        return next(step for step in result.envelope["steps"] if step["name"] == name)


def flag(process: psutil.Process, name: str) -> str:
    """Return the last value of a flag that a process was launched with."""
    given = [word for word in process.cmdline() if word.startswith(f"{name}=")]
    return given[-1].partition("=")[2]


def check_of(data: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the check of `env.verify` whose name begins so."""
    return next(check for check in data["checks"] if check["name"].startswith(name))


@contextlib.contextmanager
def materialize_lab(
    *, law: Law | None = None, behaviour: dict[str, Any] | None = None, **settings: object
) -> Iterator[MaterializeDriver]:
    """Make a workspace and a checkout, and take away all of it; ``settings`` go to lab.toml."""
    if not REAL and missing_packages():
        pytest.skip(f"the stand-in needs {', '.join(missing_packages())}")
    made = make_driver()
    first = free_ports()
    checkout = Path(REAL) if REAL else made.directory.parent / "checkout"
    lab = MaterializeDriver(made.directory, made.home, checkout=checkout, first_port=first)
    lab.variables["LAB_MEASURE_MOST_SAMPLES"] = "6"
    try:
        if not REAL:
            known = {"boot_ms": 150.0, "build_seconds": 0.1, **(behaviour or {})}
            make_checkout(checkout, first_port=first, law=law, **known)
        lab.declare(**settings)
        yield lab
    finally:
        if not REAL:
            lab.faults()
        clean_up(lab)


def clean_up(lab: MaterializeDriver) -> None:
    """Stop all that is left of a lab, and remove its files."""
    lab.run("env.stop")
    lab.kill(*lab.processes("environmentd", "clusterd"))
    lab.kill(*lab.processes())
    for process in lab.stores():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGQUIT)
    remove_driver(lab)


def free_ports(count: int = 5) -> int:
    """Return the first of several ports in a row that nobody holds, below the ephemeral ones."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    start = 11000 + worker * 1500 + os.getpid() % 70 * 20
    for first in range(start, start + 1500, count):
        with contextlib.ExitStack() as held:
            try:
                for port in range(first, first + count):
                    probe = held.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError("no ports are free")


def lives(process: psutil.Process) -> bool:
    """Say whether a process runs; one that ended and that nobody has reaped does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.03)
    return True


def run_by_hand(lab: MaterializeDriver, *words: str, log: Path) -> subprocess.Popen[bytes]:
    """Run a program as somebody would at a terminal of his own, outside of the lab."""
    with log.open("ab") as output:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=lab.environment(),
            cwd=lab.checkout,
            start_new_session=True,
        )


def _as_toml(value: object) -> str:
    if isinstance(value, bool | int):
        return str(value).lower()
    return f'"{value}"'
