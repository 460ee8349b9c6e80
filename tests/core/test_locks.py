"""One command at a time; the lock is gone with the process, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.core.errors import BusyError
from lab.core.locks import exclusive

HOLD = """
import sys, time
from pathlib import Path
from lab.core.locks import exclusive
with exclusive(Path(sys.argv[1]), "session.measure"):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_holder_is_named_and_its_death_frees_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold(path) as process:
        began = time.monotonic()
        with (
            pytest.raises(BusyError, match=f"pid {process.pid}, session.measure"),
            exclusive(path, "env.stop"),
        ):
            pytest.fail("two hold the lock")
        assert time.monotonic() - began < 5
        os.kill(process.pid, signal.SIGKILL)
        process.wait(5)
        with exclusive(path, "env.stop"):
            pass


def test_waits_as_long_as_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold(path) as process:
        began = time.monotonic()
        with pytest.raises(BusyError), exclusive(path, "prompt.add", wait_s=0.5):
            pytest.fail("two hold the lock")
        assert time.monotonic() - began >= 0.5
        process.kill()
