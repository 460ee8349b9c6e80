"""The embedded PostgreSQL server: found, started, adopted, stopped; never reset by starting.

Where things are, for a state named NAME:

``.lab/states/NAME/``
    the state: ``data``, the superuser's ``password`` (mode 600), the settings ``lab.conf``, and
    ``launch.json``, which tells a server that the lab launched from any other on the same data. As
    root this may be a link; see `lab.servers.placement`.
``.lab/environments/NAME.json``, ``NAME.log``
    the port and the process, and the server's log.

The server listens on 127.0.0.1 only, and outlives the command and the terminal.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.core.errors import ExternalError, LabError, PreconditionError
from lab.core.files import explained, read_struct, write_atomically, write_struct
from lab.core.killpoints import reached
from lab.core.locks import exclusive
from lab.core.processes import ProcessIdentity
from lab.core.progress import Progress
from lab.core.results import Status, Step
from lab.servers import binaries as programs
from lab.servers import cluster, folders, launch, logs, placement, ports, settings, stopping
from lab.servers.accounts import Account, account_for, not_the_owner
from lab.servers.records import Condition, Found, Launch, Record

if TYPE_CHECKING:
    import psycopg

READY_S = 60.0
RECOVERED_S = 900.0
"""Time-outs until the server answers: after an orderly stop, and after a crash."""
_CLOSING_S = 1.0
"""For how long a process that was killed may still be seen, and hold its port after that."""
_LOCK_WAIT_S = 120.0


class EmbeddedServer:
    """One server on one state.

    Parameters
    ----------
    states, environments:
        The folders of that name in the workspace.
    name:
        The name of the state.
    user_settings, port:
        What ``lab.toml`` says; ``port`` None lets the lab choose one and keep it.
    trusted:
        Who may log in without a password; it takes effect where the state is made.
    base:
        Where root puts what its server could not reach otherwise.
    binaries:
        The programs to use; None for those of the wheel.

    """

    def __init__(
        self,
        *,
        states: Path,
        environments: Path,
        name: str,
        user_settings: Mapping[str, str],
        port: int | None = None,
        trusted: Sequence[cluster.Trusted] = (),
        base: Path = placement.BASE,
        binaries: programs.Binaries | None = None,
    ) -> None:
        self.name = name
        self.link = states / name
        self.log = environments / f"{name}.log"
        self._record_file = environments / f"{name}.json"
        self._lock_file = environments / f"{name}.lock"
        self._settings = user_settings
        self._port = port
        self._trusted = trusted
        self._base = base
        self._binaries = binaries

    def __repr__(self) -> str:
        return f"EmbeddedServer({str(self.link)!r})"

    @property
    def folder(self) -> Path:
        """Where the state really lies."""
        return self.link.resolve()

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / folders.DATA

    @property
    def binaries(self) -> programs.Binaries:
        """The programs of the build."""
        return self._binaries or programs.shipped()

    def inspect(self) -> Found:
        """Look, and change nothing.

        Raises
        ------
        PreconditionError
            The state belongs to another user or another workspace, or is none that the lab made,
            or a file cannot be read.

        """
        record = self._record()
        if not self.data.is_dir():
            return Found(condition=Condition.ABSENT, port=record.port)
        placement.require_own(self.link, self._base)
        if os.geteuid() not in (0, self.data.stat().st_uid):
            raise not_the_owner(self.data)
        cluster.require_made_by_the_lab(self.data)
        process = cluster.postmaster(self.data) or self._recorded_process(record)
        ours = process is not None and self._is_ours(process)
        # Of one that ends at this moment it cannot be told any more whose it was.
        if process is None or not (ours or process.alive()):
            clean = cluster.shut_down_cleanly(self.data, self.binaries)
            condition = Condition.STOPPED if clean else Condition.CRASHED
            return Found(condition=condition, port=record.port)
        file = cluster.read_pid_file(self.data)
        return Found(
            condition=Condition.RUNNING if ours else Condition.FOREIGN,
            port=file.port if file else record.port,
            process=process,
            stopping=cluster.is_stopping(self.data),
        )

    def start(self, progress: Progress) -> tuple[Step, ...]:
        """Start the server, or adopt the one that runs; never a second one.

        One that is about to end is waited for, and a new one started then.

        Raises
        ------
        UsageError
            A setting that the lab does not allow.
        PreconditionError
            Port taken, disk full, state held by a server that is not the lab's.
        ExternalError, LabTimeoutError
            The server does not come up; the end of its log is shown.

        """
        settings.wanted(self.name, self._port or 0, self._settings)
        with exclusive(self._lock_file, "env.start", wait_s=_LOCK_WAIT_S):
            found, adopted = self._adopted(progress)
            if adopted is not None:
                return (adopted,)
            account = account_for(self.data)
            placement.place(self.link, account, self._base)
            # As root the place may hold a state already, from a `.lab` that was removed since.
            found, adopted = self._adopted(progress)
            if adopted is not None:
                return (adopted,)
            binaries = programs.runnable(self.binaries, account, self._base)
            steps: tuple[Step, ...] = ()
            if found.condition is Condition.ABSENT:
                progress.say(f"Making the state {self.name} (initdb) …")
                cluster.initialise(self.folder, binaries, account, self._trusted)
                steps = (Step(name="state", status=Status.CHANGED, why=f"made {self.name}"),)
            cluster.require_version(self.data, binaries)
            return (*steps, self._launch(found, binaries, account, progress))

    def stop(self, progress: Progress) -> tuple[Step, ...]:
        """Stop the server; the state stays. ``ok`` where nothing runs.

        Raises
        ------
        PreconditionError
            The server is not the lab's.
        LabTimeoutError
            It does not end, or still writes its last checkpoint; it goes on stopping then.

        """
        with exclusive(self._lock_file, "env.stop", wait_s=_LOCK_WAIT_S):
            return (self._stop(progress, in_order=True),)

    def reset(self, progress: Progress) -> tuple[Step, ...]:
        """Stop the server at once and destroy the state; files that the lab did not make stay.

        Raises
        ------
        PreconditionError, LabTimeoutError
            As in `stop`.

        """
        with exclusive(self._lock_file, "env.reset", wait_s=_LOCK_WAIT_S):
            stopped = self._stop(progress, in_order=False)
            if not self.link.exists() or not (self.data.is_dir() or folders.is_marked(self.folder)):
                return (stopped, Step(name="state", status=Status.OK, why="there is none"))
            progress.say(f"Removing the files of the state {self.name} …")
            kept = folders.remove(self.folder)
            if not set(kept) - {placement.ORIGIN}:
                placement.forget(self.link, self._base)
                why = f"removed {self.name}"
            else:
                why = f"removed {self.name}; left alone: {', '.join(kept)}"
            self.log.unlink(missing_ok=True)
            return (stopped, Step(name="state", status=Status.CHANGED, why=why))

    def connect(self, database: str, application: str) -> psycopg.Connection[tuple[Any, ...]]:
        """Open an autocommit connection that the server knows as ``application``.

        Raises
        ------
        PreconditionError
            Nothing runs on the state.
        psycopg.OperationalError
            It does not answer, or there is no such database.

        """
        found = self.inspect()
        if found.process is None:
            raise PreconditionError(
                f"PostgreSQL does not run on the state {self.name}.",
                code="environment.not-running",
                why=f"The state is {found.condition.value}.",
                remedy="`env.start` starts it.",
            )
        return self._connect(found.port, database, application)

    def log_tail(self, lines: int) -> str:
        """Return the last ``lines`` lines of the log."""
        return logs.tail(self.log, lines)

    def settings_differences(self) -> tuple[str, ...]:
        """Return in what the settings of the last start differ from those that are declared."""
        text = self._conf.read_text(encoding="utf-8") if self._conf.exists() else ""
        launched = settings.parse(text)
        port = self._port or int(launched.get("port", 0))
        return settings.differences(launched, settings.wanted(self.name, port, self._settings))

    def declared_settings(self) -> dict[str, str]:
        """Return the settings that the server is to run with."""
        return settings.wanted(self.name, self._port or self._record().port, self._settings)

    @property
    def _conf(self) -> Path:
        return self.folder / settings.FILE

    def _record(self) -> Record:
        return read_struct(self._record_file, Record) or Record()

    def _token(self) -> str:
        return (read_struct(self.folder / folders.LAUNCH, Launch) or Launch()).token

    def _recorded_process(self, record: Record) -> ProcessIdentity | None:
        """Return the recorded process if it still serves the data, whatever became of its files."""
        process = record.process
        if process and process.alive() and cluster.serving(process.pid, self.data):
            return process
        return None

    def _is_ours(self, process: ProcessIdentity) -> bool:
        recorded = self._record().process
        if recorded and recorded.pid == process.pid and recorded.alive():
            return True
        # The command that launched it was killed before it could write the process down.
        return launch.carries(process, self._token())

    def _settled(self) -> Found:
        """Inspect; where a launch of a killed command is still under way, wait for its end."""
        found = self.inspect()
        if found.process and found.condition is Condition.FOREIGN:
            raise cluster.foreign(found.process.pid, self.data)
        pending = None if found.process else launch.launched_with(self._token())
        if pending is None:
            return found
        launch.wait_until(
            lambda: not pending.alive() or cluster.postmaster(self.data) is not None, READY_S
        )
        return self.inspect()

    def _adopted(self, progress: Progress) -> tuple[Found, Step | None]:
        """Adopt what runs; wait for what is about to end. The step is None where nothing runs."""
        found = self._settled()
        while found.process is not None:
            if found.stopping:
                stopping.await_shutdown(found.process, progress)
            else:
                adopted = self._adopt(found, found.process)
                if adopted is not None:
                    return found, adopted
            found = self._settled()
        return found, None

    def _adopt(self, found: Found, process: ProcessIdentity) -> Step | None:
        """Adopt the server that runs; None where it ends instead of answering."""
        self._note(Record(found.port, process))
        try:
            self._await_ready(process, found.port, logs.size(self.log), RECOVERED_S)
        except ExternalError:
            if launch.wait_until(lambda: self._ends(process), _CLOSING_S):
                return None
            raise
        why = (
            f"already running on {ports.LOOPBACK}:{found.port}, pid {process.pid},"
            f" since {found.started}"
        )
        changed = self.settings_differences()
        if changed:
            why += "; it runs with other settings than are declared, until it is started anew"
        return Step(name="server", status=Status.OK, why=why, diff=changed)

    def _ends(self, process: ProcessIdentity) -> bool:
        return not process.alive() or cluster.is_stopping(self.data)

    def _launch(
        self, found: Found, binaries: programs.Binaries, account: Account, progress: Progress
    ) -> Step:
        port = self._port or self._record().port or ports.choose_free()
        crashed = found.condition is Condition.CRASHED
        if crashed:
            progress.say("The server did not end in order: it recovers first …")
        stopping.await_survivors(self.data)
        if not launch.wait_until(lambda: ports.is_free(port), _CLOSING_S):
            raise ports.taken(port)
        cluster.remove_stale_pid_file(self.data)
        self._note(Record(port))
        declared = settings.wanted(self.name, port, self._settings)
        write_atomically(self._conf, settings.render(declared).encode())
        logs.put_aside(self.log)
        token = secrets.token_hex(8)
        write_struct(self.folder / folders.LAUNCH, Launch(token))
        reached("env.start.launch:before")
        offset = logs.size(self.log)
        pid = launch.spawn(binaries, account, self.data, self.log, token)
        reached("env.start.launch:after")
        process = ProcessIdentity.of(pid)
        self._note(Record(port, process))
        reached("env.start.record:after")
        try:
            self._await_ready(process, port, offset, RECOVERED_S if crashed else READY_S)
        except LabError:
            if process is None or not process.alive():
                self._note(Record(port))
                if not ports.is_free(port):
                    raise ports.taken(port) from None
            raise
        reached("env.start.ready:after")
        recovered = launch.recovery(logs.since(self.log, offset))
        why = f"started PostgreSQL {binaries.version()} on {ports.LOOPBACK}:{port}, pid {pid}"
        return Step(
            name="server",
            status=Status.CHANGED,
            why=f"{why}; {recovered}" if recovered else why,
        )

    def _stop(self, progress: Progress, *, in_order: bool) -> Step:
        found = self._settled()
        process = found.process
        if process is None:
            return Step(name="server", status=Status.OK, why="nothing runs")
        progress.say(f"Stopping PostgreSQL (pid {process.pid}) …")
        if in_order:
            ended_by = stopping.end_in_order(process, progress)
        else:
            ended_by = stopping.end_at_once(process)
        stopping.await_survivors(self.data)
        self._note(Record(found.port))
        why = f"stopped pid {process.pid}"
        if in_order and self.inspect().condition is Condition.CRASHED:
            why += f" by {ended_by.name}, since it did not end by itself: the next start recovers"
        return Step(name="server", status=Status.CHANGED, why=why)

    def _await_ready(
        self, process: ProcessIdentity | None, port: int, offset: int, seconds: float
    ) -> None:
        launch.wait_ready(
            process,
            lambda: cluster.is_ready(self.data),
            lambda: self._connect(port, cluster.SUPERUSER, "ddl-lab env.start"),
            log=self.log,
            offset=offset,
            seconds=seconds,
        )

    def _connect(
        self, port: int, database: str, application: str
    ) -> psycopg.Connection[tuple[Any, ...]]:
        path = self.folder / folders.PASSWORD
        with explained(path, "reading"):
            password = path.read_text(encoding="utf-8").strip()
        return launch.connect(port, database, password, application)

    def _note(self, record: Record) -> None:
        write_struct(self._record_file, record)
