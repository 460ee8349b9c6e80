"""environmentd's command line, as far as the stand-in heeds it."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import NoReturn

KNOWN = {
    "listeners-config-path": "",
    "orchestrator": "",
    "orchestrator-process-secrets-directory": "",
    "orchestrator-process-tcp-proxy-listen-addr": "",
    "orchestrator-process-prometheus-service-discovery-directory": "",
    "orchestrator-process-scratch-directory": "",
    "secrets-controller": "",
    "persist-consensus-url": "",
    "persist-blob-url": "",
    "timestamp-oracle-url": "",
    "environment-id": "",
    "internal-persist-pubsub-listen-addr": "127.0.0.1:6879",
    "persist-pubsub-url": "http://localhost:6879",
    "system-parameter-default": "",
    "bootstrap-role": "",
    "cluster-replica-sizes": "{}",
    "bootstrap-default-cluster-replica-size": "",
    "opentelemetry-endpoint": "",
    "tokio-console-listen-addr": "",
    "log-filter": "",
    "all-features": "",
    "unsafe-mode": "",
    "announce-egress-address": "",
    "availability-zone": "",
}
"""The flags and their defaults. Each can be given as an environment variable too, as
``MZ_SYSTEM_PARAMETER_DEFAULT``."""
REQUIRED = (
    "listeners-config-path",
    "orchestrator",
    "persist-consensus-url",
    "persist-blob-url",
    "timestamp-oracle-url",
    "environment-id",
)
_SWITCHES = ("all-features", "unsafe-mode")


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What was asked for. Addresses are ``(host, port)``."""

    values: dict[str, str]
    listeners: dict[str, dict]

    def address(self, protocol: str, name: str) -> tuple[str, int]:
        """Return the address of a listener, such as ``sql``, ``internal``."""
        return _address(self.listeners[protocol][name]["addr"])

    @property
    def pubsub(self) -> tuple[str, int]:
        """Where PubSub listens."""
        return _address(self.values["internal-persist-pubsub-listen-addr"])

    @property
    def blob_directory(self) -> Path:
        """The directory of the blob store."""
        return Path(self.values["persist-blob-url"].removeprefix("file://"))

    @property
    def sizes(self) -> list[str]:
        """The replica sizes."""
        return sorted(json.loads(self.values["cluster-replica-sizes"]))

    @property
    def variables(self) -> dict[str, str]:
        """The defaults of system variables that were given."""
        pairs = self.values["system-parameter-default"].split(";")
        return dict(pair.partition("=")[::2] for pair in pairs if "=" in pair)


def parse(given: list[str]) -> Arguments:
    """Read the command line; of a flag given twice the last counts, but parameters add up."""
    values = {
        name: os.environ.get(f"MZ_{name.upper().replace('-', '_')}", default)
        for name, default in KNOWN.items()
    }
    rest = iter(given)
    for argument in rest:
        flag, equals, value = argument.partition("=")
        name = flag.removeprefix("--")
        if not flag.startswith("--") or name not in KNOWN:
            _refuse(f"unexpected argument '{flag}' found")
        if not equals and name not in _SWITCHES:
            value = next(rest, None)
            if value is None:
                _refuse(f"a value is required for '{flag} <VALUE>' but none was supplied")
        if name == "system-parameter-default" and name in values and values[name]:
            value = f"{values[name]};{value}"
        values[name] = value
    missing = [name for name in REQUIRED if not values[name]]
    if missing:
        lines = "".join(f"\n  --{name} <VALUE>" for name in missing)
        _refuse(f"the following required arguments were not provided:{lines}")
    try:
        listeners = json.loads(Path(values["listeners-config-path"]).read_text())
    except (OSError, ValueError) as error:
        _refuse(f"invalid value for '--listeners-config-path <VALUE>': {error}")
    return Arguments(values, listeners)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _refuse(why: str) -> NoReturn:
    print(f"error: {why}\n\nUsage: environmentd [OPTIONS]", file=sys.stderr)
    print("\nFor more information, try '--help'.", file=sys.stderr)
    raise SystemExit(2)
