"""Launching the server process and waiting until it answers."""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import psycopg

from lab.core.errors import ExternalError, LabError, LabTimeoutError, PreconditionError
from lab.core.files import explained
from lab.core.processes import ProcessIdentity
from lab.servers import cluster, folders, logs, ports
from lab.servers.accounts import Account
from lab.servers.binaries import Binaries

USER = cluster.SUPERUSER
TOKEN = "ddl_lab.launch"  # noqa: S105  a name, and nothing secret
"""The server is given this setting on its command line, so that the lab knows it again."""
_STARTING = ("starting up", "not yet accepting", "recovery mode", "Connection refused")
"""What a server says that will answer soon."""


def connect(
    port: int, database: str, password: str, application: str
) -> psycopg.Connection[tuple[Any, ...]]:
    """Open an autocommit connection over loopback.

    Whatever of the user's ``PG…`` variables could lead it elsewhere or change it is overridden, and
    the password is shown to no server that does not know it already (SCRAM only).
    """
    return psycopg.connect(
        host=ports.LOOPBACK,
        hostaddr=ports.LOOPBACK,
        port=port,
        dbname=database,
        user=USER,
        password=password,
        application_name=application,
        require_auth="scram-sha-256",
        channel_binding="disable",
        sslmode="disable",
        gssencmode="disable",
        target_session_attrs="any",
        options="",
        connect_timeout=10,
        autocommit=True,
        prepare_threshold=None,
    )


def spawn(binaries: Binaries, account: Account, data: Path, log: Path, token: str) -> int:
    """Start the server in a session of its own and return its pid."""
    with explained(log, "writing"):
        log.parent.mkdir(parents=True, exist_ok=True)
        output = log.open("ab")
    with output, explained(binaries.program("postgres"), "running"):
        process = subprocess.Popen(
            [binaries.program("postgres"), "-D", data, "-c", f"{TOKEN}={token}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=cluster.environment(),
            start_new_session=True,
            umask=0o077,
            **account.popen_arguments(),
        )
    # Somebody has to reap it should it end before this command does.
    threading.Thread(target=process.wait, daemon=True).start()
    return process.pid


def carries(process: ProcessIdentity, token: str) -> bool:
    """Say whether ``process`` was launched with ``token``."""
    with contextlib.suppress(psutil.Error):
        return bool(token) and f"{TOKEN}={token}" in psutil.Process(process.pid).cmdline()
    return False


def launched_with(token: str) -> ProcessIdentity | None:
    """Return the living process that was launched with ``token``, wherever it has got to."""
    for pid in psutil.pids() if token else ():
        identity = ProcessIdentity.of(pid)
        if identity and Path(identity.executable).name == "postgres" and carries(identity, token):
            return identity
    return None


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until ``condition`` holds; say whether it does within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def wait_ready(
    process: ProcessIdentity | None,
    is_ready: Callable[[], bool],
    try_connect: Callable[[], psycopg.Connection[tuple[Any, ...]]],
    *,
    log: Path,
    offset: int,
    seconds: float,
) -> None:
    """Wait until the server answers; ``process`` is None where it ended at once.

    Nothing is asked of it before ``is_ready``: each refusal would be a line in its log.

    Raises
    ------
    ExternalError
        The server ended; the end of its log (from ``offset``) is shown.
    PreconditionError
        The disk is full, or the password does not fit.
    LabTimeoutError
        It does not answer within ``seconds``; it is left alone, and the next start adopts it.

    """
    deadline = time.monotonic() + seconds
    delay = 0.01
    while True:
        problem = _STARTING[0]
        if is_ready():
            try:
                try_connect().close()
                return
            except psycopg.OperationalError as error:
                problem = str(error).strip()
        if process is None or not process.alive():
            raise cluster.failed("PostgreSQL did not start.", logs.since(log, offset), log.parent)
        if not any(sign in problem for sign in _STARTING):
            raise refused(problem)
        if time.monotonic() > deadline:
            raise LabTimeoutError(
                f"PostgreSQL (pid {process.pid}) did not answer within {seconds:.0f} s.",
                code="server.not-ready",
                why=logs.tail(log, 8) or problem,
                remedy="It goes on starting by itself: run the command again to wait longer.",
            )
        time.sleep(delay)
        delay = min(delay * 2, 0.2)


def refused(problem: str) -> LabError:
    """Return the error for a server that answers, but lets nobody in."""
    if "password authentication failed" in problem:
        return PreconditionError(
            "The server does not accept the lab's password.",
            code="server.password",
            why=f"The password of the user {USER} is no longer that which the state was made with.",
            remedy=f"Set it back to the one in the file `{folders.PASSWORD}` beside the data.",
        )
    return ExternalError(
        "The server accepts no connection.",
        code="server.refused",
        why=problem,
        remedy="`env.logs` shows what it says.",
    )


def recovery(log: str) -> str:
    """Return, for people, what recovery a server's ``log`` tells of; empty where there was none."""
    if "automatic recovery in progress" not in log:
        return ""
    took = re.search(r"redo done at .*elapsed: ([\d.]+) s", log)
    return "recovered after a crash; " + (f"redo took {took[1]} s" if took else "nothing to redo")
