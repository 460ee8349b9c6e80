"""environmentd in a container of Materialize's image: found, started, stopped, reset.

The image is the build, and the container's volume the state: metadata store, blobs, environment id
and secrets lie in it together, so that none can be lost or exchanged without the others.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import msgspec
import psycopg

from lab.core.errors import LabError, StateMismatchError, UsageError
from lab.core.files import read_struct, write_struct
from lab.core.killpoints import reached
from lab.core.progress import Progress
from lab.core.results import Check, Status, Step
from lab.servers import engine
from lab.servers.container_records import ContainerFound
from lab.servers.records import Condition
from lab.targets.base import AS_DECLARED, Launch
from lab.targets.materialize import http, objects, processes, recipe, sql, startup
from lab.targets.materialize.image import FIRST_PORT, PROFILE, ImageRunner, build_id, image_build
from lab.targets.materialize.ports import Ports
from lab.targets.materialize.readiness import READY, Watch, await_ready
from lab.targets.materialize.record import Records
from lab.targets.materialize.runs import Found, named
from lab.targets.materialize.state_checks import disk_space, require_room
from lab.targets.parts import Boot, Build, Builds

_RETURN_S = 120.0
_ANSWER_S = 5.0


class _Known(msgspec.Struct, frozen=True):
    """``.lab/environments/NAME.json``: what the server of an image said that it is."""

    image_id: str = ""
    version: str = ""


class ImageServer:
    """environmentd in the container of ``runner``, which becomes ready within ``timeout_s``."""

    builds: Builds | None = None

    def __init__(
        self, runner: ImageRunner, *, records: Records, ports: Ports, timeout_s: float
    ) -> None:
        self.records = records
        self.ports = ports
        self._runner = runner
        self._timeout_s = timeout_s
        self._known_file = records.folder / f"{records.name}.json"

    @property
    def declared(self) -> str:
        """The build of the declared image; its profile where the engine does not hold it yet."""
        with engine.client() as client:
            held = engine.image_id(client, self._runner.image)
        return build_id(held) if held else PROFILE

    @property
    def directory(self) -> str:
        """Where the volume lies; empty where this user cannot see it."""
        return str(self._runner.container.folder() or "")

    @property
    def state_id(self) -> str:
        """The environment's id, as the server tells it."""
        return self._asked("SELECT mz_environment_id()")

    def inspect(self) -> Found:
        """Look, and change nothing.

        Raises
        ------
        PreconditionError
            There is no Docker engine on this host.
        """
        found = self._runner.inspect()
        if found.condition is not Condition.RUNNING:
            return Found(condition=found.condition)
        known = read_struct(self._known_file, _Known) or _Known()
        # Of a start that was interrupted, or that somebody else made, nothing is written down.
        version = known.version if known.image_id == found.image_id else self._version()
        return Found(
            condition=found.condition,
            ours=True,
            build=image_build(found, version),
            boot=found.boot,
            started=found.started_at,
            asked_checks=recipe.asked_checks(found.environment),
            port=found.ports.get(FIRST_PORT, 0),
        )

    def start(self, progress: Progress, wanted: Launch) -> tuple[Step, ...]:
        """Start the container, or adopt the one that runs, and wait until environmentd is ready.

        Raises
        ------
        UsageError
            A build was asked for.
        PreconditionError, StateMismatchError
            No engine, no image, a port that is taken, no room; it runs on other ports.
        ExternalError, LabTimeoutError
            It does not come up.
        """
        if wanted.build:
            raise self._one_build(wanted.build)
        self._require_place()
        ready_ns = 0

        def ready() -> str:
            # Neither getting the image nor making the container is part of the boot.
            nonlocal ready_ns
            began_ns = time.monotonic_ns()
            self._await(progress)
            ready_ns = time.monotonic_ns() - began_ns
            return ""

        variables = {} if wanted.self_checks else {recipe.SELF_CHECKS: "0"}
        steps = self._runner.start(progress, ready, variables)
        found = self._runner.inspect()
        build = image_build(found, self._asked("SELECT mz_version()"))
        write_struct(self._known_file, _Known(found.image_id, build.version))
        if all(step.status is Status.OK for step in steps):
            return steps
        return (*steps, self._started(found, build, ready_ns))

    def stop(self, progress: Progress) -> tuple[Step, ...]:
        """Stop the container; its volume stays."""
        return self._runner.stop(progress)

    def reset(self, progress: Progress) -> tuple[Step, ...]:
        """Remove the container with its volume."""
        return self._runner.reset(progress)

    def comes_back(self, progress: Progress) -> bool:
        """Start a container anew whose environmentd halted on purpose; say whether it did."""
        processes.wait_until(
            lambda: sql.answers(self.ports, "lab.seed") or not self._runs(), _RETURN_S
        )
        found = self._runner.inspect()
        if found.condition is Condition.RUNNING:
            return sql.answers(self.ports, "lab.seed")
        if found.exit_code != startup.HALTED:
            return False
        unchecked = recipe.asked_checks(found.environment) is False
        self.start(progress, Launch(self_checks=False) if unchecked else AS_DECLARED)
        return True

    def boot(self) -> str:
        """Return what identifies this start of the container; empty where it does not run."""
        return self._runner.inspect().boot

    def log_tail(self, lines: int) -> str:
        """Return the last ``lines`` lines of what the container wrote."""
        return self._runner.log_tail(lines)

    def misplaced(self, found: Found) -> str:
        """Say on which ports it listens, where those are not the declared ones."""
        if found.port in (0, self.ports.sql):
            return ""
        return f"on other ports: SQL on {found.port}, and not {self.ports.sql}"

    def drift(self, found: Found) -> tuple[str, ...]:
        """Say in what the container was made otherwise than it would be now."""
        return self._runner.drift({recipe.SELF_CHECKS: "0"} if found.asked_checks is False else {})

    def alarms(self) -> tuple[str, ...]:
        """Return why the state does not outlive the container, where it does not."""
        volatile = self._runner.inspect().volatile
        return (f"The state is volatile: {volatile}.",) if volatile else ()

    def own_checks(self, found: Found) -> Iterator[Check]:
        """Check that the state outlives the container, and that there is room for more."""
        volatile = self._runner.inspect().volatile
        yield Check(
            name="volume",
            passed=not volatile,
            found=volatile or "outlives the container",
            expected="outlives the container",
            remedy="Take that container away, then `env.start`: the lab gives it a volume.",
        )
        folder = self._runner.container.folder()
        if folder is not None:
            yield disk_space(folder)

    def store_facts(self) -> dict[str, str]:
        """Return what kind of metadata and blob store the state has."""
        return {
            "metadata.kind": "within the image",
            "metadata.volatile": self._runner.inspect().volatile or "no",
            "blob.kind": "file",
        }

    def _require_place(self) -> None:
        found = self.inspect()
        misplaced = self.misplaced(found)
        if misplaced:
            raise StateMismatchError(
                f"environmentd runs on this state already, {misplaced}.",
                code="environment.other-ports",
                why="`port` under [materialize] in lab.toml was changed since it was started.",
                remedy="`env.stop`, then `env.start`; `lab.up` does both.",
            )
        folder = self._runner.container.folder()
        if found.condition is not Condition.RUNNING and folder is not None:
            require_room(folder)

    def _await(self, progress: Progress) -> None:
        """Wait until environmentd is ready, in the order in which its parts come up."""
        watch = Watch(
            ports=self.ports,
            said=self._runner.container.log_since_start,
            ended=lambda: self._runner.inspect().exit_code,
            timeout_s=self._timeout_s,
        )
        await_ready(watch, progress)

    def _version(self) -> str:
        """Ask the server what it is; empty where it is not ready."""
        with contextlib.suppress(LabError, psycopg.Error):
            if http.call(self.ports.internal_http, READY, timeout_s=_ANSWER_S).status == 200:
                return self._asked("SELECT mz_version()")
        return ""

    def _started(self, found: ContainerFound, build: Build, ready_ns: int) -> Step:
        """Write the start down."""
        said = self._runner.container.log_since_start()
        self.records.add_boot(
            Boot(
                id=found.boot,
                started_at=found.started_at,
                build=named(build),
                ready_ns=ready_ns,
                phases=startup.phases(said.splitlines()),
                objects=self._count(),
            )
        )
        reached("env.start.ready:after")
        why = f"{named(build)} ready after {ready_ns / 1e9:.1f} s"
        return Step(name="environmentd", status=Status.CHANGED, why=why)

    def _asked(self, query: str) -> str:
        with contextlib.closing(sql.connect(self.ports, "env.start")) as connection:
            row = connection.execute(query).fetchone()
        return str(row[0]) if row else ""

    def _count(self) -> int:
        with contextlib.closing(sql.connect(self.ports, "env.start")) as connection:
            return objects.count(connection).total

    def _runs(self) -> bool:
        return self._runner.inspect().condition is Condition.RUNNING

    def _one_build(self, wanted: str) -> UsageError:
        return UsageError(
            f"There is no build `{wanted}` to start: this environment runs an image.",
            code="image.one-build",
            why=f"The image is the build: {self._runner.image}.",
            remedy="Set another `image` under [materialize] in lab.toml, then `lab.up`; for builds"
            " of your own set `checkout` there instead.",
        )
