"""Compiling a checkout through its own ``bin/environmentd --build-only``."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from lab.core.errors import (
    ExternalError,
    LabError,
    PreconditionError,
    StateMismatchError,
    UsageError,
)
from lab.core.files import explain_full_disk, explained
from lab.core.nearest import did_you_mean
from lab.core.progress import Progress
from lab.targets.materialize import cargo
from lab.targets.materialize.checkout import Checkout, TreeIdentity
from lab.targets.materialize.launch import user_variables

FLAGS: Mapping[str, tuple[str, ...]] = {"debug": (), "optimized": ("--optimized",)}
"""The profiles, and how ``bin/environmentd`` is told of each."""

_ATTEMPTS = 3
_TICK_S = 0.2
_PATIENCE_S = 10.0
_LAST_LINES = 12


def require_profile(profile: str) -> None:
    """Refuse a profile that the lab does not know. Raises UsageError."""
    if profile not in FLAGS:
        raise UsageError(
            f"There is no profile `{profile}`.",
            code="build.unknown-profile",
            why=f"Known: {', '.join(FLAGS)}.",
            remedy=did_you_mean(profile, FLAGS, "Take one of these."),
        )


def compile_tree(checkout: Checkout, profile: str, log: Path, progress: Progress) -> TreeIdentity:
    """Compile ``checkout`` in ``profile``; return the tree that the binaries are of.

    All that is printed goes to ``log``. Where the tree changed meanwhile it is compiled again.

    Raises
    ------
    ExternalError
        ``build.failed``, with the first error.
    PreconditionError
        ``disk.full``, or ``bin/environmentd`` cannot be run.
    StateMismatchError
        ``build.tree-changed``: the tree does not stand still.

    """
    for _ in range(_ATTEMPTS):
        before = checkout.identity()
        _compile(checkout, profile, log, progress)
        if checkout.identity() == before:
            return before
        progress.say("Files of the checkout changed while it was compiled: once more.")
    raise StateMismatchError(
        f"The checkout {checkout.root} changed each time while it was compiled.",
        code="build.tree-changed",
        why="It cannot be said which tree the binaries are of.",
        remedy="Run the command again when nothing writes there; cargo compiles only what is new.",
    )


def _compile(checkout: Checkout, profile: str, log: Path, progress: Progress) -> None:
    command = [str(checkout.bin_environmentd), *FLAGS[profile], "--build-only"]
    with explained(log, "writing"):
        log.parent.mkdir(parents=True, exist_ok=True)
        kept = log.open("w", encoding="utf-8")
    with kept:
        process = _spawn(command, checkout)
        try:
            code = _follow(process, kept, log, progress)
        except BaseException:
            progress.say("Ending the compiler; cargo goes on from here the next time.")
            raise
        finally:
            _end(process)
    if code != 0:
        raise _failure(checkout, code, log)


def _spawn(command: list[str], checkout: Checkout) -> subprocess.Popen[bytes]:
    try:
        # A group of its own: whatever it starts can be ended with it.
        return subprocess.Popen(
            command,
            cwd=checkout.root,
            env={**user_variables(), **cargo.ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise PreconditionError(
            f"{checkout.bin_environmentd} cannot be run.",
            code="build.not-runnable",
            why=f"{error.strerror}: the file must be executable, and the program that its first"
            " line names must be installed.",
            remedy="Run it by hand with --help to see what is missing.",
        ) from error


def _follow(process: subprocess.Popen[bytes], kept: IO[str], log: Path, progress: Progress) -> int:
    """Pass on what ``process`` prints until it has ended; return its exit code."""
    assert process.stdout is not None
    watch, output = cargo.Watch(), process.stdout.fileno()
    while True:
        # Not until the end of the pipe alone: a cache daemon that it started may keep that open.
        if select.select([output], [], [], _TICK_S)[0]:
            printed = os.read(output, 1 << 16)
            if not printed:
                break
            with explained(log, "writing"):
                for line, told in watch.take(printed):
                    kept.write(f"{line}\n")
                    if told:
                        progress.say(_in_words(line))
                kept.flush()
        elif process.poll() is not None:
            break
        if report := watch.report():
            progress.say(report)
    kept.write(watch.rest())
    code = process.wait()
    if watch.warned and code == 0:
        progress.say(f"The compiler's warnings are in {log}.")
    return code


def _in_words(line: str) -> str:
    said = line.strip()
    if said.startswith("Blocking"):
        return f"{said}: another cargo is at work in this checkout."
    return said


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process group of ``process``, unless it has ended by itself."""
    # Not reaped before its group is gone: until then no other process is given its number.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.returncode is None and _living(process.pid):
            os.killpg(process.pid, number)
            deadline = time.monotonic() + _PATIENCE_S
            while _living(process.pid) and time.monotonic() < deadline:
                time.sleep(_TICK_S)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _living(group: int) -> bool:
    """Say whether a process of ``group`` still runs; one that waits to be reaped does not."""
    import psutil

    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getpgid(pid) == group and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def _failure(checkout: Checkout, code: int, log: Path) -> LabError:
    """Return the error for a ``bin/environmentd`` that ended with exit code ``code``."""
    with explained(log, "reading"):
        printed = log.read_text(encoding="utf-8", errors="replace")
    if full := explain_full_disk(printed, checkout.root, f"compiling {checkout.root}"):
        return full
    error = cargo.first_error(printed)
    last = [line for line in printed.splitlines() if line.strip()][-_LAST_LINES:]
    ended = f"signal {-code}" if code < 0 else f"exit code {code}"
    return ExternalError(
        f"The build failed: bin/environmentd ended with {ended}.",
        code="build.failed",
        why=error or cargo.shortened(last) or "It printed nothing.",
        remedy=f"{_advice(printed)}All that was printed is in {log}.",
    )


def _advice(printed: str) -> str:
    """Return what to do about failures that have nothing to do with the code."""
    if re.search(
        r"No such file or directory: '(cargo|rustup)'|(cargo|rustup): .*not found", printed
    ):
        return "cargo is not on PATH: install Rust, or add its bin directory to PATH. "
    if "toolchain" in printed and "is not installed" in printed:
        return "Install the toolchain that the checkout asks for. "
    if "signal: 9" in printed:
        return (
            "A compiler was killed, most likely for want of memory: give CARGO_BUILD_JOBS a"
            " smaller number. "
        )
    return ""
