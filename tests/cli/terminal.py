"""A terminal of one's own: the program as leader of a session on a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import time
from types import TracebackType

from lab_driver import PROGRAM, Driver


class Terminal:
    """Runs ``ddl-lab`` on a pseudo-terminal, as a login shell would in the foreground."""

    def __init__(self, lab: Driver, *words: str, **more: str) -> None:
        self.seen = ""
        self._master: int | None
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.chdir(lab.directory)
            os.execve(PROGRAM, [str(PROGRAM), *words], lab.environment(TERM="xterm", **more))

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if kind is not None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def type(self, text: str) -> None:
        assert self._master is not None
        os.write(self._master, text.encode())

    def until(self, wanted: str, seconds: float = 60) -> None:
        """Read until ``wanted`` is shown."""
        end = time.monotonic() + seconds
        while wanted not in self.seen:
            assert time.monotonic() < end, f"{wanted!r} was not shown in:\n{self.seen}"
            assert self._read(0.2), f"ended without {wanted!r}:\n{self.seen}"

    def close(self) -> None:
        """Close the terminal, as somebody who closes its window."""
        if self._master is not None:
            os.close(self._master)
            self._master = None

    def wait(self, seconds: float = 60) -> int:
        """Read on until the program ends; return its exit code, negative for a signal."""
        end = time.monotonic() + seconds
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if self._master is not None:
                self._read(0.05)
            if pid:
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < end, f"did not end:\n{self.seen}"
            time.sleep(0.02)

    def _read(self, seconds: float) -> bool:
        """Read what is there; say whether there may be more."""
        assert self._master is not None
        if not select.select([self._master], [], [], seconds)[0]:
            return True
        try:
            piece = os.read(self._master, 65536)
        except OSError:
            return False
        self.seen += piece.decode("utf-8", "replace")
        return bool(piece)
