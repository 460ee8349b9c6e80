"""What a container is made from, and what the engine says of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from lab.servers.mounts import in_memory
from lab.servers.records import Condition

if TYPE_CHECKING:
    from docker.models.containers import Container as Handle

WORKSPACE = "ddl-lab.workspace"
STATE = "ddl-lab.state"
ROLE = "ddl-lab.role"
PLAN = "ddl-lab.plan"
"""The labels; the last one is the hash of what the container was made from."""

_IN_ORDER = (0, 130, 143)
"""Exit codes of a program that ended because it was told to: by itself, by INT, by TERM."""

_NEVER = "0001-"
"""What the engine's time stamps begin with where nothing happened yet."""


class Role(StrEnum):
    """What a container is for."""

    METADATA = "metadata"
    ENVIRONMENT = "environment"
    UPSTREAM = "upstream"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a container is made from.

    ``mount`` is where its volume lies within; ``ports`` maps ports within to ports of this host.
    ``secrets`` are files of this host, by their place within, where only root can read them: they
    are copied before each start, and what they hold stands neither in the plan nor in its hash.
    """

    image: str
    mount: str
    ports: dict[int, int]
    environment: dict[str, str] = {}
    command: tuple[str, ...] = ()
    secrets: dict[str, Path] = {}

    def digest(self, image_id: str) -> str:
        """Return the hash of the plan, carried out with the image of that id."""
        content = (
            image_id,
            self.image,
            self.mount,
            sorted(self.ports.items()),
            sorted(self.environment.items()),
            self.command,
        )
        return hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:16]


class ContainerFound(msgspec.Struct, frozen=True, kw_only=True):
    """What `Container.inspect` found.

    ``image_id`` is the hash of what it runs, ``image`` the name it was made by; ``started_at`` is
    ISO 8601, UTC, and ``boot`` identifies that start; ``ports`` maps ports within to ports of this
    host; ``environment`` holds the variables of its process; ``volatile`` says why its state does
    not last, empty where it does; ``plan`` is the hash of what it was made from.
    """

    condition: Condition
    id: str = ""
    image: str = ""
    image_id: str = ""
    started_at: str = ""
    boot: str = ""
    exit_code: int | None = None
    ports: dict[int, int] = {}
    environment: dict[str, str] = {}
    volatile: str = ""
    plan: str = ""

    @property
    def short_id(self) -> str:
        """The id as Docker shows it."""
        return self.id[:12]


class Neighbour(msgspec.Struct, frozen=True, kw_only=True):
    """A container that is not the lab's: its name and what it runs.

    ``mounts`` says for each mount within whether it outlives the container and the host's power.
    """

    name: str
    arguments: tuple[str, ...]
    mounts: dict[str, bool]

    def keeps(self, path: str) -> bool:
        """Say whether what lies at ``path`` within outlives the container."""
        here = PurePosixPath(path)
        nearest = next((each for each in (here, *here.parents) if str(each) in self.mounts), None)
        return nearest is not None and self.mounts[str(nearest)]


def neighbour(attributes: Mapping[str, Any]) -> Neighbour:
    """Return what the engine says of a container that is not the lab's."""
    memory = attributes["HostConfig"].get("Tmpfs") or {}
    mounts = {each["Destination"]: _lasts(each) for each in attributes.get("Mounts", ())}
    return Neighbour(
        name=attributes["Name"].lstrip("/"),
        arguments=(attributes.get("Path", ""), *attributes.get("Args", ())),
        mounts=mounts | dict.fromkeys(memory, False),
    )


def found(handle: Handle, volume: str) -> ContainerFound:
    """Return what the engine says of a container whose state is to lie in ``volume``."""
    attributes: Mapping[str, Any] = handle.attrs or {}
    now = state(handle)
    running = handle.status in ("running", "paused", "restarting")
    code = None if running or handle.status == "created" else int(now.get("ExitCode", 0))
    if running:
        condition = Condition.RUNNING
    else:
        condition = Condition.STOPPED if code in (None, *_IN_ORDER) else Condition.CRASHED
    return ContainerFound(
        condition=condition,
        id=str(handle.id),
        image=attributes["Config"]["Image"],
        image_id=attributes["Image"],
        started_at=_seconds(now.get("StartedAt", "")) if running else "",
        boot=f"{handle.short_id}@{now.get('StartedAt', '')}" if running else "",
        exit_code=code,
        ports=dict(_published(attributes)),
        environment=dict(each.partition("=")[::2] for each in attributes["Config"]["Env"] or ()),
        volatile=_volatile(attributes, volume),
        plan=handle.labels.get(PLAN, ""),
    )


def _published(attributes: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """Yield the ports within and on this host, as the container was made with."""
    bindings = attributes["HostConfig"].get("PortBindings") or {}
    for within, hosts in sorted(bindings.items()):
        for host in hosts or ():
            yield int(within.partition("/")[0]), int(host["HostPort"])


def _volatile(attributes: Mapping[str, Any], volume: str) -> str:
    own = [each for each in attributes.get("Mounts", ()) if each.get("Name") == volume]
    if not own:
        return "the container has no volume: what it holds goes with it"
    return "" if all(map(_lasts, own)) else "its volume lies in memory"


def _lasts(mount: Mapping[str, Any]) -> bool:
    return mount.get("Type") in ("volume", "bind") and not in_memory(Path(mount["Source"]))


def state(handle: Handle) -> Mapping[str, Any]:
    """Return what the engine last said of the container's process."""
    said: Mapping[str, Any] = (handle.attrs or {}).get("State", {})
    return said


def _seconds(moment: str) -> str:
    """Return Docker's time stamp without its fraction, with the offset as the lab writes it."""
    return f"{moment.partition('.')[0].rstrip('Z')}+00:00" if moment else ""


def log(handle: Handle | None, lines: int) -> str:
    """Return the last ``lines`` lines that the container wrote; empty where they cannot be had."""
    return _read_log(handle, tail=lines)


def log_since_start(handle: Handle | None) -> str:
    """Return what the container wrote since it was started last; empty where that is not known."""
    began = state(handle).get("StartedAt", "") if handle else ""
    if not began or began.startswith(_NEVER):
        return ""
    return _read_log(handle, since=datetime.fromisoformat(began).timestamp())


def stamped_log(handle: Handle | None, tail: int | None, since: float | None) -> str:
    """Return the log with the engine's time stamp (UTC, nanoseconds) before each line.

    The last ``tail`` lines, all where that is None; only those after ``since`` (seconds since the
    epoch) where that is given; empty where they cannot be had.
    """
    return _read_log(handle, tail="all" if tail is None else tail, since=since, timestamps=True)


def _read_log(
    handle: Handle | None,
    tail: int | Literal["all"] = "all",
    since: float | None = None,
    *,
    timestamps: bool = False,
) -> str:
    from docker.errors import APIError

    if handle is not None:
        with suppress(APIError):  # a log driver that cannot be read
            said = handle.logs(tail=tail, since=since, timestamps=timestamps)
            return said.decode(errors="replace").rstrip()
    return ""
