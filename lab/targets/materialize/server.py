"""One environmentd on one state: found, adopted, started without reset, stopped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from lab.core.errors import PreconditionError, StateMismatchError
from lab.core.locks import exclusive
from lab.core.progress import Progress
from lab.core.results import Check, Status, Step
from lab.servers import logs
from lab.servers.connection import Connection
from lab.servers.records import Condition
from lab.targets.base import OTHER_BUILD, Launch
from lab.targets.materialize import processes, recipe, sql, startup
from lab.targets.materialize.builds import BuildStore
from lab.targets.materialize.checkout import Checkout
from lab.targets.materialize.metadata import MetadataStore
from lab.targets.materialize.ports import Ports, sql_port
from lab.targets.materialize.processes import Running, boot_id, started_at
from lab.targets.materialize.record import Records
from lab.targets.materialize.runs import Found, fits, named
from lab.targets.materialize.starting import PROFILES, Starter, while_launching
from lab.targets.materialize.state import StateFiles
from lab.targets.materialize.state_checks import disk_space, require_room, strays, together

_LOCK_WAIT_S = 120.0
_RETURN_S = 120.0


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
        self._starter = Starter(
            files=files,
            records=records,
            ports=ports,
            metadata=metadata,
            builds=builds,
            checkout=checkout,
            arguments=arguments,
            timeout_s=timeout_s,
        )

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
            starting = tuple(processes.launchers(record.token))
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
                self._starter.await_earlier(progress)
                found = self.inspect()
            if found.server is not None:
                return self._adopt(found, found.server, wanted, progress)
            profile, build = self._starter.chosen(wanted.build or self.declared)
            steps = [*self._end_left(found), *self._start_store(progress)]
            with contextlib.closing(self.metadata.connect("env.start")) as connection:
                steps += self._prepare(connection)
            self.ports.require_free()
            require_room(self.files.folder)
            return (*steps, self._starter.launch(profile, build, wanted, progress))

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
            return record.process is not None and not processes.launchers(record.token)

        processes.wait_until(lambda: sql.answers(self.ports, "lab.seed") or is_gone(), _RETURN_S)
        if sql.answers(self.ports, "lab.seed"):
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

    def _adopt(
        self, found: Found, server: Running, wanted: Launch, progress: Progress
    ) -> tuple[Step, ...]:
        """Wait until what runs answers; it must be the build that is wanted."""
        _require_adoptable(found, server, wanted, self.misplaced(found))
        if not found.ours:
            # What is written to its log is not the lab's to read.
            nothing = logs.size(self.records.log)
            self.records.write(msgspec.structs.replace(self.records.read(), process=None))
            self._starter.await_ready(
                progress, lambda: None if server.identity.alive() else 1, nothing
            )
            return (_already(found, "; the lab did not start it and will not stop it"),)
        steps = self._start_store(progress)
        record = self.records.read()
        self._starter.await_ready(progress, while_launching(server.token), record.offset)
        # It may have halted and been launched anew meanwhile.
        found = self.inspect()
        self.records.write(msgspec.structs.replace(record, process=found.process))
        return (*steps, _already(found))

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

    def _stop(self, progress: Progress) -> Step:
        found = self.inspect()
        record = self.records.read()
        if found.server is not None and not found.ours:
            why = f"pid {found.server.identity.pid} left alone: the lab did not start it"
            return Step(name="environmentd", status=Status.SKIPPED, why=why)
        family = processes.launched_with(*record.tokens)
        if family:
            progress.say(f"Stopping environmentd ({len(family)} processes) …")
            processes.end(family)
        self.records.write(msgspec.structs.replace(record, process=None))
        if not family:
            return Step(name="environmentd", status=Status.OK, why="nothing runs")
        why = f"stopped {len(family)} processes"
        return Step(name="environmentd", status=Status.CHANGED, why=why)


def _require_adoptable(found: Found, server: Running, wanted: Launch, misplaced: str) -> None:
    """Refuse what runs where it is another build, or ``misplaced``."""
    who = f"environmentd runs on this state already, pid {server.identity.pid}"
    otherwise = "Stop it the way it was started; then `env.start`."
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
            remedy=f"Change over with `env.switch {wanted.build}`." if found.ours else otherwise,
        )


def _already(found: Found, whose: str = "") -> Step:
    pid = found.process.pid if found.process else 0
    why = f"already running, {named(found.build)}, pid {pid}{whose}"
    return Step(name="environmentd", status=Status.OK, why=why)


def _occupied(what: str) -> PreconditionError:
    return PreconditionError(
        what,
        code="environment.occupied",
        why="An environmentd is at work on this state. A second one would take it over, and kill"
        " the first.",
        remedy="Stop it the way it was started, or give this workspace a `data` folder and a"
        " `metadata` store of its own under [materialize] in lab.toml.",
    )
