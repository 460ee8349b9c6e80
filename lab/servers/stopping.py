"""Ending a server: in order, however long its checkpoint takes, or at once where its data go."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from lab.core.errors import LabTimeoutError
from lab.core.processes import ProcessIdentity
from lab.core.progress import Progress
from lab.servers.cluster import only_writes, processes_in
from lab.servers.launch import wait_until

SESSIONS_S = 90.0
"""How long sessions may take to end before the server is made to end without a checkpoint."""
CHECKPOINT_S = 600.0
"""How long the checkpoint at the end is waited for. It is never broken off: the next start would
have to recover, which takes longer than to wait."""
SURVIVORS_S = 30.0
"""How long backends may outlive their server."""
_FORCED = ((signal.SIGQUIT, 15.0), (signal.SIGKILL, 15.0))
_QUIET_S = 2.0
_SAY_EVERY_S = 5.0
_LOOK_EVERY_S = 0.5


def end_in_order(process: ProcessIdentity, progress: Progress) -> signal.Signals:
    """End the server by PostgreSQL's fast shutdown; return the signal that ended it.

    Where its sessions do not end it is made to.

    Raises
    ------
    LabTimeoutError
        It is still writing, or does not end at all.

    """
    try:
        process.send(signal.SIGINT)
        if await_end(process, progress):
            return signal.SIGINT
    except KeyboardInterrupt:
        progress.say("PostgreSQL goes on stopping by itself; `env.status` tells when it has ended.")
        raise
    return end_at_once(process)


def end_at_once(process: ProcessIdentity) -> signal.Signals:
    """End the server without a checkpoint, by PostgreSQL's immediate shutdown or by force.

    Raises
    ------
    LabTimeoutError
        It does not end.

    """
    for number, seconds in _FORCED:
        process.send(number)
        if wait_until(lambda: not process.alive(), seconds):
            return number
    raise does_not_end([process.pid])


def await_end(process: ProcessIdentity, progress: Progress) -> bool:
    """Wait for a server that is shutting down, and say every few seconds what it is at.

    False where its sessions have not ended after `SESSIONS_S`.

    Raises
    ------
    LabTimeoutError
        It still writes its checkpoint after `CHECKPOINT_S`.

    """
    started = time.monotonic()
    say_next = started + _QUIET_S
    while not wait_until(lambda: not process.alive(), _LOOK_EVERY_S):
        waited_s = time.monotonic() - started
        writing = only_writes(process)
        if writing and waited_s > CHECKPOINT_S:
            raise _still_writing(process, waited_s)
        if not writing and waited_s > SESSIONS_S:
            return False
        if time.monotonic() >= say_next:
            say_next += _SAY_EVERY_S
            doing = "writes its last checkpoint" if writing else "ends its sessions"
            progress.say(f"PostgreSQL (pid {process.pid}) {doing}: {waited_s:.0f} s so far …")
    return True


def await_shutdown(process: ProcessIdentity, progress: Progress) -> None:
    """Wait for a server that somebody else told to shut down, and say so; nothing is sent to it.

    Raises
    ------
    LabTimeoutError
        It does not end.

    """
    progress.say(f"PostgreSQL (pid {process.pid}) is shutting down: waiting for its end …")
    if not await_end(process, progress):
        raise does_not_end([process.pid])


def await_survivors(data: Path) -> None:
    """Wait for backends that outlive their server: they hold its shared memory.

    Raises
    ------
    LabTimeoutError
        They do not end.

    """
    if not wait_until(lambda: not processes_in(data), SURVIVORS_S):
        raise does_not_end(processes_in(data))


def does_not_end(pids: list[int]) -> LabTimeoutError:
    """Return the error that names processes which hold a state and do not end."""
    return LabTimeoutError(
        f"Processes of PostgreSQL do not end: pid {', '.join(map(str, pids))}.",
        code="server.does-not-end",
        why="They are busy, or wait for the disk; nothing can start on their state before.",
        remedy="Wait until they have ended, or end them, and run the command again.",
    )


def _still_writing(process: ProcessIdentity, waited_s: float) -> LabTimeoutError:
    return LabTimeoutError(
        f"PostgreSQL (pid {process.pid}) still writes its last checkpoint after {waited_s:.0f} s.",
        code="server.still-stopping",
        why="Much was changed since the checkpoint before, or the disk is slow.",
        remedy="It goes on stopping by itself: run the command again to wait longer.",
    )
