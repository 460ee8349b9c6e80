"""How a start proceeds, phase by phase, as the log tells."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from standin import catalog, log
from standin.arguments import Arguments
from standin.engine import Engine
from standin.orchestrator import Orchestrator
from standin.store import Change

_RUN = "environmentd::run: mz_environmentd::environmentd::main"
_SERVE = "environmentd::run:environmentd::serve: mz_environmentd"
_COORD = "environmentd::run:environmentd::serve:adapter::serve: mz_adapter::coord"
_BOOTSTRAP = (
    ("preamble", 0.005),
    ("storage collections init", 0.45),
    ("sorting catalog entries", 0.005),
    ("optimize dataflow plans", 0.005),
    ("dataflow as-of bootstrapping", 0.01),
    ("postamble", 0.02),
    ("generate builtin updates", 0.12),
    ("generate secret cleanup", 0.005),
    ("migrate builtin tables in read-only mode", 0.05),
)


def boot(engine: Engine, asked: Arguments, executable: Path) -> None:
    """Bring the adapter up."""
    if engine.control.get("panic_at_boot"):
        log.panic(str(engine.control.get("panic_at_boot")))
    if engine.control.take("halt_at_boot"):
        log.halt("a halt that was asked for")
    with (
        _phase("envd init:", _RUN),
        _phase("envd init: serving", _RUN),
        _phase("envd serve:", _SERVE),
    ):
        with _phase("envd serve: catalog init", _SERVE):
            journal = engine.store.open()
        _refuse_newer(journal, engine.build.version)
        seconds = _seconds(engine, journal)
        with _phase("envd serve: durable catalog open", _SERVE):
            time.sleep(seconds * 0.05)
        with _phase("envd serve: coordinator init", _SERVE), _phase("coordinator init:", _COORD):
            _init_coordinator(engine, asked, executable, journal, seconds)
        if engine.control.get("hang_before_ready"):
            time.sleep(86_400)
    engine.up_since = time.monotonic()
    engine.up.set()


def _init_coordinator(
    engine: Engine,
    asked: Arguments,
    executable: Path,
    journal: list[list[Change]],
    seconds: float,
) -> None:
    with _phase("coordinator init: timestamp oracle init", _COORD):
        time.sleep(seconds * 0.02)
    with _phase("coordinator init: catalog open", _COORD):
        for changes in journal:
            engine.load(changes)
        _require_blobs(engine)
        old = engine.catalog.collections["config"].get("epoch", 1)
        engine.store.take_over(old + 1, engine.build.version)
        engine.apply([("config", "epoch", old + 1)])
        if not engine.catalog.collections["database"]:
            size = asked.values["bootstrap-default-cluster-replica-size"]
            engine.write(catalog.initial(asked.values["bootstrap-role"] or "materialize", size))
        time.sleep(seconds * 0.2)
    functions = {
        "mz_version": lambda: engine.build.shown,
        "mz_version_num": lambda: engine.build.number,
        "mz_environment_id": lambda: engine.environment_id,
        "mz_uptime": lambda: "00:00:01",
        "mz_now": lambda: str(time.time_ns() // 1_000_000),
        "pg_now": log.stamp,
        "pg_version": lambda: (
            f"PostgreSQL 9.5 on x86_64-unknown-linux-gnu (Materialize {engine.build.version})"
        ),
    }
    engine.relations.set_functions(functions)
    with _phase("controller init:", _COORD):
        pubsub = asked.values["persist-pubsub-url"]
        engine.orchestrator = Orchestrator(engine.environment_id, executable, pubsub)
        engine.orchestrator.start()
    with _phase("coordinator init: bootstrap", _COORD):
        for name, share in _BOOTSTRAP:
            with _phase(f"coordinator init: bootstrap: {name}", _COORD):
                time.sleep(seconds * share)


def _seconds(engine: Engine, journal: list[list[Change]]) -> float:
    objects: set[str] = set()
    for changes in journal:
        for collection, key, value in changes:
            if collection == "item":
                (objects.discard if value is None else objects.add)(key)
    settings = engine.build.behaviour
    more = settings.boot_per_1000_objects_ms * len(objects) / 1000
    return (settings.boot_ms + more) / 1000


def _refuse_newer(journal: list[list[Change]], mine: str) -> None:
    """End, as environmentd does, where a newer version has written the state."""
    versions = [v for changes in journal for c, k, v in changes if (c, k) == ("config", "version")]
    for version in versions:
        if _order(version) > _order(mine):
            log.halt(f"code at version {mine} cannot read data with version {version}")


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("-")[0].split("."))


def _require_blobs(engine: Engine) -> None:
    missing = ""
    if engine.catalog.items or engine.catalog.collections["database"]:
        missing = engine.store.catalog_blob_missing()
    for item in engine.catalog.items.values():
        missing = missing or (item["shard"] and engine.store.missing_blob(item["shard"]))
    if missing:
        log.panic(
            f"fetching a leased part: missing unleased key {missing}",
            "src/persist-client/src/fetch.rs:1:1",
        )


@contextlib.contextmanager
def _phase(name: str, where: str) -> Iterator[None]:
    began = time.monotonic()
    log.log(f"startup: {name} beginning", where=where)
    yield
    took = log.duration(time.monotonic() - began)
    log.log(f"startup: {name} complete in {took}", where=where)
