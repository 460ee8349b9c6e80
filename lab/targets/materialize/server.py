"""One environmentd on one state: found, adopted, started without reset, stopped."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil

from lab.core.errors import LabError, LabTimeoutError, PreconditionError, StateMismatchError
from lab.core.files import encode, read_struct, write_atomically, write_struct
from lab.core.killpoints import reached
from lab.core.locks import exclusive
from lab.core.processes import ProcessIdentity
from lab.core.progress import Progress
from lab.core.results import Status, Step
from lab.servers import logs
from lab.servers.records import Condition
from lab.targets.base import OTHER_BUILD, Boot, Build, Check, Connection, Launch
from lab.targets.materialize import launch as launching
from lab.targets.materialize import objects, processes, recipe, sql, startup
from lab.targets.materialize.builds import BuildStore
from lab.targets.materialize.checkout import Checkout
from lab.targets.materialize.metadata import MetadataStore
from lab.targets.materialize.ports import Ports, known_listeners, sql_port
from lab.targets.materialize.processes import Running
from lab.targets.materialize.readiness import Watch, await_ready, failure
from lab.targets.materialize.recipe import Recipe
from lab.targets.materialize.record import Records
from lab.targets.materialize.runs import Found, fits, named
from lab.targets.materialize.state import StateFiles
from lab.targets.materialize.state_checks import disk_space, require_room, strays, together

PROFILES = ("debug", "optimized", "release")
_LOCK_WAIT_S = 120.0
_RETURN_S = 120.0
_SAY_EVERY_S = 5.0
_POLL_S = 0.2


class Server:
    """environmentd on the state in ``files``, whose metadata are in ``metadata``.

    ``declared`` is the build that is started where none is asked for: a profile or a build's id.
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
        declared: str,
        arguments: Sequence[str] = (),
        timeout_s: float = 1800.0,
    ) -> None:
        self.files = files
        self.records = records
        self.ports = ports
        self.metadata = metadata
        self.builds = builds
        self.declared = declared
        self._checkout = checkout
        self._arguments = tuple(arguments)
        self._timeout_s = timeout_s

    def boot(self) -> str:
        """Return what identifies the start of what runs; empty where nothing does."""
        process = self.records.read().process
        if process is not None and process.alive():
            return boot_id(process)
        return self.inspect().boot

    def log_tail(self, lines: int) -> str:
        """Return the last ``lines`` lines of the log."""
        return logs.tail(self.records.log, lines)

    def inspect(self) -> Found:
        """Look, and change nothing."""
        identity = self.files.environment_id
        record = self.records.read()
        family = processes.of_environment(identity) if identity else []
        server = next((each for each in family if processes.is_server(each)), None)
        server = server or self._on_the_same_store(identity)
        if server is None:
            starting = _launchers(record.token)
            return Found(condition=self._at_rest(), left=tuple(family), starting=starting)
        return Found(
            condition=Condition.RUNNING,
            server=server,
            boot=boot_id(server.identity),
            started=started_at(server.identity),
            asked_checks=server.self_checks,
            ours=bool(server.token) and server.token in record.tokens,
            build=self.builds.identify(server.file) if server.identity.executable else None,
            port=sql_port(Path(server.argument(recipe.LISTENERS))),
        )

    def start(self, progress: Progress, wanted: Launch) -> tuple[Step, ...]:
        """Start environmentd, or adopt the one that runs on this state; never a second one.

        Raises
        ------
        UsageError
            There is no such build.
        PreconditionError, StateMismatchError
            Something else runs on this state or holds its ports; halves of different states.
        ExternalError, LabTimeoutError
            It does not come up.
        """
        with exclusive(self.records.lock, "env.start", wait_s=_LOCK_WAIT_S):
            found = self.inspect()
            if found.starting:
                found = self._await_earlier(progress)
            if found.server is not None:
                return self._adopt(found, found.server, wanted, progress)
            profile, build = self._chosen(wanted.build or self.declared)
            steps = [*self._end_left(found), *self._start_store(progress)]
            with contextlib.closing(self.metadata.connect("env.start")) as connection:
                steps += self._prepare(connection)
            self.ports.require_free()
            require_room(self.files.folder)
            return (*steps, self._launch(profile, build, wanted, progress))

    def stop(self, progress: Progress) -> tuple[Step, ...]:
        """End the whole tree that the lab launched, and only that; then its metadata store.

        Raises
        ------
        LabTimeoutError
            A process does not end.
        """
        with exclusive(self.records.lock, "env.stop", wait_s=_LOCK_WAIT_S):
            return (self._stop(progress), *self.metadata.stop(progress))

    def comes_back(self, progress: Progress) -> bool:
        """Wait for an environmentd that halted on purpose to be launched anew; say whether it was.

        The checkout's wrapper does that by itself, for a saved build the lab does. One that
        panicked stays away, so that it is not waited for.
        """
        record = self.records.read()

        def is_gone() -> bool:
            # Of one that was adopted the launch is not known.
            return record.process is not None and not _launchers(record.token)

        processes.wait_until(lambda: self._answers() or is_gone(), _RETURN_S)
        if self._answers():
            return True
        said = logs.since(self.records.log, record.offset)
        saved = record.launch.build and record.launch.build not in PROFILES
        halted = startup.halted_last(said)
        if not halted and startup.panic(said):
            progress.say(f"environmentd {startup.panic(said)}")
        if not (is_gone() and saved and halted):
            return False
        self.start(progress, record.launch)
        return True

    def reset(self, progress: Progress) -> tuple[Step, ...]:
        """Destroy the state: the metadata store's schemas and the data folder."""
        with exclusive(self.records.lock, "env.reset", wait_s=_LOCK_WAIT_S):
            stopped = self._stop(progress)
            steps = self.metadata.reset(progress)
            self.files.destroy()
            # What was set is gone with the catalog.
            self.records.variables.unlink(missing_ok=True)
            gone = Step(name="state", status=Status.CHANGED, why=f"destroyed {self.files.folder}")
            return (stopped, *steps, gone)

    @property
    def directory(self) -> str:
        """Where the state lies."""
        return str(self.files.folder)

    @property
    def state_id(self) -> str:
        """What identifies the state: the environment's id."""
        return self.files.environment_id

    def alarms(self) -> tuple[str, ...]:
        """Return why the metadata store is volatile, where it is."""
        volatile = self.metadata.inspect().volatile
        return (f"The metadata store is volatile: {volatile}.",) if volatile else ()

    def own_checks(self, found: Found) -> Iterator[Check]:
        """Check what only holds of processes and files of this host."""
        yield strays(self.files, found.server.token if found.server else "")
        yield from together(self.files, self.metadata)
        yield disk_space(self.files.folder)

    def store_facts(self) -> dict[str, str]:
        """Return what kind of metadata and blob store the state has."""
        found = self.metadata.inspect()
        return {
            "metadata.kind": found.kind,
            "metadata.volatile": found.volatile or "no",
            "blob.kind": "file",
        }

    def _at_rest(self) -> Condition:
        if not self.files.exists and not self._has_store():
            return Condition.ABSENT
        return Condition.CRASHED if self.records.read().process else Condition.STOPPED

    def _answers(self) -> bool:
        try:
            sql.connect(self.ports, "lab.seed").close()
        except LabError:
            return False
        return True

    def _start_store(self, progress: Progress) -> list[Step]:
        """Start the metadata store, or see that it answers; return what that changed."""
        steps = self.metadata.start(progress)
        return [each for each in steps if each.status is Status.CHANGED]

    def _has_store(self) -> bool:
        """Say whether there is a metadata store of the lab's own making."""
        if not self.metadata.owned:
            return False
        return self.metadata.inspect().condition is not Condition.ABSENT

    def _on_the_same_store(self, identity: str) -> Running | None:
        """Find an environmentd on this metadata store or these blobs under another id."""
        blobs = recipe.blob_url(self.files)
        url = self.metadata.url
        for each in processes.servers():
            consensus = each.argument(recipe.CONSENSUS).partition("?")[0]
            if each.argument(recipe.BLOB) == blobs or (url and consensus == url):
                return each
        return None

    def misplaced(self, found: Found) -> str:
        """Say why what runs cannot be taken as it is, whatever build it is; empty where it can."""
        if found.server is None:
            return ""
        if found.server.argument(recipe.ENVIRONMENT) != self.files.environment_id:
            return "under another environment id"
        if found.port not in (0, self.ports.sql):
            return f"on other ports: SQL on {found.port}, and not {self.ports.sql}"
        return ""

    def drift(self, found: Found) -> tuple[str, ...]:
        """Say whether the lab's own metadata store is down under what runs."""
        if not self.metadata.owned or self.metadata.inspect().condition is Condition.RUNNING:
            return ()
        return ("- metadata store stopped", "+ metadata store running")

    def _await_earlier(self, progress: Progress) -> Found:
        """Wait for the server that an earlier start, interrupted, will bring about yet."""
        progress.say("An earlier start is under way; waiting for it …")
        record = self.records.read()
        self._await_server(_while_launching(record.token), record.token, record.offset, progress)
        return self.inspect()

    def _adopt(
        self, found: Found, server: Running, wanted: Launch, progress: Progress
    ) -> tuple[Step, ...]:
        """Wait until what runs answers; it must be the build that is wanted."""
        self._require_adoptable(found, server, wanted)
        if not found.ours:
            # What is written to its log is not the lab's to read.
            nothing = logs.size(self.records.log)
            self.records.write(msgspec.structs.replace(self.records.read(), process=None))
            self._await(progress, lambda: None if server.identity.alive() else 1, nothing)
            return (_already(found, "; the lab did not start it and will not stop it"),)
        steps = self._start_store(progress)
        record = self.records.read()
        self._await(progress, _while_launching(server.token), record.offset)
        # It may have halted and been launched anew meanwhile.
        found = self.inspect()
        self.records.write(msgspec.structs.replace(record, process=found.process))
        return (*steps, _already(found))

    def _require_adoptable(self, found: Found, server: Running, wanted: Launch) -> None:
        who = f"environmentd runs on this state already, pid {server.identity.pid}"
        otherwise = "Stop it the way it was started; then `env.start`."
        misplaced = self.misplaced(found)
        if misplaced and not found.ours:
            raise _occupied(f"{who}, {misplaced}.")
        if misplaced:
            raise StateMismatchError(
                f"{who}, {misplaced}.",
                code="environment.other-ports",
                why="`port` under [materialize] in lab.toml was changed since it was started.",
                remedy="`env.stop`, then `env.start`; `lab.up` does both.",
            )
        if wanted.build and not fits(found.build, wanted.build):
            raise StateMismatchError(
                f"{who}, and it is another build: {named(found.build)}.",
                code=OTHER_BUILD,
                why=f"Asked for: {wanted.build}. A second environmentd on one state would kill the"
                " first.",
                remedy=f"Change over with `env.switch {wanted.build}`."
                if found.ours
                else otherwise,
            )

    def _chosen(self, wanted: str) -> tuple[str, Build | None]:
        """Return the profile for ``bin/environmentd``, or the saved build to launch directly."""
        if wanted in PROFILES and self._checkout is not None:
            return wanted, None
        build = self.builds.find(wanted)
        return build.profile, build

    def _end_left(self, found: Found) -> list[Step]:
        """End clusterds of an earlier start, which would be adopted with their old settings."""
        tokens = self.records.read().tokens
        strange = [each for each in found.left if each.token not in tokens or not each.token]
        if strange:
            pids = ", ".join(str(each.identity.pid) for each in strange)
            raise PreconditionError(
                f"Processes of this environment are left over: clusterd, pid {pids}.",
                code="environment.stray-processes",
                why="The lab did not start them. environmentd would adopt them as they run, with "
                "the build and the settings of their own start.",
                remedy="End them the way they were started, then run the command again.",
            )
        if not found.left:
            return []
        ended = processes.end(found.left)
        why = f"ended {len(ended)} left over from an earlier start"
        return [Step(name="clusterd", status=Status.CHANGED, why=why)]

    def _prepare(self, connection: Connection) -> list[Step]:
        """Make the state's files where there is no state yet; see that its halves fit."""
        identity = self.metadata.identity(connection)
        self.files.require_bond(connection, identity)
        others = self.metadata.sessions(connection)
        if others:
            raise _occupied(f"The metadata store is in use by {others[0]}.")
        made = self.files.make()
        self.files.bind(identity)
        if not made:
            return []
        return [
            Step(
                name="state",
                status=Status.CHANGED,
                why=f"made a new environment, {self.files.environment_id}",
            )
        ]

    def _launch(
        self, profile: str, build: Build | None, wanted: Launch, progress: Progress
    ) -> Step:
        token = secrets.token_hex(8)
        logs.put_aside(self.records.log)
        offset = logs.size(self.records.log)
        launch = msgspec.structs.replace(wanted, build=build.id if build else profile)
        self.records.write(self.records.read().with_launch(token, offset, launch))
        reached("env.start.launch:before")
        launched = self._spawn(profile, build, wanted, token)
        reached("env.start.launch:after")
        try:
            server = self._await_server(launched.ended, token, offset, progress)
            # The checkout's wrapper compiles first: that is no part of the boot.
            began_ns = time.monotonic_ns()
            record = self.records.read()
            self.records.write(msgspec.structs.replace(record, process=server.identity))
            reached("env.start.record:after")
            if build is None:
                self._note_recipe(server)
            self._await(progress, launched.ended, offset)
        except LabTimeoutError:
            raise  # it goes on, and the next start adopts it
        except LabError:
            # A wrapper would go on launching it, in vain; clusterds would stay.
            processes.end(processes.launched_with(token))
            raise
        finally:
            launched.leave()
        return self._started(token, offset, time.monotonic_ns() - began_ns)

    def _spawn(
        self, profile: str, build: Build | None, wanted: Launch, token: str
    ) -> launching.Launched:
        listeners = self._write_listeners()
        flags = recipe.state_arguments(self.files, self.metadata.url, self.ports, listeners)
        variables = {**launching.user_variables(), processes.TOKEN: token}
        if not wanted.self_checks:
            variables[recipe.SELF_CHECKS] = "0"
        own = [*recipe.as_arguments(flags), *self._arguments]
        if build is None and self._checkout is not None:
            return launching.through_wrapper(
                self._checkout.bin_environmentd,
                profile,
                metadata_url=self.metadata.url,
                blob_url=recipe.blob_url(self.files),
                listeners=listeners,
                arguments=own,
                log=self.records.log,
                variables=variables,
            )
        assert build is not None
        known = self._recipe(build)
        self.metadata.ensure_schemas()
        return launching.directly(
            Path(build.directory) / processes.SERVER,
            arguments=[*known.arguments, *own],
            log=self.records.log,
            variables={**variables, **known.variables},
        )

    def _write_listeners(self) -> str:
        shipped = Path("src/materialized/ci/listener_configs/no_auth.json")
        root = self._checkout.root if self._checkout else Path()
        wanted = known_listeners(root / shipped, self.ports)
        write_atomically(self.records.listeners, encode(wanted))
        return str(self.records.listeners)

    def _recipe(self, build: Build) -> Recipe:
        """Return how ``build`` is launched: as it was itself, or as the last build was."""
        own = read_struct(_recipe_of(build), Recipe)
        known = own or read_struct(self.records.recipe, Recipe)
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
        flags = recipe.state_arguments(self.files, "", self.ports, "")
        known = recipe.recorded(server.arguments[1:], variables, flags)
        if not variables:
            return  # it has halted already; the next start tells
        write_struct(self.records.recipe, known)
        build = self.builds.identify(server.file)
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

    def _await(self, progress: Progress, ended: launching.Ended, offset: int) -> None:
        await_ready(self._watch(ended, offset), progress)

    def _watch(self, ended: launching.Ended, offset: int) -> Watch:
        return Watch(
            ports=self.ports,
            said=lambda: logs.since(self.records.log, offset),
            ended=ended,
            timeout_s=self._timeout_s,
        )

    def _started(self, token: str, offset: int, ready_ns: int) -> Step:
        """Write the start down; the server may have halted and been launched anew meanwhile."""
        family = processes.launched_with(token)
        server = next(each for each in family if processes.is_server(each))
        record = self.records.read()
        self.records.write(msgspec.structs.replace(record, process=server.identity))
        build = self.builds.identify(server.file)
        identity = server.identity
        self.records.add_boot(
            Boot(
                id=boot_id(identity),
                started_at=started_at(identity),
                build=named(build),
                ready_ns=ready_ns,
                phases=startup.phases(logs.since(self.records.log, offset).splitlines()),
                objects=self._count(),
            )
        )
        reached("env.start.ready:after")
        why = f"started {named(build)}, pid {identity.pid}, ready after {ready_ns / 1e9:.1f} s"
        return Step(name="environmentd", status=Status.CHANGED, why=why)

    def _count(self) -> int:
        with contextlib.closing(sql.connect(self.ports, "env.start")) as connection:
            return objects.count(connection).total

    def _stop(self, progress: Progress) -> Step:
        found = self.inspect()
        record = self.records.read()
        if found.server is not None and not found.ours:
            why = f"pid {found.server.identity.pid} left alone: the lab did not start it"
            return Step(name="environmentd", status=Status.SKIPPED, why=why)
        family = [each for token in record.tokens for each in processes.launched_with(token)]
        if family:
            progress.say(f"Stopping environmentd ({len(family)} processes) …")
            processes.end(family)
        self.records.write(msgspec.structs.replace(record, process=None))
        if not family:
            return Step(name="environmentd", status=Status.OK, why="nothing runs")
        why = f"stopped {len(family)} processes"
        return Step(name="environmentd", status=Status.CHANGED, why=why)


def started_at(identity: ProcessIdentity) -> str:
    """Return when a process started, as ISO 8601 in UTC."""
    return datetime.fromtimestamp(identity.started, UTC).isoformat(timespec="seconds")


def boot_id(identity: ProcessIdentity) -> str:
    """Return what identifies this start of a process."""
    began = identity.since_boot if identity.since_boot >= 0 else identity.started
    return f"{identity.pid}@{began:.2f}"


def _launchers(token: str) -> tuple[Running, ...]:
    """Return what lives of a launch and keeps an environmentd running, or is one."""
    family = processes.launched_with(token)
    return tuple(each for each in family if not processes.is_worker(each))


def _while_launching(token: str) -> launching.Ended:
    """Return whether a launch that was not this command's has ended; how, is not known."""
    return lambda: None if _launchers(token) else 1


def _already(found: Found, whose: str = "") -> Step:
    pid = found.process.pid if found.process else 0
    why = f"already running, {named(found.build)}, pid {pid}{whose}"
    return Step(name="environmentd", status=Status.OK, why=why)


def _recipe_of(build: Build) -> Path:
    return Path(build.directory) / "launch.json"


def _occupied(what: str) -> PreconditionError:
    return PreconditionError(
        what,
        code="environment.occupied",
        why="An environmentd is at work on this state. A second one would take it over, and kill"
        " the first.",
        remedy="Stop it the way it was started, or give this workspace a `data` folder and a"
        " `metadata` store of its own under [materialize] in lab.toml.",
    )


def _last_line(text: str) -> str:
    lines = [startup.plain(line).strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:100] if lines else "nothing said yet"
