"""The server's settings: made for measuring, with what ``lab.toml`` says on top.

They stand in a file of the lab's own beside the data directory, which ``postgresql.conf`` includes.
Durability stays as PostgreSQL ships it, since that is what users of DDL pay for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from lab.core.errors import UsageError
from lab.servers.ports import LOOPBACK

FILE = "lab.conf"
INCLUDE = f"include '../{FILE}'"
"""The line in ``postgresql.conf``; relative, so that a copied state brings its own."""

_OWN = {
    # Locks for 50 × 4096 objects: tens of thousands of DDL statements fit into one transaction.
    "max_connections": "50",
    "max_locks_per_transaction": "4096",
    "shared_buffers": "256MB",
    # Checkpoints by time rather than by volume: seeding would else force one every few seconds.
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "track_io_timing": "on",
    "track_wal_io_timing": "on",
    "log_checkpoints": "on",
    "log_line_prefix": "%m [%p] %a ",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "lc_messages": "C",
}

# What the lab relies on: where the server listens, who gets in, and where its log goes.
RESERVED = frozenset(
    {
        "cluster_name", "config_file", "data_directory", "external_pid_file", "hba_file",
        "ident_file", "include", "include_dir", "include_if_exists", "lc_messages",
        "listen_addresses", "log_destination", "logging_collector", "password_encryption", "port",
        "unix_socket_directories",
    }
)  # fmt: skip
_NAME = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?", re.IGNORECASE)
_LINE = re.compile(r"(\S+) = '(.*)'")


def wanted(name: str, port: int, user: Mapping[str, str]) -> dict[str, str]:
    """Return all settings of the environment ``name``: the lab's own, then ``user``'s on top.

    Raises
    ------
    UsageError
        A setting that is the lab's to make, or no name of a setting at all.

    """
    for key, value in user.items():
        _require_allowed(key.lower(), value)
    return (
        _OWN
        | {key.lower(): value for key, value in user.items()}
        | {
            "cluster_name": f"ddl-lab {name}",
            "listen_addresses": LOOPBACK,
            "port": str(port),
            "unix_socket_directories": "",
        }
    )


def render(settings: Mapping[str, str]) -> str:
    """Return ``settings`` as the text of a configuration file."""
    lines = [f"{name} = '{_escaped(value)}'" for name, value in sorted(settings.items())]
    return "\n".join(
        ["# Written by ddl-lab at each start: settings belong into lab.toml.", *lines, ""]
    )


def parse(text: str) -> dict[str, str]:
    """Return the settings of a file that `render` made."""
    found = (_LINE.fullmatch(line) for line in text.splitlines())
    return {each[1]: _unescaped(each[2]) for each in found if each}


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """Return the lines that lead from ``before`` to ``after``, with ``-`` or ``+`` in front."""
    lines = []
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            lines += [f"- {name} = {before[name]}"] if name in before else []
            lines += [f"+ {name} = {after[name]}"] if name in after else []
    return tuple(lines)


def _require_allowed(name: str, value: str) -> None:
    if name in RESERVED:
        raise UsageError(
            f"The setting `{name}` is the lab's to make.",
            code="config.reserved-setting",
            why="The lab relies on where its server listens, who gets in, and where it logs.",
            remedy="Take it out of [postgres] settings"
            + ("; `port` under [postgres] sets the port." if name == "port" else "."),
        )
    if not _NAME.fullmatch(name) or not value.isprintable():
        raise UsageError(
            f"`{name}` under [postgres] settings is not a setting of PostgreSQL.",
            code="config.wrong-setting",
            why="A setting is a name of letters, digits and underscores, and one line of text.",
            remedy="PostgreSQL's documentation lists them under Server Configuration.",
        )


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")


def _unescaped(value: str) -> str:
    return value.replace("''", "'").replace("\\\\", "\\")
