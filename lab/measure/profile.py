"""Drive one kind of statement while a profiler samples the server's stacks."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec
import psutil

from lab.core.errors import ExternalError, LabError, PreconditionError, StateMismatchError
from lab.core.processes import ProcessIdentity
from lab.core.progress import Progress
from lab.measure.sampler import Sampler
from lab.metrics.stacks import Stack, from_perf
from lab.servers.connection import Connection
from lab.targets.base import Environment, Workload

HERTZ = 99
"""How often stacks are sampled in a second; no divisor of what else happens periodically."""

_BEYOND_S = 120.0


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A profile and what was driven meanwhile.

    ``statements`` were executed of the kind ``statement`` in ``duration_ns``, in the mean
    ``client_ns`` each. ``cpu_ns`` is the CPU time that the server's process used in that time, and
    ``waited_ns`` how long its threads waited for a CPU, None where that cannot be seen. ``page`` is
    what the profiler wrote, ``suffix`` the kind of file.
    """

    statement: str
    statements: int
    failed: int
    duration_ns: int
    client_ns: int
    cpu_ns: int | None
    waited_ns: int | None
    stacks: tuple[Stack, ...]
    page: bytes
    suffix: str
    source: str
    heap: bytes = b""
    heap_missing: str = ""

    @property
    def cores(self) -> float | None:
        """How many cores the server kept busy; None where that cannot be seen."""
        return None if self.cpu_ns is None else self.cpu_ns / self.duration_ns

    @property
    def waiting(self) -> float:
        """How many of the server's threads waited for a CPU, in the mean; 0 where unknown."""
        return (self.waited_ns or 0) / self.duration_ns

    @property
    def cpu_bound(self) -> bool | None:
        """Whether CPU time can be most of the latency: one statement runs at a time.

        With less than half a core busy it cannot be, whatever the profile shows: the statement
        waits for most of its time. Waiting for a CPU that others hold counts as needing one. None
        where CPU time cannot be seen.
        """
        return None if self.cores is None else self.cores + self.waiting >= _HALF


_HALF = 0.5


def profile(
    environment: Environment,
    statement: str,
    *,
    seconds: int,
    with_perf: bool,
    with_heap: bool,
    progress: Progress,
) -> Profile:
    """Execute ``statement`` (a create with its drop) for ``seconds`` while stacks are sampled.

    Raises
    ------
    UsageError
        The target does not know the statement.
    PreconditionError
        Nothing runs, or there is no such profiler here.
    ExternalError
        The profiler failed, or no statement succeeded.
    """
    workload = environment.workload((statement,))
    with (
        contextlib.closing(environment.connect("profile")) as connection,
        _fixtures(environment, workload),
    ):
        process = _serving(environment.inspect().process, connection)
        sample = _sampling(environment, process, seconds, with_perf=with_perf)
        progress.say(f"Profiling {statement} for {seconds} s …")
        driver = _Driver(connection, workload, statement)
        taken = driver.beside(sample, seconds, lambda: _used(process))
    page, suffix, stacks, source = taken.sampled
    heap, missing = _heap(environment) if with_heap else (b"", "")
    if not driver.durations:
        raise ExternalError(
            f"No {statement} succeeded while it was profiled.",
            code="profile.no-statement",
            why=driver.error or "None came to its end.",
            remedy="Try it with `session.measure`, which shows each error.",
        )
    return Profile(
        statement=statement,
        statements=len(driver.durations),
        failed=driver.failed,
        duration_ns=taken.duration_ns,
        client_ns=sum(driver.durations) // len(driver.durations),
        cpu_ns=taken.used[0],
        waited_ns=taken.used[1],
        stacks=stacks,
        page=page,
        suffix=suffix,
        source=source,
        heap=heap,
        heap_missing=missing,
    )


_Sampled: TypeAlias = tuple[bytes, str, tuple[Stack, ...], str]
_Used: TypeAlias = tuple[int | None, int | None]


class _Taken(NamedTuple):
    sampled: _Sampled
    duration_ns: int
    used: _Used


class _Driver:
    """Executes the turns of the statement's cycle, one after the other, until told to stop."""

    def __init__(self, connection: Connection, workload: Workload, statement: str) -> None:
        self._sampler = Sampler(connection)
        self._cycle = workload.cycles[0]
        self._statement = statement
        self.durations: list[int] = []
        self.failed = 0
        self.error = ""

    def beside(
        self, sample: Callable[[], _Sampled], seconds: int, used: Callable[[], _Used]
    ) -> _Taken:
        """Drive for ``seconds`` while ``sample`` runs beside, which may take longer to write up."""
        with ThreadPoolExecutor(1) as pool:
            before, began = used(), time.perf_counter_ns()
            sampled = pool.submit(sample)
            turn = 0
            while time.perf_counter_ns() - began < seconds * 1e9 and not sampled.done():
                self._take(turn)
                turn += 1
            duration_ns, after = time.perf_counter_ns() - began, used()
            return _Taken(sampled.result(), duration_ns, _difference(before, after))

    def _take(self, turn: int) -> None:
        for operation in self._cycle.operations(turn):
            reply = self._sampler.time(operation.sql.encode())
            if reply.lost:
                raise StateMismatchError(
                    "The server went away while it was profiled.",
                    code="profile.lost",
                    why=reply.lost,
                    remedy="`env.status` says what is there; `env.logs` shows why.",
                )
            if reply.error:
                self.failed += 1
                self.error = reply.error
            elif operation.statement == self._statement:
                self.durations.append(reply.duration_ns)


def _sampling(
    environment: Environment, process: ProcessIdentity | None, seconds: int, *, with_perf: bool
) -> Callable[[], _Sampled]:
    """Return what takes the profile."""
    if with_perf:
        perf, pid = _perf(), _pid(process)
        return lambda: _with_perf(perf, pid, seconds)
    profiler = environment.profiler
    if profiler is None:
        raise PreconditionError(
            f"The target {environment.target} has no profiler of its own.",
            code="profile.none",
            why="It offers none over its connections.",
            remedy="`--perf` samples its process with Linux's perf, where that is installed.",
        )

    def over_http() -> _Sampled:
        page, stacks = profiler.cpu(seconds, HERTZ)
        return page, "html", stacks, "the server's own profiler"

    return over_http


def _serving(server: ProcessIdentity | None, connection: Connection) -> ProcessIdentity | None:
    """Return the process that serves ``connection``: a backend of its own, or the server itself.

    The pid that a server tells a connection may be no process's: then it is the server's.
    """
    backend = ProcessIdentity.of(connection.info.backend_pid)
    if server and backend and backend.executable == server.executable:
        return backend
    return server


def _perf() -> str:
    perf = shutil.which("perf")
    if perf is None:
        raise PreconditionError(
            "perf is not installed.",
            code="profile.no-perf",
            why="`--perf` needs Linux's perf on the PATH.",
            remedy="Install it (on Debian: the package linux-perf), or leave `--perf` out.",
        )
    return perf


def _pid(process: ProcessIdentity | None) -> int:
    if process is None:
        raise PreconditionError(
            "There is no process to profile.",
            code="environment.not-running",
            why="The environment does not run, or runs where this host does not see it.",
            remedy="`env.start` starts it.",
        )
    return process.pid


def _with_perf(perf: str, pid: int, seconds: int) -> _Sampled:
    """Record the process ``pid`` by frame pointers (perf-record(1)), and read its stacks."""
    with tempfile.TemporaryDirectory(prefix="ddl-lab-perf-") as folder:
        data = Path(folder) / "perf.data"
        record = [perf, "record", "--freq", str(HERTZ), "--call-graph", "fp", "--pid", str(pid)]
        _call([*record, "--output", str(data), "--", "sleep", str(seconds)], seconds)
        script = _call([perf, "script", "--input", str(data)], seconds)
    return script.encode(), "perf.txt", from_perf(script), "perf, by frame pointers"


def _call(command: list[str], seconds: int) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds + _BEYOND_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _perf_failed(f"it did not end within {seconds + _BEYOND_S:.0f} s") from error
    if done.returncode != 0:
        raise _perf_failed("\n".join(done.stderr.strip().splitlines()[-4:]))
    return done.stdout


def _perf_failed(why: str) -> ExternalError:
    return ExternalError(
        "perf did not record.",
        code="profile.perf-failed",
        why=why,
        remedy="The kernel may allow it to root alone (kernel.perf_event_paranoid), or not at all"
        " in a virtual machine; the server's own profiler needs no such right.",
    )


def _heap(environment: Environment) -> tuple[bytes, str]:
    """Return the heap profile, or why there is none."""
    if environment.profiler is None:
        return b"", f"the target {environment.target} makes none"
    try:
        return environment.profiler.heap(), ""
    except LabError as error:
        return b"", f"{error.what} {error.why}".strip()


@contextlib.contextmanager
def _fixtures(environment: Environment, workload: Workload) -> Iterator[None]:
    with contextlib.closing(environment.connect("profile fixtures")) as connection:
        try:
            for sql in workload.setup:
                connection.execute(sql.encode(), prepare=False)
            yield
        finally:
            for sql in workload.teardown:
                connection.execute(sql.encode(), prepare=False)


def _used(process: ProcessIdentity | None) -> _Used:
    """Return the CPU time that ``process`` has used, and the time it has waited for a CPU, in ns.

    Over all of its threads, as the kernel counts it (proc(5), schedstat); a thread that has ended
    is not in the latter.
    """
    if process is None or not process.alive():
        return None, None
    with contextlib.suppress(psutil.Error, OSError, ValueError):
        times = psutil.Process(process.pid).cpu_times()
        waited = sum(
            int(path.read_text().split()[1])
            for path in Path(f"/proc/{process.pid}/task").glob("*/schedstat")
        )
        return round((times.user + times.system) * 1e9), waited
    return None, None


def _difference(before: _Used, after: _Used) -> _Used:
    cpu = None if before[0] is None or after[0] is None else after[0] - before[0]
    waited = None if before[1] is None or after[1] is None else max(0, after[1] - before[1])
    return cpu, waited
