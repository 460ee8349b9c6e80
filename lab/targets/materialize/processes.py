"""The processes of an environment: environmentd, its clusterds, and the wrappers around them."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil

from lab.core.errors import LabTimeoutError
from lab.core.processes import ProcessIdentity
from lab.targets.materialize import recipe

TOKEN = "DDL_LAB_LAUNCH"  # noqa: S105  a name, and nothing secret
"""Whatever the lab launches has this variable; children inherit it, and outlive their parents."""

SERVER = "environmentd"
WORKER = "clusterd"
_DELETED = " (deleted)"
_END = ((signal.SIGTERM, 20.0), (signal.SIGKILL, 10.0))


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A process as it was found: who it is, its arguments, and the lab's token where it has one.

    ``self_checks`` is what ``MZ_SOFT_ASSERTIONS`` in its environment says; None where it is not
    there. ``executable`` is empty where it belongs to another user.
    """

    identity: ProcessIdentity
    arguments: tuple[str, ...]
    token: str = ""
    self_checks: bool | None = None

    @property
    def executable(self) -> Path:
        """The file that runs, without what the kernel appends once it was replaced."""
        return Path(self.identity.executable.removesuffix(_DELETED))

    @property
    def file(self) -> Path:
        """What the kernel says that runs: it marks a file that was removed or replaced.

        psutil takes that mark off, so that a build made since would be taken for what runs.
        """
        with contextlib.suppress(OSError):
            return Path(f"/proc/{self.identity.pid}/exe").readlink()
        return Path(self.identity.executable)

    def argument(self, flag: str) -> str:
        """Return the value of ``flag``; the last one where it is repeated, as environmentd does."""
        return argument(self.arguments, flag)


def argument(arguments: Iterable[str], flag: str) -> str:
    """Return the last value of ``flag`` among ``arguments``; empty where it is not there."""
    value = ""
    following = False
    for each in arguments:
        if following:
            value, following = each, False
        elif each == flag:
            following = True
        elif each.startswith(f"{flag}="):
            value = each.removeprefix(f"{flag}=")
    return value


def servers() -> list[Running]:
    """Return all processes of this host that are an environmentd."""
    return list(_running(lambda name: name == SERVER))


def of_environment(environment_id: str) -> list[Running]:
    """Return the processes of the environment with that id: environmentd and clusterd alike."""
    return [
        each
        for each in _running(lambda name: name in (SERVER, WORKER))
        if each.argument("--environment-id") == environment_id
        or any(environment_id in argument for argument in each.arguments)
    ]


def launched_with(*tokens: str) -> list[Running]:
    """Return all living processes that descend from the launches with ``tokens``."""
    wanted = frozenset(tokens) - {""}
    if not wanted:
        return []
    return [each for each in _running(lambda _: True) if each.token in wanted]


def launchers(token: str) -> list[Running]:
    """Return what lives of a launch and keeps an environmentd running, or is one."""
    return [each for each in launched_with(token) if not is_worker(each)]


def is_server(process: Running) -> bool:
    """Say whether it is an environmentd."""
    return _name(process.arguments, process.identity.executable) == SERVER


def is_worker(process: Running) -> bool:
    """Say whether it is a clusterd."""
    return _name(process.arguments, process.identity.executable) == WORKER


def end(processes: Iterable[Running]) -> list[Running]:
    """End ``processes``, by TERM and then by KILL; return those that ended.

    Raises
    ------
    LabTimeoutError
        One does not end.
    """
    wanted = list(processes)
    for number, seconds in _END:
        for each in wanted:
            each.identity.send(number)
        if wait_until(lambda: not any(each.identity.alive() for each in wanted), seconds):
            return wanted
    left = [each.identity.pid for each in wanted if each.identity.alive()]
    raise LabTimeoutError(
        f"Processes of Materialize do not end: pid {', '.join(map(str, left))}.",
        code="server.does-not-end",
        why="They wait for the disk, or are stopped by a debugger.",
        remedy="Wait until they have ended, or end them, and run the command again.",
    )


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until ``condition`` holds; say whether it does within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def started_at(identity: ProcessIdentity) -> str:
    """Return when a process started, as ISO 8601 in UTC."""
    return datetime.fromtimestamp(identity.started, UTC).isoformat(timespec="seconds")


def boot_id(identity: ProcessIdentity) -> str:
    """Return what identifies this start of a process."""
    began = identity.since_boot if identity.since_boot >= 0 else identity.started
    return f"{identity.pid}@{began:.2f}"


def _running(named: Callable[[str], bool]) -> Iterator[Running]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            if not command or not named(Path(command[0]).name):
                continue
            described = _described(process)
            if described is not None:
                yield described


def _described(process: psutil.Process) -> Running | None:
    identity = ProcessIdentity.of(process.pid)
    arguments = tuple(process.cmdline())
    if identity is None or not arguments:
        return None
    variables: dict[str, str] = {}
    with contextlib.suppress(psutil.AccessDenied):
        variables = process.environ()
    return Running(
        identity=identity,
        arguments=arguments,
        token=variables.get(TOKEN, ""),
        self_checks=recipe.asked_checks(variables),
    )


def _name(arguments: tuple[str, ...], executable: str) -> str:
    return Path(executable.removesuffix(_DELETED) or arguments[0]).name
