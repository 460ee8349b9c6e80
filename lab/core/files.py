"""Files that are replaced atomically, survive a crash, and are known by their hash."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from lab.core.errors import LabError, PreconditionError

T = TypeVar("T")

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NO_PERMISSION = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def explained(path: Path, doing: str) -> Iterator[None]:
    """Turn the foreseeable failures of a file operation into errors with a remedy.

    Raises
    ------
    PreconditionError
        The disk is full, the file may not be written, or the file system is read-only.

    """
    try:
        yield
    except OSError as error:
        raise explain(error, path, doing) from error


def explain(error: OSError, path: Path, doing: str) -> LabError:
    """Return the lab's error that stands for ``error`` while ``doing`` something to ``path``."""
    if error.errno in _NO_SPACE:
        return _full(f"{doing} {path}", path.parent)
    if error.errno in _NO_PERMISSION:
        return PreconditionError(
            f"No permission while {doing} {path}.",
            code="file.permission",
            why=str(error.strerror),
            remedy=f"Give the user of the lab access to {path}, then run the command again.",
        )
    return PreconditionError(
        f"Failed while {doing} {path}: {error.strerror}.",
        code="file.unusable",
        why=str(error),
        remedy="Look at the path named above, then run the same command again.",
    )


def explain_unforeseen(error: BaseException) -> LabError | None:
    """Return the lab's error for a full disk or a missing permission that nobody expected there.

    None where ``error`` is anything else.
    """
    foreseeable = (*_NO_SPACE, *_NO_PERMISSION)
    if isinstance(error, OSError) and error.errno in foreseeable and error.filename:
        return explain(error, Path(os.fsdecode(error.filename)), "working with")
    return None


def explain_full_disk(said: str, directory: Path, doing: str) -> PreconditionError | None:
    """Return the error for a program that failed in ``directory`` for want of space.

    None where what it ``said`` names another cause.
    """
    if any(os.strerror(number) in said for number in _NO_SPACE):
        return _full(doing, directory)
    return None


def _full(doing: str, directory: Path) -> PreconditionError:
    return PreconditionError(
        f"No space left while {doing}.",
        code="disk.full",
        why=f"The file system of {directory} is full.",
        remedy="Free space there and run the same command again; nothing recorded was lost.",
    )


def sync_directory(directory: Path) -> None:
    """Make a rename or creation inside ``directory`` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _durable_copy(path: Path, content: bytes, mode: int) -> Iterator[Path]:
    """Lend a durable file with ``content`` beside ``path``; it is gone afterwards unless moved."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Replace ``path`` by ``content``: the old file or the new one is there, never a part.

    Raises
    ------
    PreconditionError
        No space, or no permission.
    """
    with explained(path, "writing"):
        with _durable_copy(path, content, mode) as temporary:
            temporary.replace(path)
        sync_directory(path.parent)


def create_exclusively(path: Path, content: bytes, *, mode: int = 0o644) -> bool:
    """Create ``path`` with ``content`` unless it exists; say whether it was created.

    The file appears whole or not at all, and of several writers exactly one succeeds.
    """
    with explained(path, "writing"):
        with _durable_copy(path, content, mode) as temporary:
            try:
                path.hardlink_to(temporary)
            except FileExistsError:
                return False
        sync_directory(path.parent)
        return True


def encode(value: object) -> bytes:
    """Return ``value`` as JSON for people to read: indented, with a final newline."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def write_struct(path: Path, value: object, *, mode: int = 0o644) -> None:
    """Replace ``path`` by ``value`` as JSON."""
    write_atomically(path, encode(value), mode=mode)


def read_struct(path: Path, kind: type[T]) -> T | None:
    """Read a struct of ``kind`` from the JSON file ``path``; None where there is no file.

    Raises
    ------
    PreconditionError
        The file is not what it should be.

    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise explain(error, path, "reading") from error
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as error:
        raise PreconditionError(
            f"{path} cannot be read.",
            code="file.corrupt",
            why=str(error),
            remedy=f"Move {path.name} aside and run the command again.",
        ) from error


def sha256(content: bytes) -> str:
    """Return the SHA-256 of ``content`` as ``sha256:`` and 64 hexadecimal digits."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
