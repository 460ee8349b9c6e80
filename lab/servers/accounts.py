"""Who a server runs as: PostgreSQL refuses root, so root hands it to a system user of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec

from lab.core.errors import ExternalError, PreconditionError

SYSTEM_USER = "ddl-lab"


class Account(msgspec.Struct, frozen=True):
    """A user of this machine."""

    name: str
    uid: int
    gid: int

    def popen_arguments(self) -> dict[str, Any]:
        """Return what `subprocess` needs to run a program as this user."""
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give ``path`` to this user, where it is another's."""
        if self.uid != os.geteuid():
            os.chown(path, self.uid, self.gid)

    def can_enter(self, directory: Path) -> bool:
        """Say whether this user may pass through ``directory`` and all that lies above it.

        Judged by owner, group and mode bits.
        """
        directory = directory.resolve()
        return all(self._may(each, 0o1) for each in (directory, *directory.parents))

    def can_run(self, program: Path) -> bool:
        """Say whether this user may read and execute ``program``."""
        return self.can_enter(program.parent) and self._may(program.resolve(), 0o5)

    def _may(self, path: Path, bits: int) -> bool:
        if self.uid == 0:
            return True
        status = path.stat()
        if status.st_uid == self.uid:
            return status.st_mode >> 6 & bits == bits
        if status.st_gid == self.gid:
            return status.st_mode >> 3 & bits == bits
        return status.st_mode & bits == bits


def account_for(data: Path) -> Account:
    """Return who runs the server on the data directory ``data``.

    An ordinary user runs it as itself. Root runs it as the owner of the data where there is some,
    else as the system user ``ddl-lab``, which is made where it is missing.

    Raises
    ------
    PreconditionError
        The data belong to somebody else, or there is no ``useradd``.
    ExternalError
        ``useradd`` failed.

    """
    me = os.geteuid()
    owner = data.stat().st_uid if data.exists() else None
    if me == 0:
        return _of_uid(owner) if owner else _system_account()
    if owner not in (None, me):
        raise not_the_owner(data)
    return _of_uid(me)


def not_the_owner(data: Path) -> PreconditionError:
    """Return the error that says that the state in ``data`` is another user's."""
    owner = _of_uid(data.stat().st_uid)
    return PreconditionError(
        f"The state in {data.parent} belongs to the user {owner.name}.",
        code="state.owner",
        why="PostgreSQL serves a state only as the user that owns it.",
        remedy="Run the lab as the user that made this state (root, where root did), or in another"
        " workspace.",
    )


def _of_uid(uid: int) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(str(uid), uid, os.getegid())
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _system_account() -> Account:
    try:
        return _named(SYSTEM_USER)
    except KeyError:
        _make_system_user()
        return _named(SYSTEM_USER)


def _named(name: str) -> Account:
    entry = pwd.getpwnam(name)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _make_system_user() -> None:
    program = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    remedy = f"Make a system user named {SYSTEM_USER}, or run the lab as an ordinary user."
    if program is None:
        raise PreconditionError(
            f"There is no useradd to make the user {SYSTEM_USER} with.",
            code="server.no-useradd",
            why="PostgreSQL does not run as root; the lab runs it as a system user of its own.",
            remedy=remedy,
        )
    arguments = ["--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    already_there = 9
    if done.returncode not in (0, already_there):
        raise ExternalError(
            f"The user {SYSTEM_USER} could not be made.",
            code="server.useradd-failed",
            why=done.stderr.strip() or f"useradd ended with {done.returncode}.",
            remedy=remedy,
        )
