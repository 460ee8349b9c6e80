"""The five ports of an environment, all on loopback."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from lab.core.errors import PreconditionError
from lab.servers.ports import LOOPBACK, holder, is_free


class Ports(msgspec.Struct, frozen=True):
    """Where environmentd listens; in Materialize's own order, from 6875 by default."""

    sql: int
    http: int
    internal_sql: int
    internal_http: int
    pubsub: int

    @classmethod
    def from_first(cls, first: int) -> Ports:
        """Return the five ports that begin with ``first``."""
        return cls(*range(first, first + 5))

    def listeners(self) -> dict[str, Any]:
        """Return a listener configuration: no authentication, on loopback only.

        The shape is that of ``src/materialized/ci/listener_configs/no_auth.json``.
        """
        served = {"base": True, "webhook": True, "mcp_agent": True, "mcp_developer": True}
        external = {"internal": False, "metrics": False, "profiling": False, "console_config": True}
        internal = {"internal": True, "metrics": True, "profiling": True, "console_config": False}
        return {
            "sql": {
                "external": _listener(self.sql, "Normal"),
                "internal": _listener(self.internal_sql, "Internal"),
            },
            "http": {
                "external": {
                    **_listener(self.http, "NormalAndInternal"),
                    "routes": {**served, **external},
                },
                "internal": {
                    **_listener(self.internal_http, "NormalAndInternal"),
                    "routes": {**served, **internal},
                },
            },
        }

    def require_free(self) -> None:
        """Refuse ports that somebody holds.

        Raises
        ------
        PreconditionError
            ``port.taken``; who holds it is said.
        """
        for name, port in zip(self.__struct_fields__, msgspec.structs.astuple(self), strict=True):
            if not is_free(port):
                what = name.replace("_", " ")
                raise PreconditionError(
                    f"Port {port} of {LOOPBACK} ({what}) is taken.",
                    code="port.taken",
                    why=f"{holder(port) or 'A process that this user cannot see'} listens on it.",
                    remedy="Stop that program, or set `port` under [materialize] in lab.toml to the"
                    " first of five ports that are free.",
                )


def _listener(port: int, roles: str) -> dict[str, Any]:
    return {
        "addr": f"{LOOPBACK}:{port}",
        "authenticator_kind": "None",
        "allowed_roles": roles,
        "enable_tls": False,
    }


def sql_port(listeners: Path) -> int:
    """Return the SQL port of a listener configuration; 0 where the file does not tell."""
    try:
        address = json.loads(listeners.read_text(encoding="utf-8"))["sql"]["external"]["addr"]
        return int(str(address).rpartition(":")[2])
    except (OSError, ValueError, LookupError, TypeError):
        return 0


def known_listeners(shipped: Path, ports: Ports) -> dict[str, Any]:
    """Return the checkout's own listener configuration with its addresses moved to ``ports``.

    Versions differ in the routes that they know and in what they call a role; the addresses alone
    are the lab's. Where the file is not there, `Ports.listeners` stands in.
    """
    try:
        wanted = json.loads(shipped.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ports.listeners()
    places = {"sql": (ports.sql, ports.internal_sql), "http": (ports.http, ports.internal_http)}
    for protocol, (external, internal) in places.items():
        listeners: Mapping[str, dict[str, Any]] = wanted.get(protocol, {})
        for name, port in (("external", external), ("internal", internal)):
            if name in listeners:
                listeners[name]["addr"] = f"{LOOPBACK}:{port}"
    return dict(wanted)
