"""A session recorded with git, through GitPython; no other module imports it.

GitPython keeps processes and file handles open until a ``Repo`` is closed, so each method opens its
own. Git runs as a program (hooks, signing and attributes work as the user's own commits), with
nothing from outside before the ``--``.
"""

from __future__ import annotations

import os
import shlex
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from git import (
    GitCommandError,
    GitCommandNotFound,
    InvalidGitRepositoryError,
    NoSuchPathError,
    Repo,
)

from lab.core.errors import ExternalError, LabError, StateMismatchError
from lab.core.files import explain_full_disk
from lab.core.killpoints import reached
from lab.vcs.base import VcsStatus
from lab.vcs.git_directory import PATIENCE_S, GitDirectory
from lab.vcs.paths import listed, names_in
from lab.vcs.trailers import role_of, session_of, sign

# The crash tests kill at `:before` and `:after` of each.
POINTS = (
    "vcs.stage",
    "vcs.commit",
    "vcs.stage-log",
    "vcs.commit-log",
    "vcs.stage-prompt",
    "vcs.commit-prompt",
)

_DEPTH = 64
_FALLBACK = ("-c", "user.name=ddl-lab", "-c", "user.email=ddl-lab@localhost")
_IN_PROGRESS = {
    "MERGE_HEAD": "merge",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
}
_UNMERGED = frozenset({"DD", "AU", "UD", "UA", "DU", "AA", "UU"})
_HOOKS = ("pre-commit", "prepare-commit-msg", "commit-msg")


class Git:
    """The git repository at ``root``; see `lab.vcs.base.Repository` for what the methods promise.

    ``notes`` are warnings that `status` passes on, such as why git is used at all.
    """

    system = "git"

    def __init__(self, root: Path, *, notes: tuple[str, ...] = ()) -> None:
        self.root = root.resolve()
        self._notes = notes

    def __repr__(self) -> str:
        return f"Git({str(self.root)!r})"

    def status(self) -> VcsStatus:
        """Look, and change nothing."""
        with self._opened() as repo:
            return self._status(repo, known=())

    def require_ready(self, session: str, files: Sequence[Path]) -> VcsStatus:
        """Refuse what a session cannot be recorded on. Git has no limit for the size of files."""
        names = names_in(self.root, files)
        with self._opened() as repo:
            self._refuse_unfit(repo)
            return self._status(repo, known=names)

    def describe(
        self, session: str, message: str, *, paths: Sequence[Path], apart: Sequence[Path] = ()
    ) -> str:
        """Commit ``paths`` and all edits of tracked files but those ``apart``."""
        included, excluded = names_in(self.root, paths), names_in(self.root, apart)
        with self._opened() as repo:
            done = self._commits_of(repo, session).get("")
            if done:
                return done
            self._refuse_unfit(repo)
            reached("vcs.stage:before")
            self._run(repo, "add", "--update")
            self._stage(repo, [name for name in included if name not in excluded])
            self._unstage(repo, excluded)
            reached("vcs.stage:after")
            # A session whose only traces go into commits of their own is still a commit.
            self._commit(repo, "vcs.commit", sign(message, session), "--allow-empty")
            return self._head(repo)

    def start_new(self, session: str) -> str:
        """Return HEAD: in git, the next change begins by itself.

        Raises StateMismatchError where the session has no commit.
        """
        with self._opened() as repo:
            self._require_commit(repo, session)
            return self._head(repo)

    def separate(
        self, session: str, role: str, message: str, *, paths: Sequence[Path]
    ) -> str | None:
        """Commit ``paths`` alone, whatever else is edited or staged."""
        names = names_in(self.root, paths)
        with self._opened() as repo:
            self._require_commit(repo, session)
            done = self._commits_of(repo, session).get(role)
            if done:
                return done
            self._refuse_unfit(repo)
            reached(f"vcs.stage-{role}:before")
            self._stage(repo, names)
            reached(f"vcs.stage-{role}:after")
            changed = self._staged(repo, names)
            if not changed:
                return None
            signed = sign(message, session, role)
            self._commit(repo, f"vcs.commit-{role}", signed, "--only", "--", *_literal(changed))
            return self._head(repo)

    def operation(self) -> str:
        """Return HEAD; empty before the first commit."""
        with self._opened() as repo:
            return self._head(repo)

    def undo_command(self, operation_before: str, operation_after: str) -> str:
        """Return a ``git reset --soft``: it moves the branch back and touches no file.

        Empty as well where there is nothing to go back to (the first commit), and where a commit in
        between is not a session's.
        """
        if operation_before in ("", operation_after):
            return ""
        with self._opened() as repo:
            ancestry = ("merge-base", "--is-ancestor", operation_before, operation_after)
            if self._head(repo) != operation_after or self._execute(repo, *ancestry)[0]:
                return ""
            between = self._log(repo, f"{operation_before}..{operation_after}")
        if not all(session_of(message) for _, message in between):
            return ""
        here = Path.cwd()
        where = [] if here.is_relative_to(self.root) else ["-C", os.path.relpath(self.root, here)]
        return shlex.join(["git", *where, "reset", "--soft", operation_before[:16]])

    @contextmanager
    def _opened(self) -> Iterator[Repo]:
        try:
            with Repo(self.root) as repo:
                # Whatever would open an editor or ask for a password fails instead of waiting.
                repo.git.update_environment(
                    GIT_EDITOR="false", GIT_TERMINAL_PROMPT="0", LC_ALL="C.UTF-8"
                )
                yield repo
        except (InvalidGitRepositoryError, NoSuchPathError) as error:
            raise ExternalError(
                f"{self.root} holds no usable git repository.",
                code="vcs.git-failed",
                why=f"{type(error).__name__}: {error}",
                remedy="Look with `git status` there what is wrong with it.",
            ) from error

    def _head(self, repo: Repo) -> str:
        code, printed, _ = self._execute(repo, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        return "" if code else printed.strip()

    def _log(self, repo: Repo, revisions: str) -> list[tuple[str, str]]:
        """Return the latest commits among ``revisions`` and their messages, latest first."""
        form = ("-z", f"--max-count={_DEPTH}", "--format=%H%n%B")
        entries = _split(self._run(repo, "log", *form, revisions, "--"))
        return [(commit, message) for commit, _, message in (e.partition("\n") for e in entries)]

    def _status(self, repo: Repo, known: Sequence[str]) -> VcsStatus:
        entries = self._entries(repo)
        head, author = self._head(repo), self._author(repo)
        untracked = [name for code, name in entries if code == "??" and name not in known]
        warnings = list(self._notes)
        if untracked:
            warnings.append(
                f"Untracked, so not part of the commit: {listed(untracked)}. "
                "Stage with `git add` what belongs to the session."
            )
        if not author:
            warnings.append(
                "No author is configured; commits are made as ddl-lab <ddl-lab@localhost>. Set it "
                "with `git config user.name NAME` and `git config user.email ADDRESS`."
            )
        return VcsStatus(
            system=self.system,
            version=".".join(map(str, repo.git.version_info)),
            root=str(self.root),
            change=head,
            commit=head,
            description="",
            empty=not entries,
            author=author,
            warnings=tuple(warnings),
        )

    def _entries(self, repo: Repo) -> list[tuple[str, str]]:
        """Return the status code and name of all that is edited or untracked."""
        arguments = ("status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=normal")
        printed = self._run(repo, "--no-optional-locks", *arguments)
        return [(entry[:2], entry[3:]) for entry in printed.split("\0") if entry]

    def _author(self, repo: Repo) -> str:
        """Return the configured author; empty where git would have to guess, or refuse."""
        strict = ("-c", "user.useConfigOnly=true", "var")
        author = ""
        for variable in ("GIT_COMMITTER_IDENT", "GIT_AUTHOR_IDENT"):
            code, printed, _ = self._execute(repo, *strict, variable)
            if code:
                return ""
            author = printed.rpartition(">")[0] + ">"
        return author

    def _refuse_unfit(self, repo: Repo) -> None:
        directory = Path(repo.git_dir)
        for name, doing in _IN_PROGRESS.items():
            if (directory / name).exists():
                raise StateMismatchError(
                    f"A {doing} is in progress in {self.root}.",
                    code="vcs.in-progress",
                    why=f"{directory / name} exists.",
                    remedy=f"Finish it with `git {doing} --continue`, then start again.",
                )
        conflicts = [name for code, name in self._entries(repo) if code in _UNMERGED]
        if conflicts:
            raise StateMismatchError(
                f"The working copy in {self.root} has conflicts.",
                code="vcs.conflict",
                why=f"Git could not merge {listed(conflicts)}.",
                remedy="Resolve them, `git add` the files, and start again.",
            )

    def _commits_of(self, repo: Repo, session: str) -> dict[str, str]:
        """Return the session's latest commits by role, the empty role for the work itself."""
        found: dict[str, str] = {}
        if self._head(repo):
            for commit, message in self._log(repo, "HEAD"):
                if session_of(message) == session:
                    found.setdefault(role_of(message), commit)
        return found

    def _require_commit(self, repo: Repo, session: str) -> None:
        if "" not in self._commits_of(repo, session):
            raise StateMismatchError(
                f"No commit of session {session} is to be found in {self.root}.",
                code="vcs.no-change",
                why="HEAD was moved to another commit, or the commit was rewritten.",
                remedy="Look with `git log` and `git reflog` what became of it.",
            )

    def _stage(self, repo: Repo, names: Sequence[str]) -> None:
        """Stage ``names`` as they are now, ignored and deleted ones too."""
        known = set(self._listed(repo, names))
        there = [name for name in names if name in known or os.path.lexists(self.root / name)]
        if there:
            self._run(repo, "add", "--all", "--force", "--", *_literal(there))

    def _unstage(self, repo: Repo, names: Sequence[str]) -> None:
        if names and self._head(repo):
            self._run(repo, "reset", "--quiet", "HEAD", "--", *_literal(names))
        elif names:
            self._run(repo, "rm", "--cached", "--quiet", "--ignore-unmatch", "--", *_literal(names))

    def _listed(self, repo: Repo, names: Sequence[str]) -> list[str]:
        """Return those of ``names`` that the index holds."""
        if not names:
            return []
        return _split(self._run(repo, "ls-files", "-z", "--", *_literal(names)))

    def _staged(self, repo: Repo, names: Sequence[str]) -> list[str]:
        """Return those of ``names`` that are staged and differ from HEAD."""
        if not names:
            return []
        arguments = ("diff", "--cached", "--name-only", "--no-renames", "-z", "HEAD")
        return _split(self._run(repo, *arguments, "--", *_literal(names)))

    def _commit(self, repo: Repo, point: str, message: str, *arguments: str) -> None:
        identity = () if self._author(repo) else _FALLBACK
        reached(f"{point}:before")
        self._run(
            repo,
            *identity,
            "commit",
            "--quiet",
            "--cleanup=whitespace",
            "--file=-",
            *arguments,
            message=message,
        )
        reached(f"{point}:after")

    def _run(self, repo: Repo, *arguments: str, message: str | None = None) -> str:
        """Run git and return its standard output; wait a little where the index is locked."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            code, printed, stderr = self._execute(repo, *arguments, message=message)
            if not code:
                return printed
            if "index.lock" not in stderr:
                raise self._failed(repo, arguments, f"{stderr}\n{printed}")
            directory = Path(repo.git_dir)
            left = max(0.0, deadline - time.monotonic())
            GitDirectory(directory, directory).wait_for_index(left)
            if time.monotonic() >= deadline:
                raise self._failed(repo, arguments, stderr)

    def _execute(
        self, repo: Repo, *arguments: str, message: str | None = None
    ) -> tuple[int, str, str]:
        with tempfile.TemporaryFile() as file:
            file.write((message or "").encode("utf-8"))
            file.seek(0)
            try:
                code, printed, stderr = repo.git.execute(
                    ["git", *arguments],
                    istream=file,
                    with_extended_output=True,
                    with_exceptions=False,
                    strip_newline_in_stdout=False,
                )
            except GitCommandNotFound as error:
                raise ExternalError(
                    "git cannot be run.",
                    code="vcs.git-failed",
                    why=str(error),
                    remedy="Install git, or set `session.vcs` to `none`.",
                ) from error
        return code, str(printed), str(stderr)

    def _failed(self, repo: Repo, arguments: Sequence[str], output: str) -> LabError:
        command = next(part for part in arguments if part[0] != "-" and "=" not in part)
        full = explain_full_disk(output, self.root, f"git {command} was at work in {self.root}")
        if full:
            return full
        lines = [line.rstrip() for line in output.splitlines() if line.strip()]
        why = "\n".join(lines[:12]) or "It said nothing."
        hooks = self._hooks(repo) if "commit" in arguments else []
        if hooks and not any(line.startswith("fatal: ") for line in lines):
            return ExternalError(
                f"The commit in {self.root} was refused, probably by a hook: {listed(hooks)}.",
                code="vcs.hook-failed",
                why=why,
                remedy="Set right what the hook says, then run the same command again.",
            )
        return ExternalError(
            f"git {command} failed in {self.root}.",
            code="vcs.git-failed",
            why=why,
            remedy="Set right what git names, then run the same command again.",
        )

    def _hooks(self, repo: Repo) -> list[str]:
        code, printed, _ = self._execute(repo, "rev-parse", "--git-path", "hooks")
        folder = self.root / printed.strip()
        return [] if code else [name for name in _HOOKS if os.access(folder / name, os.X_OK)]


def initialise(root: Path) -> None:
    """Make an empty git repository in ``root``, with the branch ``main``.

    Raises
    ------
    ExternalError
        Git could not make it.

    """
    try:
        with Repo.init(root, initial_branch="main"):
            pass
    except GitCommandError as error:
        raise ExternalError(
            f"git init failed in {root}.",
            code="vcs.git-failed",
            why=str(error.stderr).strip(),
            remedy="Set right what git names, then run the same command again.",
        ) from error


def _literal(names: Sequence[str]) -> list[str]:
    """Name files from the root of the repository, without wildcards."""
    return [f":(top,literal){name}" for name in names]


def _split(printed: str) -> list[str]:
    return [name for name in printed.split("\0") if name]
