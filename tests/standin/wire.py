"""PostgreSQL's wire protocol, version 3, as far as psql and libpq's drivers use it here."""

from __future__ import annotations

import contextlib
import itertools
import re
import secrets
import socket
import struct
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from standin import lexer
from standin.engine import Engine, ResetError
from standin.errors import SqlError
from standin.relations import Rows
from standin.session import FAILED, OPEN, Answer, Session
from standin.statements import Statement, parse

_SSL, _GSS, _CANCEL = 80877103, 80877104, 80877102
_SIZES = {16: 1, 20: 8, 23: 4, 26: 4, 701: 8}
_REPORTED = (
    "server_version",
    "client_encoding",
    "application_name",
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "integer_datetimes",
    "standard_conforming_strings",
    "mz_version",
    "cluster",
    "database",
    "search_path",
)
_WELCOME = """connected to Materialize v{version}
  Environment ID: {environment}
  User: {user}
  Cluster: {cluster}
  Database: {database}
  Session UUID: {session}

This is a stand-in for tests.
It answers what a lab asks.
It keeps no rows.
It is no database.
"""
_INTERNAL = ("mz_system", "mz_support", "mz_analytics")
_process_ids = itertools.count(1000)


class TerminatedError(Exception):
    """The client has gone."""


class SqlListener:
    """A port that speaks the protocol; ``internal`` says for whom."""

    def __init__(self, engine: Engine, listening: socket.socket, *, internal: bool) -> None:
        self._engine = engine
        self._listening = listening
        self._internal = internal

    def start(self) -> None:
        """Accept from now on; clients wait until the adapter is up."""
        threading.Thread(target=self._accept, name="pgwire", daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listening.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client = Client(self._engine, connection, internal=self._internal)
            threading.Thread(target=client.serve, name="pgwire", daemon=True).start()


class Client:
    """One connection."""

    _by_key: dict[tuple[int, int], Client] = {}  # noqa: RUF012 - all connections of the process

    def __init__(self, engine: Engine, connection: socket.socket, *, internal: bool) -> None:
        self._engine = engine
        self._socket = connection
        self._stream = connection.makefile("rb")
        self._internal = internal
        self._out = bytearray()
        self._key = (next(_process_ids), secrets.randbits(31))
        self._session: Session | None = None
        self._prepared: dict[str, Statement | None] = {}
        self._portals: dict[str, tuple[Statement | None, tuple[str | None, ...]]] = {}
        self._skipping = False

    @classmethod
    def sessions(cls) -> list[tuple[int, str]]:
        """Return number and user of each session."""
        clients = list(cls._by_key.values())
        return [(c._session.number, c._session.user) for c in clients if c._session]

    def serve(self) -> None:
        """Serve until the client goes."""
        try:
            if self._start():
                for kind, body in self._messages():
                    self._handle(kind, body)
        except ResetError:
            linger = struct.pack("ii", 1, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        except (TerminatedError, OSError):
            pass
        finally:
            self._by_key.pop(self._key, None)
            if self._session is not None:
                self._session.close()
                self._list_sessions()
            self._stream.close()
            self._socket.close()

    def _start(self) -> bool:
        """Take the startup packet; say whether a session began."""
        while True:
            (length,) = struct.unpack("!I", self._read(4))
            body = self._read(length - 4)
            (code,) = struct.unpack_from("!I", body)
            if code in {_SSL, _GSS}:
                self._socket.sendall(b"N")
            elif code == _CANCEL:
                client = self._by_key.get(struct.unpack_from("!II", body, 4))
                if client is not None and client._session is not None:
                    client._session.interrupted.set()
                return False
            else:
                break
        fields = [field.decode() for field in body[4:].split(b"\0")]
        given = dict(zip(fields[0::2], fields[1::2], strict=False))
        self._engine.up.wait()
        return self._open(given)

    def _open(self, given: dict[str, str]) -> bool:
        user = given.pop("user", "")
        refusal = self._engine.control.get("refuse")
        if refusal:
            self._error(SqlError(refusal, "57P03"), severity="FATAL")
        elif (user in _INTERNAL) != self._internal:
            error = SqlError(f"unauthorized login to user '{user}'", "28000")
            self._error(error, severity="FATAL")
        if self._out:
            self._flush()
            return False
        self._create_role(user)
        settings = {"database": given.pop("database", "") or "materialize"}
        for name, value in re.findall(r"(?:--|-c\s*)([\w.]+)=(\S+)", given.pop("options", "")):
            settings[name.lower()] = value
        settings |= {name.lower(): value for name, value in given.items() if name}
        self._session = Session(self._engine, user, settings)
        self._by_key[self._key] = self
        self._list_sessions()
        self._send("R", struct.pack("!I", 0))
        for name in _REPORTED:
            self._report(name)
        self._send("K", struct.pack("!II", *self._key))
        self._greet(self._session)
        self._ready()
        return True

    def _greet(self, session: Session) -> None:
        database = session.settings["database"]
        if session.settings["welcome_message"] not in {"off", "false", "0"}:
            welcome = _WELCOME.format(
                version=self._engine.build.version,
                environment=self._engine.environment_id,
                user=session.user,
                cluster=session.settings["cluster"],
                database=database,
                session=f"{session.number:032x}",
            )
            self._notice("NOTICE", welcome)
        if not self._engine.catalog.named("database", database):
            self._notice("NOTICE", f'session database "{database}" does not exist')

    def _create_role(self, user: str) -> None:
        catalog = self._engine.catalog
        if not catalog.named("role", user):
            key, taken = catalog.next_id("role")
            self._engine.write([taken, ("role", key, {"name": user})])

    def _list_sessions(self) -> None:
        named = self._engine.catalog.named
        sessions = [(number, named("role", user)) for number, user in self.sessions()]
        self._engine.relations.set_sessions(sessions)

    def _report(self, name: str) -> None:
        assert self._session is not None
        value = self._session.settings.get(name.lower(), "")
        self._send("S", f"{name}\0{value}\0".encode())

    def _messages(self) -> Iterator[tuple[str, bytes]]:
        while True:
            kind = self._read(1).decode()
            (length,) = struct.unpack("!I", self._read(4))
            yield kind, self._read(length - 4)

    def _handle(self, kind: str, body: bytes) -> None:
        began = time.monotonic()
        names = {"Q": "query", "P": "parse", "B": "bind", "D": "describe_portal", "E": "execute"}
        handlers = {
            "Q": self._query,
            "P": self._parse,
            "B": self._bind,
            "D": self._describe,
            "E": self._execute,
            "C": self._close,
            "S": self._sync,
            "H": lambda _: self._flush(),
        }
        if kind == "X":
            raise TerminatedError
        handler = handlers.get(kind)
        if handler is None or (self._skipping and kind not in "SX"):
            return
        try:
            self._guarded(handler, body)
        except SqlError as error:
            assert self._session is not None
            if self._session.status == OPEN:
                self._session.status = FAILED
            self._error(error)
            if kind == "Q":
                self._ready()
            else:
                self._skipping = True
        if kind in names:
            self._engine.costs.pgwire(names[kind], time.monotonic() - began)

    def _guarded(self, handler: Callable[[bytes], None], body: bytes) -> None:
        """Show a fault of the stand-in itself to the client, and in the log."""
        try:
            handler(body)
        except (SqlError, ResetError, OSError):
            raise
        except Exception as error:
            traceback.print_exc()
            raise SqlError(f"internal error of the stand-in: {error!r}") from error

    def _query(self, body: bytes) -> None:
        assert self._session is not None
        sql = body.rstrip(b"\0").decode()
        if not lexer.split(sql):
            self._send("I")
        self._session.run(sql, self._answer)
        self._ready()

    def _parse(self, body: bytes) -> None:
        name, sql = (part.decode() for part in body.split(b"\0")[:2])
        statements = lexer.split(sql)
        if len(statements) > 1:
            message = "cannot insert multiple commands into a prepared statement"
            raise SqlError(message, "42601")
        self._prepared[name] = parse(*statements[0]) if statements else None
        self._send("1")

    def _bind(self, body: bytes) -> None:
        portal, name, rest = body.split(b"\0", 2)
        (formats,) = struct.unpack_from("!H", rest)
        position = 2 + 2 * formats
        (count,) = struct.unpack_from("!H", rest, position)
        position += 2
        values: list[str | None] = []
        for _ in range(count):
            (length,) = struct.unpack_from("!i", rest, position)
            position += 4
            values.append(None if length < 0 else rest[position : position + length].decode())
            position += max(0, length)
        self._portals[portal.decode()] = (self._prepared[name.decode()], tuple(values))
        self._send("2")

    def _describe(self, body: bytes) -> None:
        assert self._session is not None
        name = body[1:].rstrip(b"\0").decode()
        if body[:1] == b"S":
            statement, values = self._prepared[name], ()
            self._send("t", struct.pack("!H", 0))
        else:
            statement, values = self._portals[name]
        if statement is None or statement.verb not in {"select", "with", "values", "show", "table"}:
            self._send("n")
            return
        answer = self._session.run_one(statement, values)
        assert answer.rows is not None
        self._describe_rows(answer.rows)

    def _execute(self, body: bytes) -> None:
        assert self._session is not None
        statement, values = self._portals[body.split(b"\0")[0].decode()]
        if statement is None:
            self._send("I")
            return
        self._answer(self._session.run_one(statement, values), describe=False)

    def _close(self, body: bytes) -> None:
        name = body[1:].rstrip(b"\0").decode()
        (self._prepared if body[:1] == b"S" else self._portals).pop(name, None)
        self._send("3")

    def _sync(self, body: bytes) -> None:
        del body
        self._skipping = False
        self._ready()

    def _answer(self, answer: Answer, *, describe: bool = True) -> None:
        if answer.rows is not None:
            if describe:
                self._describe_rows(answer.rows)
            for row in answer.rows.rows:
                self._send("D", struct.pack("!H", len(row)) + b"".join(map(_value, row)))
        for severity, text in answer.notices:
            self._notice(severity, text)
        if answer.tag in {"SET", "RESET", "DISCARD ALL"}:
            for name in _REPORTED:
                self._report(name)
        self._send("C", f"{answer.tag}\0".encode())

    def _describe_rows(self, rows: Rows) -> None:
        fields = [
            column.name.encode()
            + b"\0"
            + struct.pack("!IHIhih", 0, 0, column.oid, _SIZES.get(column.oid, -1), -1, 0)
            for column in rows.columns
        ]
        self._send("T", struct.pack("!H", len(fields)) + b"".join(fields))

    def _error(self, error: SqlError, severity: str = "ERROR") -> None:
        fields = {"S": severity, "V": severity, "C": error.code, "M": error.message}
        fields |= {"D": error.detail, "H": error.hint}
        self._send("E", _fields(fields))

    def _notice(self, severity: str, text: str) -> None:
        self._send("N", _fields({"S": severity, "V": severity, "C": "00000", "M": text}))

    def _ready(self) -> None:
        assert self._session is not None
        self._send("Z", self._session.status.encode())
        self._flush()

    def _send(self, kind: str, body: bytes = b"") -> None:
        self._out += kind.encode() + struct.pack("!I", len(body) + 4) + body

    def _flush(self) -> None:
        data, self._out = bytes(self._out), bytearray()
        self._socket.sendall(data)

    def _read(self, length: int) -> bytes:
        data = self._stream.read(length)
        if len(data) < length:
            raise TerminatedError
        return data


def listen(address: tuple[str, int]) -> socket.socket:
    """Return a listening socket.

    Raises
    ------
    OSError
        The port is taken.

    """
    listening = socket.socket()
    with contextlib.suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(address)
    listening.listen(128)
    return listening


def _value(value: str | None) -> bytes:
    if value is None:
        return struct.pack("!i", -1)
    data = value.encode()
    return struct.pack("!I", len(data)) + data


def _fields(fields: dict[str, Any]) -> bytes:
    return b"".join(f"{k}{v}\0".encode() for k, v in fields.items() if v) + b"\0"
