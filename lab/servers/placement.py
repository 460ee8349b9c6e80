"""Where a state's files lie.

A state lies at ``.lab/states/NAME``. As root the server runs as a user of its own, which cannot
pass through directories such as ``/root`` or those that ``mktemp`` makes. The lab never changes
the mode of the user's directories: where that user cannot reach the state's place, the files lie in
``/var/lib/ddl-lab/states/HASH`` instead, and ``.lab/states/NAME`` is a link to them. ``HASH``
stands for the path of that link, and a file ``origin`` in there names it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from lab.core.errors import PreconditionError
from lab.core.files import explained, write_atomically
from lab.servers.accounts import Account

BASE = Path("/var/lib/ddl-lab")
ORIGIN = "origin"


def place(link: Path, account: Account, base: Path) -> Path:
    """Make the folder of the state at ``link`` and return where it really is.

    Raises
    ------
    PreconditionError
        ``account`` cannot reach a state that exists, or the state is that of another workspace.

    """
    with explained(link, "making"):
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.is_symlink():
            return _follow(link, account, base)
        if link.exists():
            return _require_reachable(link, account)
        if account.can_enter(link.parent):
            link.mkdir(mode=0o755)
            if account.can_enter(link):
                return link.resolve()
            link.rmdir()
        elsewhere = _elsewhere(link, base)
        _make(elsewhere, link)
        link.symlink_to(elsewhere)
        return elsewhere


def forget(link: Path, base: Path) -> None:
    """Take away the emptied folder of the state at ``link``, and the link where the lab made it."""
    with explained(link, "removing"):
        if link.is_symlink():
            folder = link.resolve()
            if folder.parent == _states(base):
                (folder / ORIGIN).unlink(missing_ok=True)
                folder.rmdir()
                link.unlink()
        else:
            link.rmdir()


def require_own(link: Path, base: Path) -> None:
    """Refuse a state that belongs to the workspace which this one is a copy of.

    Raises
    ------
    PreconditionError
        The link leads to the state of another workspace that still uses it.

    """
    folder = link.resolve()
    if not link.is_symlink() or folder.parent != _states(base):
        return
    try:
        origin = Path((folder / ORIGIN).read_text(encoding="utf-8"))
    except OSError:
        return
    if origin != _absolute(link) and origin.is_symlink() and origin.resolve() == folder:
        raise PreconditionError(
            f"The state at {link} belongs to another workspace.",
            code="state.shared",
            why=f"This workspace is a copy: the state is that of {origin}, and both would use it.",
            remedy=f"Remove the link {link}: the next start makes a state for this workspace.",
        )


def _follow(link: Path, account: Account, base: Path) -> Path:
    require_own(link, base)
    folder = link.resolve()
    if folder.parent == _states(base):
        _make(folder, link)
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    return _require_reachable(folder, account)


def _make(folder: Path, link: Path) -> None:
    for each in (folder.parent.parent, folder.parent, folder):
        if not each.exists():
            each.mkdir(parents=True)
            each.chmod(0o755)
    write_atomically(folder / ORIGIN, str(_absolute(link)).encode())


def _require_reachable(folder: Path, account: Account) -> Path:
    if account.can_enter(folder):
        return folder.resolve()
    raise PreconditionError(
        f"The user {account.name} cannot reach the state in {folder}.",
        code="state.unreachable",
        why="A directory above it lets only its owner through, and the server runs as that user.",
        remedy="Let others pass through the directories above it, as when the state was made.",
    )


def _elsewhere(link: Path, base: Path) -> Path:
    digest = hashlib.sha256(str(_absolute(link)).encode()).hexdigest()
    return _states(base) / digest[:16]


def _states(base: Path) -> Path:
    return base.resolve() / "states"


def _absolute(link: Path) -> Path:
    return link.parent.resolve() / link.name
