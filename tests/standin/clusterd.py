"""The stand-in's `clusterd`: it listens on its sockets, and lives on without environmentd."""

from __future__ import annotations

import selectors
import socket
import sys
from pathlib import Path

_SOCKETS = ("--storage-controller-listen-addr", "--compute-controller-listen-addr")


def main(arguments: list[str]) -> int:
    """Listen for ever."""
    given = dict(argument.partition("=")[::2] for argument in arguments)
    selector = selectors.DefaultSelector()
    for name in _SOCKETS:
        if name not in given:
            print(f"error: the argument {name} was not provided", file=sys.stderr)
            return 2
        path = Path(given[name])
        path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        listening.listen()
        selector.register(listening, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            key.fileobj.accept()[0].close()
