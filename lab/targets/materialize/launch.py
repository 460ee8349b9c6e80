"""Launching environmentd: through the checkout's ``bin/environmentd``, or by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from lab.core.files import explained
from lab.targets.materialize.processes import TOKEN
from lab.targets.materialize.recipe import SELF_CHECKS
from lab.targets.materialize.startup import HALTED

Ended: TypeAlias = Callable[[], int | None]
"""Returns the exit code of what was launched, None while it runs."""

_SETTLED_S = 5.0  # as the checkout's own wrapper: not more often than that


class Launched:
    """A program that the lab launched: environmentd itself, or a wrapper around it.

    A program that ends with ``restart_on`` is launched again, as the checkout's wrapper does.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        directory: Path,
        log: Path,
        variables: Mapping[str, str],
        restart_on: int | None = None,
    ) -> None:
        self._command = command
        self._directory = directory
        self._log = log
        self._variables = variables
        self._restart_on = restart_on
        self._began = time.monotonic()
        self._process = self._spawn()

    @property
    def pid(self) -> int:
        """The pid of the program that was launched last."""
        return self._process.pid

    def ended(self) -> int | None:
        """Return its exit code once it has ended for good; None while it runs.

        A program that halted on purpose is launched anew here.
        """
        code = self._process.poll()
        if code is None or code != self._restart_on:
            return code
        if time.monotonic() - self._began >= _SETTLED_S:
            self._began = time.monotonic()
            self._process = self._spawn()
        return None

    def leave(self) -> None:
        """Let it go on by itself; somebody has to reap it should it end before this command."""
        threading.Thread(target=self._process.wait, daemon=True).start()

    def _spawn(self) -> subprocess.Popen[bytes]:
        with explained(self._log, "writing"):
            self._log.parent.mkdir(parents=True, exist_ok=True)
            output = self._log.open("ab")
        with output, explained(Path(self._command[0]), "running"):
            return subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                env=dict(self._variables),
                start_new_session=True,
            )


def through_wrapper(
    wrapper: Path,
    profile: str,
    *,
    metadata_url: str,
    blob_url: str,
    listeners: str,
    arguments: Sequence[str],
    log: Path,
    variables: Mapping[str, str],
) -> Launched:
    """Launch ``bin/environmentd`` of a checkout, which compiles what is out of date first.

    It restarts an environmentd that halts on purpose by itself.
    """
    profiles = [] if profile == "debug" else [f"--{profile}"]
    command: list[str | Path] = [
        wrapper,
        *profiles,
        f"--postgres={metadata_url}",
        f"--blob={blob_url}",
        f"--listeners-config-path={listeners}",
        "--",
        *arguments,
    ]
    return Launched(command, directory=wrapper.parent.parent, log=log, variables=variables)


def directly(
    executable: Path, *, arguments: Sequence[str], log: Path, variables: Mapping[str, str]
) -> Launched:
    """Launch a saved environmentd by itself; it finds ``clusterd`` beside its own executable."""
    return Launched(
        [executable, *arguments],
        directory=executable.parent,
        log=log,
        variables=variables,
        restart_on=HALTED,
    )


def user_variables() -> dict[str, str]:
    """Return the user's environment without what is the lab's own.

    The lab's settings and its virtual environment would change what the checkout's wrapper does; a
    variable that switches self-checks is declared, and not inherited.
    """
    own = Path(sys.prefix)
    path = [
        each for each in os.environ.get("PATH", "").split(os.pathsep) if Path(each) != own / "bin"
    ]
    dropped = ("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH", SELF_CHECKS, TOKEN)
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in dropped and not name.startswith("LAB_")
    }
    return {**kept, "PATH": os.pathsep.join(path)}
