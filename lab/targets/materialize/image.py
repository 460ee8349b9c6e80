"""Materialize out of its image: one container that holds environmentd and all that it needs.

The image brings a metadata store of its own, within the same volume as blobs and environment id, so
that the state is that one volume.
"""

from __future__ import annotations

from collections.abc import Mapping

from lab.core.config import MaterializeConfig
from lab.core.locks import exclusive
from lab.core.progress import Progress
from lab.core.results import Step
from lab.core.workspace import Workspace
from lab.servers.container_records import ContainerFound, Plan, Role
from lab.servers.containers import Container, Readiness
from lab.targets.parts import Build

STATE_FOLDER = "/mzdata"
"""Where the image keeps its state: metadata, blobs, environment id and secrets."""

PROFILE = "image"
FIRST_PORT = 6875
"""Where environmentd listens for SQL within the container."""
_PORTS = range(FIRST_PORT, FIRST_PORT + 4)
"""SQL, HTTP, internal SQL, internal HTTP; PubSub is between its own processes."""
_ENVIRONMENT = {
    # What is measured shares its host with nothing that is not needed, and reports to nobody.
    "MZ_NO_TELEMETRY": "1",
    "MZ_NO_BUILTIN_CONSOLE": "1",
}
_STOP_S = 60
_LOCK_WAIT_S = 120.0


class ImageRunner:
    """The container of an environment.

    Parameters
    ----------
    workspace, config, state:
        ``config.image`` is run on the volume of ``state``; its ports are published on loopback from
        ``config.port`` on; ``config.arguments`` go to environmentd.

    """

    def __init__(self, workspace: Workspace, config: MaterializeConfig, state: str) -> None:
        self.container = Container(workspace.root, state, Role.ENVIRONMENT)
        self.image = config.image
        self._config = config
        self._lock_file = workspace.environments / f"{state}-image.lock"

    def __repr__(self) -> str:
        return f"ImageRunner({self.image!r})"

    def inspect(self) -> ContainerFound:
        """Look, and change nothing.

        Raises
        ------
        PreconditionError
            There is no Docker engine on this host.

        """
        return self.container.inspect()

    def start(
        self, progress: Progress, ready: Readiness, variables: Mapping[str, str] | None = None
    ) -> tuple[Step, ...]:
        """Start or adopt the container and wait until it is ``ready``, on the state as it is.

        ``variables`` are environment variables of environmentd's, such as ``MZ_SOFT_ASSERTIONS``.

        Raises
        ------
        PreconditionError
            No engine, no image, or a port that is taken.
        ExternalError, LabTimeoutError
            It ends, or does not become ready within ``config.start_timeout_s``.

        """
        plan = self._plan(variables or {})
        with exclusive(self._lock_file, "env.start", wait_s=_LOCK_WAIT_S):
            return self.container.start(
                plan, progress, ready, timeout_s=self._config.start_timeout_s
            )

    def stop(self, progress: Progress) -> tuple[Step, ...]:
        """Stop the container; its volume stays."""
        with exclusive(self._lock_file, "env.stop", wait_s=_LOCK_WAIT_S):
            return self.container.stop(progress, stop_s=_STOP_S)

    def reset(self, progress: Progress) -> tuple[Step, ...]:
        """Remove the container with its volume: that is the whole state."""
        with exclusive(self._lock_file, "env.reset", wait_s=_LOCK_WAIT_S):
            return self.container.reset(progress)

    def drift(self, variables: Mapping[str, str]) -> tuple[str, ...]:
        """Say in what the container is not as `start` would make it with ``variables``."""
        return self.container.differences(self._plan(variables))

    def log_tail(self, lines: int) -> str:
        """Return the last ``lines`` lines of what the container wrote."""
        return self.container.log_tail(lines)

    def _plan(self, variables: Mapping[str, str]) -> Plan:
        first = self._config.port
        return Plan(
            image=self.image,
            mount=STATE_FOLDER,
            ports={within: first + within - _PORTS.start for within in _PORTS},
            environment={**_ENVIRONMENT, **variables},
            command=self._config.arguments,
        )


def build_id(image_id: str) -> str:
    """Return the id of the build that the image with that id is, as Docker shows it."""
    return image_id.removeprefix("sha256:")[:12]


def image_build(found: ContainerFound, version: str) -> Build:
    """Return the build that a container runs: its image, and ``mz_version()`` where it answers."""
    return Build(
        id=build_id(found.image_id),
        profile=PROFILE,
        files={found.image: found.image_id},
        version=version,
        origin=found.image,
    )
