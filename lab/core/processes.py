"""Processes, known by pid, start time and executable; never by name."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import msgspec


class ProcessIdentity(msgspec.Struct, frozen=True):
    """Which process it is: a pid that was given to another process is not mistaken for it.

    ``started`` is in seconds since the epoch, as the kernel reports it; ``executable`` is what
    ``/proc/PID/exe`` points to. ``since_boot`` is the start in seconds since the host's boot, which
    no adjustment of the clock moves; negative where the kernel does not tell.
    """

    pid: int
    started: float
    executable: str
    since_boot: float = -1.0

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """Return the identity of the living process ``pid``; None where there is none."""
        import psutil

        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            return cls(pid, process.create_time(), process.exe(), _since_boot(pid))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return None

    def alive(self) -> bool:
        """Say whether this very process still runs."""
        now = ProcessIdentity.of(self.pid)
        if now is None or Path(now.executable) != Path(self.executable):
            return False
        # The kernel counts start times in clock ticks of 10 ms.
        if self.since_boot >= 0 and now.since_boot >= 0:
            return abs(now.since_boot - self.since_boot) < 0.05
        return abs(now.started - self.started) < 0.05

    def send(self, number: signal.Signals) -> bool:
        """Send a signal to this very process; say whether it was there."""
        if not self.alive():
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
            return True
        return False


def _since_boot(pid: int) -> float:
    """Return when ``pid`` started, from field 22 of ``/proc/PID/stat`` (see proc(5))."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        # The name of the program, in parentheses, may itself hold spaces and parentheses.
        return int(stat.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return -1.0
