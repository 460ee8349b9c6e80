"""Which version control system holds a workspace, and making a repository where there is none."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Literal

from lab.core.errors import PreconditionError
from lab.core.files import explained
from lab.core.workspace import Workspace
from lab.vcs.base import Repository

Preference = Literal["auto", "jj", "git", "none"]

_WITHOUT_JJ = (
    "This is a jj repository, but jj is not installed: git records the session instead. "
    "jj takes the commits in when it is next run here."
)


def open_repository(
    root: Path, preference: Preference = "auto", *, enclosing: bool
) -> Repository | None:
    """Open the repository that holds the workspace ``root``; None where there is none.

    Parameters
    ----------
    preference:
        ``session.vcs``; ``auto`` takes jj where the repository is jj's.
    enclosing:
        Whether a repository *around* ``root`` counts. True for a workspace with a ``lab.toml``,
        which may be a folder of a larger repository; False for one that the lab makes by itself,
        such as ``logs/`` in somebody's checkout.

    Raises
    ------
    PreconditionError
        The repository is there, and what it needs (jj, git) is not installed or not preferred.

    """
    root = root.resolve()
    places = (root, *root.parents) if enclosing else (root,)
    place = next((place for place in places if _has_jj(place) or _has_git(place)), None)
    if preference == "none" or place is None:
        return None
    if _has_jj(place) and preference != "git":
        return _open_jj(place, preference)
    if not _has_git(place):
        raise _unfit(place, "jj", "keeps its git repository to itself", preference)
    if preference == "jj":
        raise _unfit(
            place, "git", "is not jj's; `jj git init --colocate` makes it both", preference
        )
    return _open_git(place)


def create_repository(root: Path, preference: Preference = "auto") -> Repository | None:
    """Make ``root`` a repository of its own, or open it where it is one.

    With jj where that is installed, colocated, so that git can read and continue it;
    else with git. None where neither is installed, or none is wanted: a session goes on without.

    Raises
    ------
    PreconditionError
        The one that is preferred is not installed.
    ExternalError
        It could not make the repository.

    """
    root = root.resolve()
    existing = open_repository(root, preference, enclosing=False)
    if existing is not None or preference == "none":
        return existing
    jj = shutil.which("jj") if preference != "git" else None
    if jj is None and preference == "jj":
        raise _missing("jj")
    if jj is None and shutil.which("git") is None:
        if preference == "git":
            raise _missing("git")
        return None
    _create(root, jj)
    return open_repository(root, preference, enclosing=False)


def _create(root: Path, jj: str | None) -> None:
    """Make the repository aside and move it into place, so that none is ever there in part."""
    workspace = Workspace(root)
    workspace.prepare()
    with tempfile.TemporaryDirectory(prefix="new-repository-", dir=workspace.private) as folder:
        aside = Path(folder)
        if jj:
            from lab.vcs.jj_command import JjCommand

            JjCommand(jj, aside).initialise()
        else:
            from lab.vcs.git import initialise

            initialise(aside)
        for name in (".git", ".jj"):
            if (aside / name).exists():
                with explained(root / name, "making"):
                    (aside / name).rename(root / name)


def _open_jj(place: Path, preference: Preference) -> Repository:
    executable = shutil.which("jj")
    if executable:
        from lab.vcs.jj import Jj

        return Jj(place, executable)
    if preference == "jj" or not _has_git(place):
        raise _missing("jj")
    return _open_git(place, notes=(_WITHOUT_JJ,))


def _open_git(place: Path, notes: tuple[str, ...] = ()) -> Repository:
    if shutil.which("git") is None:
        raise _missing("git")
    from lab.vcs.git import Git

    return Git(place, notes=notes)


def _has_jj(place: Path) -> bool:
    return (place / ".jj").is_dir()


def _has_git(place: Path) -> bool:
    # In a worktree or a submodule, `.git` is a file.
    return (place / ".git").exists()


def _missing(program: str) -> PreconditionError:
    return PreconditionError(
        f"{program} is not installed.",
        code=f"vcs.no-{program}",
        why=f"The workspace is to be recorded with {program}, which is not on PATH.",
        remedy=f"Install {program}, or set `session.vcs` to another system or to `none`.",
    )


def _unfit(place: Path, system: str, but: str, preference: Preference) -> PreconditionError:
    return PreconditionError(
        f"The repository at {place} cannot be used with {preference}.",
        code="vcs.unfit",
        why=f"It is a {system} repository that {but}.",
        remedy=f"Set `session.vcs` to `{system}` or `auto`.",
    )
