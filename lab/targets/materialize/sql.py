"""Connections to environmentd: which port, which role."""

from __future__ import annotations

import psycopg

from lab.core.errors import ExternalError, LabError, PreconditionError
from lab.servers.connection import Connection
from lab.servers.ports import LOOPBACK
from lab.targets.materialize.ports import Ports

DATABASE = "materialize"
USER = "materialize"
SYSTEM = "mz_system"
SUPPORT = "mz_support"
CONNECT_S = 10


def connect(
    ports: Ports, purpose: str, *, role: str = USER, timeout_s: float = CONNECT_S
) -> Connection:
    """Open an autocommit connection as ``role``, known to the server as ``ddl-lab PURPOSE``.

    Internal roles are let in on the internal port only. Before the adapter is up a connection is
    accepted and then hangs, so that it is given up after ``timeout_s`` seconds. An unknown role
    would be made by connecting as it: only Materialize's own are used.

    Raises
    ------
    PreconditionError
        Nothing listens there.
    ExternalError
        It does not let the lab in, or does not answer.
    """
    port = ports.sql if role == USER else ports.internal_sql
    try:
        return psycopg.connect(
            host=LOOPBACK,
            hostaddr=LOOPBACK,
            port=port,
            dbname=DATABASE,
            user=role,
            password="",
            application_name=f"ddl-lab {purpose}",
            # Each connection would get a notice of a dozen lines otherwise; and a query that is
            # given up, as on a catalog cluster that is not up yet, would only start over.
            options="--welcome_message=off --statement_timeout=0",
            sslmode="disable",
            gssencmode="disable",
            channel_binding="disable",
            target_session_attrs="any",
            connect_timeout=max(2, round(timeout_s)),
            autocommit=True,
            prepare_threshold=None,
        )
    except psycopg.OperationalError as error:
        raise _no_answer(error, port) from error


def answers(ports: Ports, purpose: str) -> bool:
    """Say whether environmentd lets the lab in."""
    try:
        connect(ports, purpose).close()
    except LabError:
        return False
    return True


def _no_answer(error: psycopg.OperationalError, port: int) -> PreconditionError | ExternalError:
    said = " ".join(str(error).split())
    if "Connection refused" in said:
        return PreconditionError(
            f"Nothing listens on port {port}.",
            code="environment.not-running",
            why="environmentd does not run, or has not come so far.",
            remedy="`env.start` starts it; `env.logs` shows what it says.",
        )
    return ExternalError(
        f"environmentd accepts no connection on port {port}.",
        code="server.refused",
        why=said,
        remedy="`env.status` says what runs; `env.logs` shows what it says.",
    )
