"""The stand-in's `environmentd`: binds its ports, boots, serves."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

from standin import arguments, behaviour, boot, log
from standin.arguments import Arguments
from standin.control import Control
from standin.costs import Costs
from standin.engine import Build, Engine
from standin.metrics import Registry
from standin.store import FencedError, Store
from standin.variables import SystemVariables
from standin.web import Web
from standin.wire import SqlListener, listen

_POLL_S = 0.5


def main(given: list[str], executable: Path, description: dict[str, Any]) -> int:
    """Serve until killed."""
    asked = arguments.parse(given)
    law, settings = behaviour.read(description["settings"])
    build = Build(
        version=description["version"],
        commit=description["commit"],
        profile=description["profile"],
        soft_assertions=_soft_assertions(description["profile"]),
        law=law,
        behaviour=settings,
    )
    registry = Registry()
    costs = Costs(registry, settings.generation, idle_drift=settings.idle_drift)
    environment_id = asked.values["environment-id"]
    store = Store(asked.values["persist-consensus-url"], environment_id, asked.blob_directory)
    engine = Engine(build, store, costs, Control(Path(description["control"])))
    engine.environment_id = environment_id
    engine.sizes = asked.sizes
    engine.variables = SystemVariables(engine.catalog.collections["setting"], asked.variables)
    began = time.monotonic()
    _listen(engine, registry, asked)
    boot.boot(engine, asked, executable)
    gauge = "mz_start_time_environmentd"
    registry.define(gauge, "gauge")
    took_ms = round((time.monotonic() - began) * 1000)
    registry.set(gauge, took_ms, build_type=build.profile, version=build.version)
    threading.Thread(target=_watch_for_fencing, args=(store,), daemon=True).start()
    threading.Event().wait()
    return 0


def _soft_assertions(profile: str) -> bool:
    told = os.environ.get("MZ_SOFT_ASSERTIONS", "")
    return told not in {"0", "false"} if told else profile == "debug"


def _listen(engine: Engine, registry: Registry, asked: Arguments) -> None:
    try:
        for name in ("external", "internal"):
            internal = name == "internal"
            SqlListener(engine, listen(asked.address("sql", name)), internal=internal).start()
            http = listen(asked.address("http", name))
            Web(engine, registry, http, internal=internal).start()
        _accept_only(listen(asked.pubsub))
    except OSError as error:
        message = f"{error.strerror} (os error {error.errno})"
        log.panic(f"environmentd: fatal: binding a listener: {message}", "src/environmentd:1:1")


def _accept_only(listening: socket.socket) -> None:
    kept = []

    def accept() -> None:
        while True:
            kept.append(listening.accept())

    threading.Thread(target=accept, name="pubsub", daemon=True).start()


def _watch_for_fencing(store: Store) -> None:
    while True:
        time.sleep(_POLL_S)
        try:
            store.poll()
        except FencedError as fenced:
            log.panic(str(fenced), "src/adapter/src/coord/appends.rs:1:1")
        except Exception as error:
            log.panic(f"internal persist error: {error}", "src/persist-client:1:1")
