"""The jj command line: how it is called, and what its failures mean."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from lab.core.errors import (
    BusyError,
    ExternalError,
    LabError,
    LabTimeoutError,
    PreconditionError,
    StateMismatchError,
)
from lab.core.files import explain_full_disk
from lab.core.killpoints import reached
from lab.vcs.git_directory import GitDirectory

# The oldest that the tests have run against; jj promises no stable command line.
OLDEST = (0, 46)

TIMEOUT_S = 300.0
LOCK_PATIENCE_S = 30.0
# How long another jj may be between moving git's HEAD and recording why.
_SETTLING_S = 0.3
_ATTEMPTS = 3

_FLAGS = (
    "--no-pager",
    "--color=never",
    "--quiet",
    "--config=ui.progress-indicator=false",
    # A file watcher started by jj would outlive it and keep our lock.
    "--config=fsmonitor.backend='none'",
)


class JjCommand:
    """jj on the repository at ``root``.

    Three ways to call it: `look` (as recorded), `look_closely` (with the edits in the working copy,
    recording nothing) and `change`.
    """

    def __init__(self, executable: str, root: Path) -> None:
        self.root = root
        self._executable = executable
        self._git = GitDirectory.of(root)
        self._lock: int | None = None
        self._mended = False

    @functools.cached_property
    def version(self) -> str:
        """The version, such as ``0.46.0``.

        Raises
        ------
        PreconditionError
            It is older than the oldest tested, or says no version at all.

        """
        done = self._call(["--version"])
        if done.returncode:
            raise _explained("--version", done.stderr, self.root)
        printed = done.stdout.strip()
        found = re.match(r"jj (\d+)\.(\d+)\S*", printed)
        if found and (int(found[1]), int(found[2])) >= OLDEST:
            return found[0].removeprefix("jj ")
        raise PreconditionError(
            f"{self._executable} says {printed!r}; the lab needs jj {_dotted(OLDEST)} or newer.",
            code="vcs.jj-too-old",
            why="jj's command line changes between versions; older ones were never tried.",
            remedy="Install a newer jj, or set `session.vcs` to `git` or `none`.",
        )

    def require_version(self) -> None:
        """Refuse a jj older than the oldest tested; it is asked once."""
        _ = self.version

    def initialise(self) -> None:
        """Make an empty colocated repository at the root."""
        self.require_version()
        done = self._call([*_FLAGS, "git", "init", "--colocate", str(self.root)])
        if done.returncode:
            raise _explained("git init", done.stderr, self.root)

    def look(self, *arguments: str) -> str:
        """Run a reading command on what is recorded; the working copy is not looked at."""
        return self._run([*arguments, "--ignore-working-copy"]).stdout

    def look_closely(self, *arguments: str) -> tuple[str, str]:
        """Run a reading command with the working copy's edits, without recording an operation.

        Returns standard output and the warnings that jj gave.
        """
        self._mend_head()
        done = self._run([*arguments, "--no-integrate-operation"])
        return done.stdout, done.stderr

    def change(self, point: str, *arguments: str, message: str | None = None) -> None:
        """Run a changing command, ``message`` on its standard input.

        It takes effect whole or not at all: where it fails, git's HEAD is as it was before.
        ``point`` names the step for the crash tests.
        """
        self._mend_head()
        reached(f"vcs.{point}:before")
        for attempt in range(_ATTEMPTS):
            if self._git is not None:
                self._git.wait_for_index()
            try:
                with self._head_kept():
                    self._run(list(arguments), message)
                break
            except ExternalError as error:
                # A git that took the index after we had looked.
                if attempt + 1 == _ATTEMPTS or "index.lock" not in error.why:
                    raise
        reached(f"vcs.{point}:after")

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other lab commands from changing the repository.

        The lock is handed down to jj, so that one whose lab was killed still holds it until it is
        done: looking at the repository is only worth something after that.

        Raises
        ------
        BusyError
            Another lab command kept it for `LOCK_PATIENCE_S` seconds.

        """
        descriptor = os.open(self.root / ".jj", os.O_RDONLY | os.O_DIRECTORY)
        try:
            _lock_within(descriptor, self.root, LOCK_PATIENCE_S)
            self._lock = descriptor
            yield
        finally:
            self._lock = None
            os.close(descriptor)

    def operation(self) -> str:
        """Return the id of the last recorded operation."""
        return self.look("operation", "log", "--limit=1", "--no-graph", "--template=id")

    def _run(self, arguments: list[str], message: str | None = None) -> _Done:
        self.require_version()
        done = self._call([*_FLAGS, f"--repository={self.root}", *arguments], message)
        if done.returncode:
            raise _explained(arguments[0], done.stderr, self.root)
        return done

    def _call(self, arguments: list[str], message: str | None = None) -> _Done:
        try:
            return subprocess.run(
                [self._executable, *arguments],
                cwd=self.root,
                # Whatever would open an editor fails instead of waiting for somebody.
                env=os.environ | {"JJ_EDITOR": "false"},
                input=message or "",
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=TIMEOUT_S,
                check=False,
                pass_fds=() if self._lock is None else (self._lock,),
            )
        except subprocess.TimeoutExpired as error:
            raise LabTimeoutError(
                f"jj did not finish within {TIMEOUT_S:.0f} s in {self.root}.",
                code="vcs.timeout",
                why=f"The command was `jj {shlex.join(arguments[-3:])}`.",
                remedy="Look with `jj status` what takes so long, then run the same command again.",
            ) from error
        except OSError as error:
            raise ExternalError(
                f"{self._executable} cannot be run.",
                code="vcs.jj-failed",
                why=str(error),
                remedy="Repair the installation of jj, or set `session.vcs` to `git` or `none`.",
            ) from error

    @contextlib.contextmanager
    def _head_kept(self) -> Iterator[None]:
        if self._git is None:
            yield
            return
        before = self._git.head()
        try:
            yield
        except BaseException:
            self._restore_head(self._git, before)
            raise

    def _restore_head(self, git: GitDirectory, before: bytes) -> None:
        """Make HEAD name the recorded parent of the working copy again, after a failed command."""
        now = git.head()
        parents = list(self._parents().values())
        if now == before or _text(now) in parents:
            return
        # A repository without commits has a HEAD that names none, and the root as parent.
        known = _text(before) in parents or not parents[0].strip("0")
        git.put_head_back(before if known else f"{parents[0]}\n".encode("ascii"))

    def _mend_head(self) -> None:
        """Put git's HEAD back where a jj that was killed moved it without recording why.

        It then names a commit unknown to jj with the change id of the working copy's parent.
        """
        if self._git is None or self._mended:
            return
        astray = self._astray(self._git)
        if astray:
            time.sleep(_SETTLING_S)
            if self._astray(self._git) == astray:
                self._git.put_head_back(f"{astray}\n".encode("ascii"))
        self._mended = True

    def _astray(self, git: GitDirectory) -> str:
        """Return the commit that HEAD should name; empty where nothing is wrong."""
        change = git.head_change()
        if not change:
            return ""
        parents = self._parents()
        return parents.get(change, "") if _text(git.head()) not in parents.values() else ""

    def _parents(self) -> dict[str, str]:
        """Return the recorded parents of the working copy: change ids and commit ids."""
        template = r'--template=change_id ++ " " ++ commit_id ++ "\n"'
        lines = self.look("log", "--no-graph", "--revisions=@-", template).splitlines()
        return dict(line.split() for line in lines)


def _text(head: bytes) -> str:
    return head.decode("ascii", "replace").strip()


_Done = subprocess.CompletedProcess[str]


def _lock_within(descriptor: int, root: Path, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise BusyError(
                    f"Another lab command is changing the repository {root}.",
                    code="vcs.busy",
                    why=f"It has held the repository for more than {patience_s:.0f} s.",
                    remedy="Wait until it is done and run the same command again.",
                ) from None
            time.sleep(0.05)
        else:
            return


def _explained(command: str, stderr: str, root: Path) -> LabError:
    if "working copy is stale" in stderr:
        return StateMismatchError(
            f"The working copy in {root} is stale.",
            code="vcs.stale",
            why="Its change was rewritten from another workspace of the same repository.",
            remedy="Run `jj workspace update-stale` there, look at what changed, and start again.",
        )
    if re.search(r"^Error: Commit \w+ is immutable", stderr, flags=re.MULTILINE):
        return immutable(root)
    full = explain_full_disk(stderr, root, f"jj {command} was at work in {root}")
    return full or ExternalError(
        f"jj {command} failed in {root}.",
        code="vcs.jj-failed",
        why=_first_lines(stderr) or "It said nothing.",
        remedy="Set right what jj names, then run the same command again.",
    )


def immutable(root: Path) -> StateMismatchError:
    """Return the error for a change that jj protects from being rewritten."""
    return StateMismatchError(
        f"The session's change in {root} is immutable.",
        code="vcs.immutable",
        why="jj counts it to the shared history (its `immutable_heads()`).",
        remedy="Start a change of your own on top of it with `jj new`.",
    )


def _first_lines(stderr: str, most: int = 10) -> str:
    lines = [line.rstrip() for line in stderr.splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith("Warning: Name and email")]
    return "\n".join(told[:most])


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
