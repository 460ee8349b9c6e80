"""The HTTP ports."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

from standin import page
from standin.engine import Engine
from standin.errors import SqlError
from standin.metrics import Registry
from standin.session import Answer, Session
from standin.wire import Client

_HTML = "text/html; charset=utf-8"
_TEXT = "text/plain; charset=utf-8"
_FLAME = """<!DOCTYPE html><html><head><title>Flamegraph</title></head><body>
<script>
  let mzfg = {mzfg};
  if (mzfg) { renderPageFromMzfg(mzfg); }
</script></body></html>
"""
_HANDLER = "pprof::profiler::perf_signal_handler"
_FRAMES = (
    ("main;coordinator;catalog_transact;apply_catalog_implications", 41),
    ("main;coordinator;catalog_transact;commit_transaction", 9),
    ("main;coordinator;group_commit;append_table", 17),
    ("main;persist;compare_and_append", 23),
)


def _mzfg() -> str:
    """Return the stacks as environmentd writes them: addresses, weights, then names."""
    frames = [*dict.fromkeys(name for stack, _ in _FRAMES for name in stack.split(";")), _HANDLER]
    addresses = {name: f"0x{number:x}" for number, name in enumerate(frames, start=0x1000)}
    stacks = [
        "".join(f"{addresses[name]};" for name in [*stack.split(";"), _HANDLER]) + f" {weight}"
        for stack, weight in _FRAMES
    ]
    names = [f"{address} {name};" for name, address in addresses.items()]
    header = ["!!! COMMENT !!!: Open with a viewer", "mz_fg_version: 1"]
    return "\n".join([*header, "", *stacks, "", *names])


class Web(ThreadingMixIn, TCPServer):
    """A port; ``internal`` ones serve metrics, checks and profiles too."""

    daemon_threads = True

    def __init__(
        self, engine: Engine, registry: Registry, listening: socket.socket, *, internal: bool
    ) -> None:
        super().__init__(listening.getsockname(), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.engine = engine
        self.registry = registry
        self.internal = internal

    def start(self) -> None:
        """Serve from now on."""
        threading.Thread(target=self.serve_forever, name="http", daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about clients that went away."""


class Handler(BaseHTTPRequestHandler):
    """Answers one request after the other."""

    protocol_version = "HTTP/1.1"
    server: Web

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        routes: dict[str, Callable[[], None]] = {
            "/api/livez": lambda: self._reply("Liveness check successful!"),
            "/api/readyz": lambda: self._readyz(query),
            "/": lambda: self._reply("<html><body>Materialize</body></html>", _HTML),
        }
        if self.server.internal:
            routes |= {
                "/metrics": self._metrics,
                "/api/catalog/check": lambda: self._check("catalog_check"),
                "/api/coordinator/check": lambda: self._check("coordinator_check"),
                "/api/catalog/dump": self._dump,
                "/api/coordinator/dump": lambda: self._json({"global_timelines": {}}),
                "/prof/": lambda: self._reply("<html><body>profiling</body></html>", _HTML),
                "/prof/heap": lambda: self._reply(
                    "This software was compiled without heap profiling support.", status=400
                ),
            }
        routes.get(path, lambda: self._reply("", status=404))()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0"))).decode()
        path = self.path.partition("?")[0]
        if path == "/api/sql":
            self._sql(json.loads(body))
        elif path == "/prof/" and self.server.internal:
            self._profile(urllib.parse.parse_qs(body))
        else:
            self._reply("", status=404)

    def _readyz(self, query: str) -> None:
        engine = self.server.engine
        if "wait=true" in query:
            engine.up.wait()
        if engine.up.is_set() and not engine.control.get("readyz_never"):
            self._reply("ready")
        else:
            self._reply("not ready", status=503)

    def _metrics(self) -> None:
        engine = self.server.engine
        time.sleep(engine.control.get("slow_metrics_s") or 0)
        engine.costs.settle(engine.catalog, len(Client.sessions()))
        text = self.server.registry.text()
        if engine.build.behaviour.table_series:
            items = list(engine.catalog.items.items())
            shards = [(key, item["shard"]) for key, item in items if item["shard"]]
            text += "".join(page.object_series(shards))
        data = text.encode()
        cut = engine.control.get("truncated_metrics")
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[:cut])
        self.close_connection = self.close_connection or cut is not None

    def _check(self, name: str) -> None:
        if not self.server.engine.up.is_set():
            self._reply("", status=503)
            return
        fault = self.server.engine.control.get(name)
        self._json({"err": fault} if fault else "")

    def _dump(self) -> None:
        collections = self.server.engine.catalog.collections
        self._json({name: dict(values) for name, values in list(collections.items())})

    def _profile(self, form: dict[str, list[str]]) -> None:
        time.sleep(float(form.get("time_secs", ["1"])[0]))
        filler = "<!--" + "flame " * 16_000 + "-->"
        self._reply(_FLAME.replace("{mzfg}", json.dumps(_mzfg())) + filler, _HTML)

    def _sql(self, request: dict[str, Any]) -> None:
        engine = self.server.engine
        engine.up.wait()
        user = "anonymous_http_user"
        if self.server.internal:
            user = self.headers.get("x-materialize-user", user)
        session = Session(engine, user, {})
        queries = request.get("queries") or [{"query": request["query"]}]
        results: list[dict[str, Any]] = []
        for query in queries:
            try:
                results += _run(session, query["query"], query.get("params", []))
            except SqlError as error:
                fields = {"message": error.message, "code": error.code}
                fields |= {k: v for k, v in (("detail", error.detail), ("hint", error.hint)) if v}
                results.append({"error": fields, "notices": []})
                break
        session.close()
        self._json({"results": results})

    def _json(self, value: Any) -> None:
        self._reply(json.dumps(value, separators=(",", ":")), "application/json")

    def _reply(self, text: str, kind: str = _TEXT, status: int = 200) -> None:
        data = text.encode()
        self.send_response(status)
        if data:
            self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _run(session: Session, sql: str, parameters: list[Any]) -> list[dict[str, Any]]:
    answers: list[Answer] = []
    if parameters:
        from standin import lexer
        from standin.statements import parse

        answers.append(session.run_one(parse(*lexer.split(sql)[0]), tuple(parameters)))
    else:
        session.run(sql, answers.append)
    results = []
    for answer in answers:
        notices = [{"message": text, "severity": severity} for severity, text in answer.notices]
        if answer.rows is None:
            results.append({"ok": answer.tag, "notices": notices})
            continue
        sizes = {16: 1, 20: 8, 23: 4, 26: 4}
        columns = [
            {"name": c.name, "type_oid": c.oid, "type_len": sizes.get(c.oid, -1), "type_mod": -1}
            for c in answer.rows.columns
        ]
        rows = [list(row) for row in answer.rows.rows]
        desc = {"columns": columns}
        results.append({"tag": answer.tag, "rows": rows, "desc": desc, "notices": notices})
    return results
