"""A state's folder: what in it is the lab's own, so that nothing else is ever removed.

A new state goes into an empty folder only, which gets a mark; what stands in a marked folder under
one of the lab's names is the lab's. Data that are half made or half removed lie in a scratch folder
with a name that nobody else gives, and a mark of its own in it.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
from pathlib import Path

from lab.core.errors import PreconditionError
from lab.core.files import explained, sync_directory, write_atomically
from lab.core.killpoints import reached
from lab.servers.placement import ORIGIN
from lab.servers.settings import FILE as SETTINGS

DATA = "data"
PASSWORD = "password"  # noqa: S105  the name of the file
LAUNCH = "launch.json"
MARK = ".ddl-lab"

_MARK_TEXT = b"ddl-lab made this folder, and takes away what it put here when the state is reset.\n"
_FILES = (PASSWORD, SETTINGS, LAUNCH)
_SCRATCH = re.compile(r"\.ddl-lab-(initdb|removed)-[0-9a-f]{16}")
# What a killed command left of an atomic write, for the lab's own files; see `lab.core.files`.
_UNFINISHED = re.compile(rf"\.({'|'.join(map(re.escape, (MARK, *_FILES)))})\.[a-z0-9_]{{8}}")
_SHOWN = 5


def claim(folder: Path) -> None:
    """Take ``folder`` for a new state, and clear it of what killed commands left there.

    Raises
    ------
    PreconditionError
        It holds what the lab did not make.

    """
    with explained(folder, "making a state in"):
        sweep(folder)
        own = (MARK, ORIGIN, *_FILES) if is_marked(folder) else (ORIGIN,)
        foreign = sorted(each.name for each in folder.iterdir() if each.name not in own)
        if foreign:
            raise _holds(folder, foreign)
        mark(folder)


def mark(folder: Path) -> None:
    """Write down that ``folder`` is the lab's."""
    if not is_marked(folder):
        write_atomically(folder / MARK, _MARK_TEXT)


def is_marked(folder: Path) -> bool:
    """Say whether the lab has taken ``folder`` for its own."""
    try:
        return (folder / MARK).read_bytes() == _MARK_TEXT
    except OSError:
        return False


def make_scratch(folder: Path) -> Path:
    """Make a marked folder in ``folder`` for data that are not complete yet."""
    scratch = folder / _scratch_name("initdb")
    scratch.mkdir()
    scratch.chmod(0o755)
    mark(scratch)
    return scratch


def sweep(folder: Path) -> None:
    """Take away what an interrupted initdb, reset or write of the lab's left in ``folder``."""
    marked = is_marked(folder)
    for each in list(folder.iterdir()):
        if _SCRATCH.fullmatch(each.name) and each.is_dir():
            discard(each)
        unfinished = _UNFINISHED.fullmatch(each.name)
        if unfinished and (marked or unfinished[1] == MARK) and each.is_file():
            each.unlink(missing_ok=True)


def discard(scratch: Path) -> None:
    """Remove a folder that carries the mark, the mark last; of others only an empty one."""
    if is_marked(scratch):
        for each in scratch.iterdir():
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each, ignore_errors=True)
            elif each.name != MARK:
                each.unlink(missing_ok=True)
        if [each.name for each in scratch.iterdir()] == [MARK]:
            (scratch / MARK).unlink()
    with contextlib.suppress(OSError):
        # Data that somebody moved to another disk are a link.
        scratch.unlink() if scratch.is_symlink() else scratch.rmdir()


def remove(folder: Path) -> tuple[str, ...]:
    """Remove what the lab made in ``folder``, data among it; return the names of what stays.

    The data, which the caller knows to be the lab's, go out of the way in one rename first, so that
    none are left half removed. That needs no space on a full disk.
    """
    with explained(folder, "removing the state in"):
        data = folder / DATA
        if data.exists():
            mark(folder)
            mark(data)
            data.rename(folder / _scratch_name("removed"))
            sync_directory(folder)
        reached("env.reset.renamed:after")
        sweep(folder)
        if is_marked(folder):
            for name in (*_FILES, MARK):
                (folder / name).unlink(missing_ok=True)
        return tuple(sorted(each.name for each in folder.iterdir()))


def _scratch_name(purpose: str) -> str:
    return f".ddl-lab-{purpose}-{secrets.token_hex(8)}"


def _holds(folder: Path, foreign: list[str]) -> PreconditionError:
    shown = ", ".join(foreign[:_SHOWN])
    more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
    return PreconditionError(
        f"No state is made in {folder}: the folder holds what the lab did not make.",
        code="state.foreign-files",
        why=f"There are {shown}{more}. A new state goes into an empty folder only, so that nothing"
        " of yours is mixed with it, or removed with it later.",
        remedy="Move them elsewhere, or give the state an empty folder; then run the command"
        " again.",
    )
