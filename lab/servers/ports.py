"""TCP ports of this host's loopback interface."""

from __future__ import annotations

import contextlib
import random
import socket

import psutil

from lab.core.errors import PreconditionError

LOOPBACK = "127.0.0.1"
# Below the range from which Linux takes ports for outgoing connections (32768 and up), so that
# nobody's connection takes the kept port while the server is down.
_RANGE = range(20_000, 32_000)
_TRIES = 100


def is_free(port: int) -> bool:
    """Say whether a server could listen on ``port`` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As PostgreSQL does: connections that are closing do not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def choose_free() -> int:
    """Return a port that is free now, chosen at random.

    Raises
    ------
    PreconditionError
        None was found.

    """
    for port in random.sample(_RANGE, _TRIES):
        if is_free(port):
            return port
    raise PreconditionError(
        f"No free port was found between {_RANGE.start} and {_RANGE.stop}.",
        code="port.none-free",
        why=f"{_TRIES} ports chosen at random are all taken.",
        remedy="Set `port` under [postgres] in lab.toml to one that is free.",
    )


def taken(port: int) -> PreconditionError:
    """Return the error that says who holds ``port``."""
    return PreconditionError(
        f"Port {port} of {LOOPBACK} is taken.",
        code="port.taken",
        why=f"{holder(port) or 'A process that this user cannot see'} listens on it.",
        remedy="Stop that program, or set `port` under [postgres] in lab.toml to one that is free.",
    )


def holder(port: int) -> str:
    """Return who listens on ``port``, for people; empty where this user cannot see it."""
    with contextlib.suppress(psutil.Error):
        for each in psutil.net_connections(kind="tcp"):
            address = each.laddr
            if not address or each.status != psutil.CONN_LISTEN or not each.pid:
                continue
            if address.port == port:
                process = psutil.Process(each.pid)
                return f"Process {each.pid} ({process.name()}, user {process.username()})"
    return ""
