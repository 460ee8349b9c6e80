"""A checkout of Materialize: what the lab needs of it, and which tree it holds."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from lab.core.errors import ExternalError, LabTimeoutError, PreconditionError
from lab.core.workspace import Workspace

_TIMEOUT_S = 60.0
_WANTED = ("bin/environmentd", "src/environmentd")
_JJ = ("jj", "--no-pager", "--color=never", "--quiet", "--config=fsmonitor.backend='none'")
_OWN = Workspace(Path())
# What the lab itself writes into the repository under study says nothing of what is compiled.
_RECORDS = frozenset(
    path.name for path in (_OWN.config, _OWN.log, _OWN.prompt, _OWN.evidence, _OWN.private)
)


class TreeIdentity(msgspec.Struct, frozen=True):
    """Which tree a checkout holds: ``commit`` (git) plus what is other than there.

    ``change`` is the jj change that holds what differs, or the commit itself where nothing does.
    ``dirty`` is a hash over names and contents of the files that differ, empty where none does. All
    are empty where the checkout belongs to no repository.
    """

    commit: str = ""
    change: str = ""
    dirty: str = ""


class Checkout(msgspec.Struct, frozen=True):
    """A working copy of Materialize's source at ``root`` (absolute)."""

    root: Path

    @classmethod
    def open(cls, path: Path) -> Checkout:
        """Return the checkout at ``path``.

        Raises
        ------
        PreconditionError
            ``checkout.missing`` or ``checkout.not-materialize``.

        """
        root = path.expanduser().absolute()
        if not root.is_dir():
            raise PreconditionError(
                f"There is no checkout at {root}.",
                code="checkout.missing",
                why="It is no directory." if root.exists() else "The directory does not exist.",
                remedy="Set `checkout` in [materialize] to the root of a Materialize checkout.",
            )
        missing = [name for name in _WANTED if not (root / name).exists()]
        if missing:
            raise PreconditionError(
                f"{root} is no checkout of Materialize.",
                code="checkout.not-materialize",
                why=f"Looked for {' and '.join(_WANTED)}; not there: {', '.join(missing)}.",
                remedy="Set `checkout` in [materialize] to the root of a Materialize checkout.",
            )
        return cls(root.resolve())

    @property
    def bin_environmentd(self) -> Path:
        """The script that builds and runs environmentd."""
        return self.root / "bin" / "environmentd"

    def binaries(self, profile: str) -> Path:
        """Return the directory that cargo writes the binaries of ``profile`` to."""
        given = os.environ.get("CARGO_TARGET_DIR") or os.environ.get("CARGO_BUILD_TARGET_DIR")
        return self.root / (given or "target") / profile

    def identity(self) -> TreeIdentity:
        """Return which tree the checkout holds now.

        Raises
        ------
        ExternalError
            git or jj failed.
        LabTimeoutError
            One of them did not answer.

        """
        if commit := self._git("rev-parse", "--verify", "--quiet", "HEAD"):
            commit = commit.strip()
            dirty = self._differing(commit)
            return TreeIdentity(commit, self._change("@" if dirty else commit), dirty)
        if parent := self._recorded("@-", "commit_id"):
            dirty = self._differing(parent)
            return TreeIdentity(parent, self._change("@" if dirty else parent), dirty)
        return TreeIdentity()

    def holds(self, commit: str, dirty: str) -> bool | None:
        """Say whether the tree's content is that of ``commit`` with ``dirty``; None if unknown.

        It still is after what was dirty has been committed.

        Raises
        ------
        ExternalError, LabTimeoutError
            As `identity`.

        """
        known = self._git("cat-file", "-e", f"{commit}^{{commit}}") is not None
        if not known and not self._recorded(commit, "commit_id"):
            return None
        return self._differing(commit) == dirty

    def _differing(self, commit: str) -> str:
        """Return a hash over the files whose content is other than in ``commit``."""
        changed = self._git("diff", "--name-only", "--no-renames", "-z", commit)
        if changed is None:
            # Looks at the working copy without recording an operation.
            listed = _ask(
                self.root,
                (*_JJ, "diff", "--name-only", "--from", commit, "--no-integrate-operation"),
            )
            return _digest(self.root, (listed or "").splitlines())
        others = self._git("ls-files", "--others", "--exclude-standard", "-z") or ""
        return _digest(self.root, [*changed.split("\0"), *others.split("\0")])

    def _change(self, revision: str) -> str:
        return self._recorded(revision, "change_id")

    def _recorded(self, revision: str, field: str) -> str:
        """Return what jj has recorded of ``revision``; empty where jj does not know."""
        if not (self.root / ".jj").is_dir():
            return ""
        template = f'{field} ++ "\\n"'
        asked = ("log", "--no-graph", "-r", revision, "-T", template, "--ignore-working-copy")
        return (_ask(self.root, (*_JJ, *asked), may_fail=True) or "").partition("\n")[0]

    def _git(self, *arguments: str) -> str | None:
        """Run a reading git command; None where there is no git, no repository, no such commit."""
        if not (self.root / ".git").exists():
            return None
        # The user has named this checkout, whoever owns it.
        trusted = ("git", "-c", f"safe.directory={self.root}", "-c", "core.fsmonitor=false")
        asking = arguments[0] in ("rev-parse", "cat-file")
        return _ask(self.root, (*trusted, *arguments), may_fail=asking)


def _ask(root: Path, command: tuple[str, ...], *, may_fail: bool = False) -> str | None:
    """Run a program that only reads; None where it is not installed, or failed and may."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env=_environment(root),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LabTimeoutError(
            f"{command[0]} did not answer within {_TIMEOUT_S:.0f} s.",
            code="checkout.no-answer",
            why=f"It was asked what the checkout {root} holds.",
            remedy="See whether its file system is slow or another program holds the repository.",
        ) from error
    if done.returncode == 0:
        return done.stdout
    if may_fail:
        return None
    raise ExternalError(
        f"{command[0]} cannot say what the checkout {root} holds.",
        code="checkout.unreadable",
        why=done.stderr.strip() or f"It ended with exit code {done.returncode}.",
        remedy=f"See what `{command[0]} status` says there.",
    )


def _environment(root: Path) -> Mapping[str, str]:
    """Return the user's environment, without what could lead git to another repository."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {
        **inherited,
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_CEILING_DIRECTORIES": str(root.parent),
        "LC_ALL": "C.UTF-8",
    }


def _digest(root: Path, names: Iterable[str]) -> str:
    """Return a hash over names, modes and contents of files below ``root``; empty for none.

    Repositories within the checkout (their names end with a slash) and the lab's own records are
    left out.
    """
    wanted = {
        name
        for name in names
        if name and not name.endswith("/") and _RECORDS.isdisjoint(Path(name).parts)
    }
    if not wanted:
        return ""
    whole = hashlib.sha256()
    for name in sorted(wanted):
        whole.update(f"{name}\0{_content(root / name)}\0".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def _content(path: Path) -> str:
    """Return what tells one version of a file from another."""
    try:
        if path.is_symlink():
            return f"link {path.readlink()}"
        if not path.is_file():
            return "none"
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        return f"{'program' if path.stat().st_mode & 0o100 else 'file'} {content}"
    except OSError:
        # Gone meanwhile, or not to be read: the next look will tell.
        return "unreadable"
