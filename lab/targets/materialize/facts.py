"""What must be alike for two runs on Materialize to be compared, and what is noted besides."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from lab.servers.connection import Connection
from lab.targets.base import SHAPES_ONLY
from lab.targets.parts import Build

# Limits are raised as a population grows, and change no latency that was ever seen.
_LIMIT = "max_"
# What differs between sessions or starts and changes no latency.
_NEVER = frozenset(
    {
        "application_name", "client_encoding", "client_min_messages", "cluster", "cluster_replica",
        "database", "datestyle", "is_superuser", "mz_version", "search_path", "server_version",
        "server_version_num", "timezone", "welcome_message",
    }
)  # fmt: skip


def build_facts(build: Build | None, version: str, *, self_checks: bool) -> dict[str, str]:
    """Return what is known of the running build; ``version`` is what the server says of itself."""
    profile = build.profile if build and build.profile else "unknown"
    facts = {
        "build.profile": profile,
        "build.self-checks": "on" if self_checks else "off",
        "build.version": version,
        "build.id": build.id if build else "unknown",
        "build.commit": (build.commit if build else "") or "unknown",
        "build.dirty": (build.dirty if build else "") or "no",
    }
    if profile == "debug":
        facts[SHAPES_ONLY] = "debug build"
    return facts


def variable_facts(connection: Connection, recorded: Mapping[str, str]) -> dict[str, str]:
    """Return the system variables that must be alike.

    ``connection`` is one of ``mz_system``. Those that were set through the lab stand by themselves;
    of all the others, limits left out, a digest tells whether they are alike: there are hundreds,
    and no query says which are other than by default.
    """
    values = {
        name.lower(): value
        for name, value, *_ in connection.execute("SHOW ALL")
        if name.lower() not in _NEVER and not name.lower().startswith(_LIMIT)
    }
    shown = {f"setting.{name}": values[name] for name in sorted(recorded) if name in values}
    rest = "\n".join(f"{name}={value}" for name, value in sorted(values.items()))
    digest = hashlib.sha256(rest.encode()).hexdigest()[:12]
    return {**shown, "setting.all": f"{len(values)} variables, {digest}"}
