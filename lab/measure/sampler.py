"""Time one statement on one open connection, at the level of libpq."""

from __future__ import annotations

import contextlib
import gc
import select
import sys
from collections.abc import Iterator
from time import perf_counter_ns
from typing import TYPE_CHECKING, NamedTuple

import psycopg
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, TransactionStatus

from lab.servers.connection import Connection

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

TIMEOUT_S = 60.0
"""How long a statement may take before it is given up."""

_SWITCH_S = 1e-4
_CANCEL_S = 5.0
_LONGEST_MESSAGE = 300


class Reply(NamedTuple):
    """What became of one statement.

    ``sent_ns`` is ``time.perf_counter_ns`` when it was sent, ``duration_ns`` the time from then to
    the server's ready message. ``error`` is the server's SQLSTATE and message, empty where it
    succeeded. ``lost`` says why the connection cannot be used any more, empty where it can.
    ``commit_ns`` is the part of ``duration_ns`` that a COMMIT after the statement took.
    """

    sent_ns: int
    duration_ns: int
    error: str = ""
    lost: str = ""
    commit_ns: int = 0


class Sampler:
    """Sends statements on ``connection``, which must be in autocommit mode, and times each.

    A statement goes out as one simple query, as a person's would. The wait is a poll with a
    deadline: a server that hangs is given up after ``timeout_s`` seconds, and Ctrl-C gets through,
    neither of which holds for libpq's own blocking call.
    """

    def __init__(self, connection: Connection, timeout_s: float = TIMEOUT_S) -> None:
        self._pgconn = connection.pgconn
        self._timeout_s = timeout_s
        self._timeout_ns = round(timeout_s * 1e9)
        self._poll = select.poll()
        with contextlib.suppress(psycopg.OperationalError):  # lost already: `time` will say so
            self._poll.register(self._pgconn.socket, select.POLLIN)

    def time(self, sql: bytes) -> Reply:
        """Execute ``sql`` (encoded beforehand) and read all of its results.

        After a reply that says ``lost`` the sampler is of no further use.
        """
        return self._send(sql)[0]

    def transact(self, sql: bytes) -> Reply:
        """Execute ``sql`` between BEGIN and COMMIT; statement and COMMIT are timed, each by itself.

        A server may put the work off to the COMMIT, and may answer it by rolling back without an
        error: then what it answers says so, and the sample failed. After a failure the transaction
        is ended, untimed, so that the next one begins in none.
        """
        begun = self.time(b"BEGIN")
        reply = begun._replace(duration_ns=0)
        if not (begun.error or begun.lost):
            reply = self._committed(self.time(sql))
        return reply if reply.lost else reply._replace(lost=self.end())

    def commit(self) -> Reply:
        """Send COMMIT, and take an answer with another tag (``ROLLBACK``) for the failure it is."""
        reply, tag = self._send(b"COMMIT")
        if reply.error or reply.lost or tag == b"COMMIT":
            return reply
        return reply._replace(error=f"COMMIT answered {tag.decode(errors='replace')}")

    def end(self) -> str:
        """Roll back the transaction that is open, if one is; return why the connection is lost."""
        if self._pgconn.transaction_status == TransactionStatus.IDLE:
            return ""
        ended = self.time(b"ROLLBACK")
        return ended.lost or ended.error

    def _committed(self, executed: Reply) -> Reply:
        if executed.error or executed.lost:
            return executed
        commit = self.commit()
        return executed._replace(
            duration_ns=executed.duration_ns + commit.duration_ns,
            error=commit.error,
            lost=commit.lost,
            commit_ns=commit.duration_ns,
        )

    def _send(self, sql: bytes) -> tuple[Reply, bytes]:
        """Execute ``sql`` and return what became of it, and the command tag of its last result."""
        pgconn = self._pgconn
        results: list[PGresult] = []
        started = perf_counter_ns()
        try:
            pgconn.send_query(sql)
            while True:
                while pgconn.is_busy():
                    if not self._readable(started):
                        return self._given_up(started), b""
                    pgconn.consume_input()
                result = pgconn.get_result()
                if result is None:
                    break
                results.append(result)
        except psycopg.Error as broken:
            duration = perf_counter_ns() - started
            return Reply(started, duration, lost=_first_line(broken)), b""
        duration = perf_counter_ns() - started
        error = _failure(results)
        lost = error or "connection lost" if pgconn.status == ConnStatus.BAD else ""
        tag = (results[-1].command_status if results else None) or b""
        return Reply(started, duration, error, lost), tag

    def _readable(self, started: int) -> bool:
        left_ns = started + self._timeout_ns - perf_counter_ns()
        return left_ns > 0 and bool(self._poll.poll(left_ns / 1e6))

    def _given_up(self, started: int) -> Reply:
        lost = f"no answer within {self._timeout_s:g} s"
        return Reply(started, perf_counter_ns() - started, lost=lost)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Keep Python itself from adding to the times taken inside.

    The garbage collector is off, and a thread that shows progress has to give way within 0.1 ms of
    an answer's arrival instead of the usual 5 ms.
    """
    collecting, interval = gc.isenabled(), sys.getswitchinterval()
    gc.collect()
    gc.disable()
    sys.setswitchinterval(_SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        if collecting:
            gc.enable()


def interrupt(connection: Connection) -> None:
    """End a statement that is still under way: after Ctrl-C, or when it took too long."""
    with contextlib.suppress(psycopg.Error):
        if connection.info.transaction_status is TransactionStatus.ACTIVE:
            connection.cancel_safe(timeout=_CANCEL_S)


def answers(connection: Connection, timeout_s: float = 5.0) -> bool:
    """Say whether the server still answers on ``connection``, waiting ``timeout_s`` at most."""
    if connection.closed:
        return False
    reply = Sampler(connection, timeout_s).time(b"SELECT 1")
    return not reply.lost and not reply.error


def _failure(results: list[PGresult]) -> str:
    for result in results:
        if result.status == ExecStatus.FATAL_ERROR:
            # A server that asks another one may tell what that one answered in the detail alone.
            fields = (
                DiagnosticField.SQLSTATE,
                DiagnosticField.MESSAGE_PRIMARY,
                DiagnosticField.MESSAGE_DETAIL,
            )
            told = [(result.error_field(field) or b"").decode(errors="replace") for field in fields]
            # What libpq itself reports, such as a closed connection, has no fields.
            text = " ".join(" ".join(told).split())
            text = text or result.error_message.decode(errors="replace").strip()
            return " ".join(text.splitlines()[:1])[:_LONGEST_MESSAGE]
    return ""


def _first_line(error: Exception) -> str:
    text = str(error).removeprefix("consuming input failed: ")
    return " ".join(text.splitlines()[:1])[:_LONGEST_MESSAGE]
