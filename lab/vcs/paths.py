"""Paths as a repository names them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from lab.core.errors import PreconditionError


def names_in(root: Path, paths: Sequence[Path]) -> list[str]:
    """Return ``paths`` relative to ``root``, with forward slashes; folders as the files in them.

    Raises
    ------
    PreconditionError
        A path lies outside ``root``.

    """
    return sorted({_name(root, file) for path in paths for file in _files(path)})


def listed(names: Iterable[str], most: int = 5) -> str:
    """Return ``names`` for a message: the first few, and how many more there are."""
    names = list(names)
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _files(path: Path) -> Iterable[Path]:
    if path.is_dir() and not path.is_symlink():
        return [inner for inner in path.rglob("*") if inner.is_symlink() or not inner.is_dir()]
    return [path]


def _name(root: Path, path: Path) -> str:
    # Only the folder is resolved: a link in the repository is itself what is recorded.
    absolute = (root / path).parent.resolve() / path.name
    if not absolute.is_relative_to(root):
        raise PreconditionError(
            f"{path} is outside the repository {root}.",
            code="vcs.outside",
            why="Log, prompt and evidence are recorded in the repository that holds the workspace.",
            remedy="Replace the link or the setting that leads out of the workspace.",
        )
    return absolute.relative_to(root).as_posix()
