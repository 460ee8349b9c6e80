"""Starting environmentd on a state: launched, waited for, written down."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import psutil

from lab.core.errors import LabError, LabTimeoutError, PreconditionError
from lab.core.files import encode, read_struct, write_atomically, write_struct
from lab.core.killpoints import reached
from lab.core.progress import Progress
from lab.core.results import Status, Step
from lab.servers import logs
from lab.targets.base import Launch
from lab.targets.materialize import launch as launching
from lab.targets.materialize import objects, processes, recipe, sql, startup
from lab.targets.materialize.builds import BuildStore
from lab.targets.materialize.checkout import Checkout
from lab.targets.materialize.metadata import MetadataStore
from lab.targets.materialize.ports import Ports, known_listeners
from lab.targets.materialize.processes import Running, boot_id, started_at
from lab.targets.materialize.readiness import Watch, await_ready, failure
from lab.targets.materialize.recipe import Recipe
from lab.targets.materialize.record import Records
from lab.targets.materialize.runs import named
from lab.targets.materialize.state import StateFiles
from lab.targets.parts import Boot, Build

PROFILES = ("debug", "optimized", "release")
_SAY_EVERY_S = 5.0
_POLL_S = 0.2
_LISTENERS = Path("src/materialized/ci/listener_configs/no_auth.json")


class Starter:
    """Launches environmentd on the state in ``files``, and waits until it is ready.

    ``arguments`` are given to environmentd after all others.
    """

    def __init__(
        self,
        *,
        files: StateFiles,
        records: Records,
        ports: Ports,
        metadata: MetadataStore,
        builds: BuildStore,
        checkout: Checkout | None,
        arguments: Sequence[str],
        timeout_s: float,
    ) -> None:
        self._files = files
        self._records = records
        self._ports = ports
        self._metadata = metadata
        self._builds = builds
        self._checkout = checkout
        self._arguments = tuple(arguments)
        self._timeout_s = timeout_s

    def chosen(self, wanted: str) -> tuple[str, Build | None]:
        """Return the profile for ``bin/environmentd``, or the saved build to launch directly.

        Raises
        ------
        UsageError
            There is no such build.
        """
        if wanted in PROFILES and self._checkout is not None:
            return wanted, None
        build = self._builds.find(wanted)
        return build.profile, build

    def launch(self, profile: str, build: Build | None, wanted: Launch, progress: Progress) -> Step:
        """Launch it and wait until it is ready; ``build`` is None for the checkout's own.

        Raises
        ------
        ExternalError, PreconditionError
            It does not come up; nothing that was launched is left.
        LabTimeoutError
            It is not ready in time; it goes on by itself.
        """
        token = secrets.token_hex(8)
        logs.put_aside(self._records.log)
        offset = logs.size(self._records.log)
        launch = msgspec.structs.replace(wanted, build=build.id if build else profile)
        self._records.write(self._records.read().with_launch(token, offset, launch))
        reached("env.start.launch:before")
        launched = self._spawn(profile, build, wanted, token)
        reached("env.start.launch:after")
        try:
            server = self._await_server(launched.ended, token, offset, progress)
            # The checkout's wrapper compiles first: that is no part of the boot.
            began_ns = time.monotonic_ns()
            record = self._records.read()
            self._records.write(msgspec.structs.replace(record, process=server.identity))
            reached("env.start.record:after")
            if build is None:
                self._note_recipe(server)
            self.await_ready(progress, launched.ended, offset)
        except LabTimeoutError:
            raise  # it goes on, and the next start adopts it
        except LabError:
            # A wrapper would go on launching it, in vain; clusterds would stay.
            processes.end(processes.launched_with(token))
            raise
        finally:
            launched.leave()
        return self._started(token, offset, time.monotonic_ns() - began_ns)

    def await_earlier(self, progress: Progress) -> None:
        """Wait for the server that an earlier start, interrupted, will bring about yet."""
        progress.say("An earlier start is under way; waiting for it …")
        token, offset = self._records.read().token, self._records.read().offset
        self._await_server(while_launching(token), token, offset, progress)

    def _spawn(
        self, profile: str, build: Build | None, wanted: Launch, token: str
    ) -> launching.Launched:
        listeners = self._write_listeners()
        flags = recipe.state_arguments(self._files, self._metadata.url, self._ports, listeners)
        variables = {**launching.user_variables(), processes.TOKEN: token}
        if not wanted.self_checks:
            variables[recipe.SELF_CHECKS] = "0"
        own = [*recipe.as_arguments(flags), *self._arguments]
        if build is None and self._checkout is not None:
            return launching.through_wrapper(
                self._checkout.bin_environmentd,
                profile,
                metadata_url=self._metadata.url,
                blob_url=recipe.blob_url(self._files),
                listeners=listeners,
                arguments=own,
                log=self._records.log,
                variables=variables,
            )
        assert build is not None
        known = self._recipe(build)
        self._metadata.ensure_schemas()
        return launching.directly(
            Path(build.directory) / processes.SERVER,
            arguments=[*known.arguments, *own],
            log=self._records.log,
            variables={**variables, **known.variables},
        )

    def _write_listeners(self) -> str:
        root = self._checkout.root if self._checkout else Path()
        wanted = known_listeners(root / _LISTENERS, self._ports)
        write_atomically(self._records.listeners, encode(wanted))
        return str(self._records.listeners)

    def _recipe(self, build: Build) -> Recipe:
        """Return how ``build`` is launched: as it was itself, or as the last build was."""
        own = read_struct(_recipe_of(build), Recipe)
        known = own or read_struct(self._records.recipe, Recipe)
        if known is None:
            raise PreconditionError(
                f"It is not known yet how to launch build {build.id} by itself.",
                code="build.no-recipe",
                why="environmentd's arguments are taken from a process that the checkout's "
                "`bin/environmentd` made, and none was started here yet.",
                remedy="Start the checkout's own build once (`env.start --build debug`), then "
                "change over with `env.switch`.",
            )
        return known

    def _note_recipe(self, server: Running) -> None:
        """Write down how ``bin/environmentd`` launched the server, for saved builds."""
        variables: dict[str, str] = {}
        with contextlib.suppress(psutil.Error):
            variables = psutil.Process(server.identity.pid).environ()
        flags = recipe.state_arguments(self._files, "", self._ports, "")
        known = recipe.recorded(server.arguments[1:], variables, flags)
        if not variables:
            return  # it has halted already; the next start tells
        write_struct(self._records.recipe, known)
        build = self._builds.identify(server.file)
        if build is not None and build.directory:
            write_struct(_recipe_of(build), known)

    def _await_server(
        self, ended: launching.Ended, token: str, offset: int, progress: Progress
    ) -> Running:
        """Wait for the environmentd behind what was launched; compiling may come first."""
        watch = self._watch(ended, offset)
        next_word = time.monotonic() + _SAY_EVERY_S
        while True:
            family = processes.launched_with(token)
            server = next((each for each in family if processes.is_server(each)), None)
            if server is not None:
                return server
            code = ended()
            if code is not None:
                raise failure(code, watch)
            if time.monotonic() >= next_word:
                next_word = time.monotonic() + _SAY_EVERY_S
                progress.say(f"Waiting for environmentd: {_last_line(watch.said())} …")
            time.sleep(_POLL_S)

    def await_ready(self, progress: Progress, ended: launching.Ended, offset: int) -> None:
        """Wait until it is ready; ``offset`` is where in the log its launch begins."""
        await_ready(self._watch(ended, offset), progress)

    def _watch(self, ended: launching.Ended, offset: int) -> Watch:
        return Watch(
            ports=self._ports,
            said=lambda: logs.since(self._records.log, offset),
            ended=ended,
            timeout_s=self._timeout_s,
        )

    def _started(self, token: str, offset: int, ready_ns: int) -> Step:
        """Write the start down; the server may have halted and been launched anew meanwhile."""
        family = processes.launched_with(token)
        server = next(each for each in family if processes.is_server(each))
        record = self._records.read()
        self._records.write(msgspec.structs.replace(record, process=server.identity))
        build = self._builds.identify(server.file)
        identity = server.identity
        self._records.add_boot(
            Boot(
                id=boot_id(identity),
                started_at=started_at(identity),
                build=named(build),
                ready_ns=ready_ns,
                phases=startup.phases(logs.since(self._records.log, offset).splitlines()),
                objects=self._count(),
            )
        )
        reached("env.start.ready:after")
        why = f"started {named(build)}, pid {identity.pid}, ready after {ready_ns / 1e9:.1f} s"
        return Step(name="environmentd", status=Status.CHANGED, why=why)

    def _count(self) -> int:
        with contextlib.closing(sql.connect(self._ports, "env.start")) as connection:
            return objects.count(connection).total


def while_launching(token: str) -> launching.Ended:
    """Return whether a launch that was not this command's has ended; how, is not known."""
    return lambda: None if processes.launchers(token) else 1


def _recipe_of(build: Build) -> Path:
    return Path(build.directory) / "launch.json"


def _last_line(text: str) -> str:
    lines = [startup.plain(line).strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:100] if lines else "nothing said yet"
