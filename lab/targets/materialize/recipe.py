"""How environmentd is launched: its arguments, its variables, and what follows from the state.

``bin/environmentd`` of a checkout knows the arguments that its version needs. What it launched is
written down, so that a saved build can be launched in the same way without it, on today's state.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from lab.servers.ports import LOOPBACK
from lab.targets.materialize.ports import Ports
from lab.targets.materialize.state import StateFiles

CONSENSUS = "--persist-consensus-url"
TIMESTAMPS = "--timestamp-oracle-url"
BLOB = "--persist-blob-url"
LISTENERS = "--listeners-config-path"
ENVIRONMENT = "--environment-id"
_SEARCH_PATHS = {CONSENSUS: "consensus", TIMESTAMPS: "tsoracle"}
SCHEMAS = ("consensus", "tsoracle", "storage")

SELF_CHECKS = "MZ_SOFT_ASSERTIONS"
_KEPT_VARIABLES = re.compile(r"^(MZ_|RUST_|LD_LIBRARY_PATH$|PERSIST_|TOKIO_)")
_SECRET = re.compile(r"KEY|SECRET|PASSWORD|TOKEN|CREDENTIAL|LICENSE", re.IGNORECASE)


def asked_checks(variables: Mapping[str, str]) -> bool | None:
    """Return what a process's ``variables`` ask of soft assertions; None where they do not."""
    asked = variables.get(SELF_CHECKS)
    return None if asked is None else asked.lower() not in ("", "0", "false")


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What a process was launched with, without what follows from its state.

    ``variables`` are those of its environment that it may heed; what looks like a secret is left
    out.
    """

    arguments: tuple[str, ...]
    variables: dict[str, str]


def state_arguments(
    files: StateFiles, metadata_url: str, ports: Ports, listeners: str
) -> dict[str, str]:
    """Return the arguments that tie environmentd to a state and to its ports, by flag.

    ``listeners`` is the path of the listener configuration. environmentd takes the last of repeated
    arguments (`args_override_self` in src/ore/src/cli.rs), so that these win over those of the
    checkout's own wrapper, whose defaults listen on all interfaces.
    """
    return {
        LISTENERS: listeners,
        "--orchestrator-process-secrets-directory": str(files.secrets),
        "--orchestrator-process-tcp-proxy-listen-addr": LOOPBACK,
        "--orchestrator-process-prometheus-service-discovery-directory": str(files.discovery),
        "--orchestrator-process-scratch-directory": str(files.scratch),
        **{
            flag: f"{metadata_url}?options=--search_path={schema}"
            for flag, schema in _SEARCH_PATHS.items()
        },
        BLOB: blob_url(files),
        ENVIRONMENT: files.environment_id,
        "--internal-persist-pubsub-listen-addr": f"{LOOPBACK}:{ports.pubsub}",
        "--persist-pubsub-url": f"http://{LOOPBACK}:{ports.pubsub}",
    }


def blob_url(files: StateFiles) -> str:
    """Return the URL of the blobs of a state."""
    return f"file://{files.blobs}"


def as_arguments(flags: Mapping[str, str]) -> list[str]:
    """Return ``flags`` as they stand on a command line."""
    return [f"{flag}={value}" for flag, value in flags.items()]


def recorded(
    arguments: Iterable[str], variables: Mapping[str, str], state_flags: Iterable[str]
) -> Recipe:
    """Return the recipe of a process, out of its ``arguments`` (the program left out)."""
    dropped = tuple(state_flags)
    kept: list[str] = []
    skip = False
    for each in arguments:
        if skip:
            skip = False
        elif each in dropped:
            skip = True
        elif each.split("=", 1)[0] not in dropped:
            kept.append(each)
    return Recipe(
        arguments=tuple(kept),
        variables={
            name: value
            for name, value in sorted(variables.items())
            if _KEPT_VARIABLES.match(name) and not _SECRET.search(name) and name != SELF_CHECKS
        },
    )
