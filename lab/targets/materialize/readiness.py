"""Waiting until an environment is ready, in the order in which its parts come up."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Callable, Sequence

import msgspec
import psycopg

from lab.core.errors import ExternalError, LabError, LabTimeoutError, PreconditionError
from lab.core.progress import Progress
from lab.servers.connection import Connection
from lab.targets.materialize import http, startup
from lab.targets.materialize.ports import Ports
from lab.targets.materialize.sql import connect

READY = "/api/readyz"
_POLL_S = 0.1
_SAY_EVERY_S = 5.0
_COUNT = b"SELECT count(*) FROM mz_objects"
_LOG_LINES = 12
# As src/catalog/src/durable/error.rs and src/persist-client/src/internal/encoding.rs word it
# (v26.24).
_NEWER = (
    "incompatible Catalog version",
    "incompatible persist version",
    "cannot read data with version",
)
_MOST_HALTS = 3
_IN_USE = ("Address already in use", "address already in use")


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """What a start is watched by.

    ``said`` returns what was written to the log since the launch, ``ended`` the exit code of what
    was launched, None while it runs or where it is not the lab's to know.
    """

    ports: Ports
    said: Callable[[], str]
    ended: Callable[[], int | None]
    timeout_s: float


def await_ready(watch: Watch, progress: Progress) -> None:
    """Wait until `READY` is 200, ``SELECT 1`` answers, and objects can be counted.

    The last proves that the catalog cluster, a ``clusterd``, has come up.

    Raises
    ------
    ExternalError
        It ended, panicked, or halts again and again; what it said is shown.
    PreconditionError
        A port is taken, or a newer version has opened this state.
    LabTimeoutError
        It is not ready in time; it goes on by itself.
    """
    deadline = time.monotonic() + watch.timeout_s
    teller = _Teller(watch, progress)
    while not _is_ready(watch.ports):
        _require_alive(watch)
        _require_time(watch, deadline, teller.phase())
        teller.tell()
        time.sleep(_POLL_S)
    with contextlib.closing(_connected(watch, deadline)) as connection:
        teller.say("It answers; waiting for the catalog cluster …")
        _answers(connection, _COUNT, watch, deadline)


def _is_ready(ports: Ports) -> bool:
    try:
        return http.call(ports.internal_http, READY, timeout_s=5).status == 200
    except LabError:
        return False


def _connected(watch: Watch, deadline: float) -> Connection:
    while True:
        try:
            return connect(watch.ports, "env.start")
        except LabError:
            _require_alive(watch)
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_S)


def _answers(connection: Connection, sql: bytes, watch: Watch, deadline: float) -> None:
    """Ask once and wait: a query that was given up would start over on the cluster."""
    pgconn = connection.pgconn
    try:
        pgconn.send_query(sql)
        while pgconn.is_busy():
            readable, _, _ = select.select([pgconn.socket], [], [], 1.0)
            if readable:
                pgconn.consume_input()
            else:
                _require_alive(watch)
                _require_time(watch, deadline, "the catalog cluster")
        while pgconn.get_result() is not None:
            pass
    except psycopg.Error as error:
        _require_alive(watch)
        raise _failed(
            "environmentd went away while it was asked for its objects.", watch
        ) from error


class _Teller:
    """Says every few seconds how far a start has come."""

    def __init__(self, watch: Watch, progress: Progress) -> None:
        self._watch = watch
        self._progress = progress
        self._began = time.monotonic()
        self._next = self._began + _SAY_EVERY_S / 2
        self._said = ""

    def tell(self) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _SAY_EVERY_S
            self.say(f"Starting environmentd: {self.phase() or self._last_line()} …")

    def phase(self) -> str:
        return startup.current_phase(self._watch.said().splitlines())

    def say(self, text: str) -> None:
        waited_s = time.monotonic() - self._began
        self._progress.say(f"{text} ({waited_s:.0f} s)")

    def _last_line(self) -> str:
        lines = [line.strip() for line in self._watch.said().splitlines() if line.strip()]
        return startup.plain(lines[-1])[:100] if lines else "nothing said yet"


def _require_alive(watch: Watch) -> None:
    code = watch.ended()
    if code is not None:
        raise failure(code, watch)
    # One that halts is started anew, by the checkout's wrapper or by the lab: in vain, for some.
    said = watch.said()
    halts = startup.halts(said)
    if halts and any(sign in said for sign in _NEWER):
        raise _newer(said)
    if len(halts) >= _MOST_HALTS:
        raise _halted(halts)


def failure(code: int, watch: Watch) -> LabError:
    """Return the error for what was launched and ended with ``code`` before it was ready."""
    said = watch.said()
    if any(sign in said for sign in _NEWER):
        return _newer(said)
    if any(sign in said for sign in _IN_USE):
        return PreconditionError(
            "A port that environmentd needs is taken.",
            code="port.taken",
            why=_line_with(said, _IN_USE),
            remedy="Stop what holds it, or set `port` under [materialize] in lab.toml.",
        )
    panic = startup.panic(said)
    if panic:
        return ExternalError(
            "environmentd panicked while it started.",
            code="server.panicked",
            why=panic,
            remedy="`env.logs` shows the lines around it.",
        )
    halts = startup.halts(said)
    if halts and code == startup.HALTED:
        return _halted(halts)
    return _failed(f"environmentd did not start: exit code {code}.", watch)


def _newer(said: str) -> PreconditionError:
    return PreconditionError(
        "This state was opened by a newer version of Materialize.",
        code="state.newer-version",
        why=_line_with(said, _NEWER),
        remedy="State goes forward only: start a build at least as new (`build.list`).",
    )


def _halted(halts: Sequence[str]) -> ExternalError:
    times = "once" if len(halts) == 1 else f"{len(halts)} times"
    return ExternalError(
        f"environmentd halted {times} while it started.",
        code="server.halted",
        why=halts[-1],
        remedy="It is meant to be started anew: run the command again. Where that does not help,"
        " `env.logs` shows the lines around it.",
    )


def _failed(what: str, watch: Watch) -> ExternalError:
    return ExternalError(
        what,
        code="server.failed",
        why=_last_lines(watch.said(), _LOG_LINES) or "It said nothing.",
        remedy="The lines above are the end of what it said; `env.logs` shows more.",
    )


def _require_time(watch: Watch, deadline: float, phase: str) -> None:
    if time.monotonic() <= deadline:
        return
    raise LabTimeoutError(
        f"environmentd is not ready after {watch.timeout_s:.0f} s"
        f"{f': it is at {phase}' if phase else ''}.",
        code="server.not-ready",
        why=_last_lines(watch.said(), 8) or "It has said nothing yet.",
        remedy="It goes on by itself: run the command again to wait longer, or set"
        " `start_timeout_s` under [materialize] in lab.toml.",
    )


def _last_lines(said: str, lines: int) -> str:
    kept = [startup.plain(line) for line in said.splitlines() if line.strip()]
    return "\n".join(kept[-lines:])


def _line_with(text: str, signs: tuple[str, ...]) -> str:
    return next(
        startup.plain(line) for line in text.splitlines() if any(sign in line for sign in signs)
    )
