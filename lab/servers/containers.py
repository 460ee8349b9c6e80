"""Containers of a local Docker engine: the lab's own, known by their labels, and no others.

A container and its volume carry three labels: the workspace (a hash of its path), the state and the
role. The state lies in the volume, which outlives the container; ports are published on loopback.
Nothing without these labels is started, stopped or removed.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lab.core.errors import ExternalError, LabError, LabTimeoutError, PreconditionError
from lab.core.progress import Progress
from lab.core.results import Status, Step
from lab.servers import container_records as records
from lab.servers import engine, ports
from lab.servers.container_files import LogFollower, put_secrets
from lab.servers.container_records import (
    PLAN,
    ROLE,
    STATE,
    WORKSPACE,
    ContainerFound,
    Neighbour,
    Plan,
    Role,
)
from lab.servers.records import Condition

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container as Handle
    from docker.models.volumes import Volume

Readiness = Callable[[], str]
"""Says what a server still lacks before it can be used; empty once it is ready."""

_SHOWN_LINES = 12
_SAY_EVERY_S = 5.0
_LOG = {"max-size": "16m", "max-file": "2"}


class Container:
    """One container with its volume.

    Parameters
    ----------
    workspace:
        The root of the workspace that it belongs to.
    state, role:
        What it serves.

    """

    def __init__(self, workspace: Path, state: str, role: Role) -> None:
        owner = hashlib.sha256(str(workspace.resolve()).encode()).hexdigest()[:16]
        self.name = f"ddl-lab-{owner[:8]}-{state}-{role.value}"
        self._labels = {WORKSPACE: owner, STATE: state, ROLE: role.value}

    def __repr__(self) -> str:
        return f"Container({self.name!r})"

    def inspect(self) -> ContainerFound:
        """Look, and change nothing.

        Raises
        ------
        PreconditionError
            No engine answers (``docker.missing``), or it is not on this host (``docker.remote``).

        """
        with engine.client() as client:
            return self._inspect(client)

    def start(
        self, plan: Plan, progress: Progress, ready: Readiness, *, timeout_s: float
    ) -> tuple[Step, ...]:
        """Start the container, or adopt the one that runs, and wait until it is ``ready``.

        One that was made from another plan is adopted while it runs, and made anew from this plan
        once it has stopped; its volume stays.

        Raises
        ------
        PreconditionError
            No engine, no image, a port that is taken, a container or volume of that name without
            the lab's labels.
        ExternalError, LabTimeoutError
            It ends, or does not become ready; its exit code and the end of its log are shown.

        """
        with engine.client() as client:
            found = self._inspect(client)
            if found.condition is Condition.RUNNING:
                step = self._adopted(client, found, plan)
            else:
                image_id = engine.require_image(client, plan.image, progress)
                handle = self._made(client, plan, plan.digest(image_id))
                _require_free(plan)
                with _explained("put a file into", self.name):
                    put_secrets(handle, plan.secrets)
                _start(handle, plan)
                step = Step(
                    name="container",
                    status=Status.CHANGED,
                    why=f"started {plan.image} as {self.name} ({handle.short_id})",
                )
            self._await(client, ready, progress, timeout_s)
            return (step,)

    def stop(self, progress: Progress, *, stop_s: int = 60) -> tuple[Step, ...]:
        """Stop the container, by force after ``stop_s``; it stays, and its volume with it."""
        with engine.client() as client:
            return (self._stop(client, progress, stop_s),)

    def reset(self, progress: Progress) -> tuple[Step, ...]:
        """Stop the container at once, and remove it together with its volume."""
        with engine.client() as client:
            stopped = self._stop(client, progress, 0)
            handle, volume = self._find(client), self._volume(client)
            with _explained("remove", self.name):
                if handle:
                    handle.remove(v=True)
                if volume:
                    volume.remove()
            gone = handle or volume
            why = f"removed {self.name} and its volume" if gone else "there is none"
            status = Status.CHANGED if gone else Status.OK
            return (stopped, Step(name="state", status=status, why=why))

    def log_tail(self, lines: int) -> str:
        """Return the last ``lines`` lines that the container wrote; empty where there is none."""
        if lines <= 0:
            return ""
        with engine.client() as client:
            return records.log(self._find(client), lines)

    def log_since_start(self) -> str:
        """Return what the container wrote since it was started last; empty where there is none."""
        with engine.client() as client:
            return records.log_since_start(self._find(client))

    def follow_log(self) -> LogFollower:
        """Return what gives the lines that it writes from now on, each time those since."""

        def read(tail: int | None, since: float | None) -> str:
            with engine.client() as client:
                return records.stamped_log(self._find(client), tail, since)

        return LogFollower(read)

    def differences(self, plan: Plan) -> tuple[str, ...]:
        """Say, by lines with a leading ``-`` or ``+``, in what the container is not as planned.

        Empty where there is none, and where the engine does not hold the image of the plan.
        """
        with engine.client() as client:
            found = self._inspect(client)
            return self._differences(client, found, plan) if found.id else ()

    def folder(self) -> Path | None:
        """Return where its volume lies on this host; None where this user cannot see that."""
        with engine.client() as client:
            volume = self._volume(client)
        place = Path((volume.attrs or {}).get("Mountpoint", "") if volume else "")
        with suppress(PermissionError):
            return place if place.is_absolute() and place.is_dir() else None
        return None

    def _find(self, client: DockerClient) -> Handle | None:
        """Return the container with the lab's labels; None where there is none."""
        from docker.errors import NotFound

        labels = [f"{key}={value}" for key, value in self._labels.items()]
        for each in client.api.containers(all=True, filters={"label": labels}):
            with suppress(NotFound):  # it may go while it is looked at
                return client.containers.get(each["Id"])
        return None

    def _volume(self, client: DockerClient) -> Volume | None:
        """Return the volume with the lab's labels; None where there is none."""
        from docker.errors import NotFound

        try:
            volume = client.volumes.get(self.name)
        except NotFound:
            return None
        labels = (volume.attrs or {}).get("Labels") or {}
        if self._labels.items() <= labels.items():
            return volume
        raise self._foreign("volume")

    def _inspect(self, client: DockerClient) -> ContainerFound:
        handle = self._find(client)
        if handle is None:
            there = self._volume(client) is not None
            return ContainerFound(condition=Condition.STOPPED if there else Condition.ABSENT)
        return records.found(handle, self.name)

    def _made(self, client: DockerClient, plan: Plan, digest: str) -> Handle:
        """Return a container that is made from the plan: the one there is, or a new one."""
        handle = self._find(client)
        if handle and handle.labels.get(PLAN) == digest:
            return handle
        with _explained("make", self.name):
            if handle:
                handle.remove(v=True)
            if self._volume(client) is None:
                client.volumes.create(self.name, labels=self._labels)
        return self._create(client, plan, digest)

    def _create(self, client: DockerClient, plan: Plan, digest: str) -> Handle:
        from docker.errors import APIError
        from docker.types import LogConfig, Mount

        try:
            return client.containers.create(
                plan.image,
                list(plan.command) or None,
                name=self.name,
                labels=self._labels | {PLAN: digest},
                environment=plan.environment,
                ports={f"{port}/tcp": (ports.LOOPBACK, at) for port, at in plan.ports.items()},
                mounts=[Mount(plan.mount, self.name)],
                log_config=LogConfig(type=LogConfig.types.JSON, config=_LOG),
            )
        except APIError as error:
            # Another command may have made it at this moment; its own labels then tell.
            handle = self._find(client)
            if error.status_code == 409 and handle is None:
                raise self._foreign("container") from error
            if error.status_code == 409 and handle is not None:
                return handle
            raise engine.failed("make", self.name, error) from error

    def _adopted(self, client: DockerClient, found: ContainerFound, plan: Plan) -> Step:
        why = f"{self.name} ({found.short_id}) runs already, since {found.started_at}"
        differs = self._differences(client, found, plan)
        if differs:
            why += "; it runs otherwise than declared, until it is started anew"
        return Step(name="container", status=Status.OK, why=why, diff=differs)

    def _differences(
        self, client: DockerClient, found: ContainerFound, plan: Plan
    ) -> tuple[str, ...]:
        image_id = engine.image_id(client, plan.image)
        if not image_id or plan.digest(image_id) == found.plan:
            return ()
        pairs = [
            ("image", f"{found.image} {found.image_id}", f"{plan.image} {image_id}"),
            ("ports", _shown(found.ports), _shown(plan.ports)),
        ]
        lines = [
            line
            for label, is_, wanted in pairs
            if is_ != wanted
            for line in (f"- {label} {is_}", f"+ {label} {wanted}")
        ]
        return tuple(lines) or ("- made from other arguments than are declared now",)

    def _await(
        self, client: DockerClient, ready: Readiness, progress: Progress, timeout_s: float
    ) -> None:
        begun = time.monotonic()
        say_next = begun + _SAY_EVERY_S
        delay = 0.05
        while True:
            handle = self._find(client)
            if handle is None or handle.status in ("exited", "dead", "removing"):
                raise _ended(self.name, handle)
            lacks = ready()
            if not lacks:
                return
            waited_s = time.monotonic() - begun
            if waited_s > timeout_s:
                raise LabTimeoutError(
                    f"The container {self.name} was not ready within {timeout_s:.0f} s: {lacks}.",
                    code="container.not-ready",
                    why=records.log(handle, _SHOWN_LINES) or "It wrote nothing.",
                    remedy="It goes on starting by itself: run the command again to wait longer.",
                )
            if time.monotonic() >= say_next:
                say_next += _SAY_EVERY_S
                progress.say(f"Waiting for {self.name}: {lacks}, {waited_s:.0f} s so far …")
            time.sleep(delay)
            delay = min(delay * 2, 0.5)

    def _stop(self, client: DockerClient, progress: Progress, stop_s: int) -> Step:
        handle = self._find(client)
        if handle is None or handle.status not in ("running", "paused", "restarting"):
            return Step(name="container", status=Status.OK, why="nothing runs")
        progress.say(f"Stopping {self.name} …")
        with _explained("stop", self.name):
            if handle.status == "paused":
                handle.unpause()
            handle.stop(timeout=stop_s)
            handle.reload()
        why = f"stopped {self.name} ({handle.short_id})"
        if stop_s and records.state(handle).get("ExitCode") == 137:
            why += f" by force, since it did not end within {stop_s} s"
        return Step(name="container", status=Status.CHANGED, why=why)

    def _foreign(self, kind: str) -> PreconditionError:
        return PreconditionError(
            f"There is a {kind} {self.name} that the lab did not make.",
            code="container.foreign",
            why="It has the name that the lab would give, but not the lab's labels.",
            remedy=f"Give that {kind} another name, or take it away; then run the command again.",
        )


def publishing(port: int) -> Neighbour | None:
    """Return the running container that publishes ``port`` on this host, whoever made it.

    None where there is none, or no engine.
    """
    if not engine.is_likely():
        return None
    with suppress(PreconditionError, ExternalError), engine.client() as client:
        for each in client.api.containers():
            if any(one.get("PublicPort") == port for one in each.get("Ports") or ()):
                return records.neighbour(client.api.inspect_container(each["Id"]))
    return None


def _shown(mapping: Mapping[int, int]) -> str:
    return ", ".join(f"{within}→{host}" for within, host in sorted(mapping.items()))


def _require_free(plan: Plan) -> None:
    for port in plan.ports.values():
        if not ports.is_free(port):
            raise _taken(port)


def _start(handle: Handle, plan: Plan) -> None:
    from docker.errors import APIError

    try:
        handle.start()
    except APIError as error:
        said = str(error.explanation)
        if "already allocated" in said or "already in use" in said:
            held = [port for port in plan.ports.values() if f":{port}" in said]
            raise _taken(*(held or plan.ports.values())) from error
        raise engine.failed("start", str(handle.name), error) from error


def _taken(*held: int) -> PreconditionError:
    who = ports.holder(held[0]) or "A program that this user cannot see"
    return PreconditionError(
        f"Port {' or '.join(map(str, held))} of {ports.LOOPBACK} is taken.",
        code="port.taken",
        why=f"{who} listens on it.",
        remedy="Stop that program, or set another port in lab.toml.",
    )


def _ended(name: str, handle: Handle | None) -> LabError:
    if handle is None:
        return ExternalError(
            f"The container {name} was removed while it was starting.",
            code="container.gone",
            remedy="Run the command again to make it anew; its volume is kept.",
        )
    code = records.state(handle).get("ExitCode")
    killed = ", for want of memory" if records.state(handle).get("OOMKilled") else ""
    return ExternalError(
        f"The container {name} ended with exit code {code}{killed}.",
        code="container.exited",
        why=records.log(handle, _SHOWN_LINES) or "It wrote nothing.",
        remedy="The lines above are the end of what it wrote.",
    )


@contextmanager
def _explained(doing: str, name: str) -> Iterator[None]:
    from docker.errors import APIError

    try:
        yield
    except APIError as error:
        raise engine.failed(doing, name, error) from error
