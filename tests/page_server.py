"""A server of one answer over HTTP, sent as it is told: whole, in pieces, slowly, or broken off."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator

Parts = Iterable[bytes | float]
"""Bytes to send, and seconds to wait between them."""


@contextlib.contextmanager
def served(parts: Parts | Callable[[str], Parts]) -> Iterator[str]:
    """Lend the address of a server that answers every request with ``parts``, then closes."""
    stopped = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while not stopped.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    request = b""
                    while b"\r\n\r\n" not in request:
                        request += connection.recv(65536) or b"\r\n\r\n"
                    path = request.split()[1].decode() if request.split() else ""
                    for part in parts(path) if callable(parts) else parts:
                        if isinstance(part, float):
                            stopped.wait(part)
                        else:
                            connection.sendall(part)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/metrics"
    finally:
        stopped.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def head(length: int | None, status: str = "200 OK", **more: str) -> bytes:
    """Return the head of an answer; None for one whose length is not announced."""
    fields = {"Content-Type": "text/plain; version=0.0.4", **more}
    if length is not None:
        fields["Content-Length"] = str(length)
    lines = [
        f"HTTP/1.1 {status}",
        *(f"{name.replace('_', '-')}: {fields[name]}" for name in fields),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def whole(body: bytes) -> tuple[bytes, bytes]:
    """Return an answer that is as it should be."""
    return head(len(body)), body
