"""A process is known by pid, start and executable; a pid alone is never enough."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import msgspec

from lab.core.processes import ProcessIdentity


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


def identity_of(process: subprocess.Popen[bytes]) -> ProcessIdentity:
    found = ProcessIdentity.of(process.pid)
    assert found is not None
    return found


def test_a_signal_reaches_the_very_process_and_no_other() -> None:
    with sleeper() as process:
        identity = identity_of(process)
        for other in (
            msgspec.structs.replace(identity, since_boot=identity.since_boot - 5),
            msgspec.structs.replace(identity, executable="/bin/other"),
        ):
            assert not other.alive()
            assert not other.send(signal.SIGKILL)
        time.sleep(0.1)
        assert process.poll() is None
        assert identity.send(signal.SIGKILL)
        assert process.wait(5) == -signal.SIGKILL


def test_a_zombie_is_not_alive() -> None:
    process = sleeper()
    try:
        identity = identity_of(process)
        process.kill()
        deadline = time.monotonic() + 5
        while identity.alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not identity.alive()
        assert ProcessIdentity.of(process.pid) is None
    finally:
        process.wait(5)


def test_nobody_there() -> None:
    with sleeper() as process:
        process.kill()
    assert ProcessIdentity.of(process.pid) is None
