"""Files that are put into a container, and what is read of its log as it grows."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from lab.core.files import explained

if TYPE_CHECKING:
    from docker.models.containers import Container as Handle

Reader = Callable[[int | None, float | None], str]
"""Gives the log with a time stamp before each line: its last so many lines, or those since."""

_LAST_LINES = 100
_MARGIN_S = 0.001
"""How much earlier than the last line the engine is asked from: it takes a rounded number."""


def put_secrets(handle: Handle, secrets: Mapping[str, Path]) -> None:
    """Copy files of this host into a container that does not run; only root can read them there.

    Parameters
    ----------
    secrets:
        The files, by their absolute place within. The folder is made for them.

    Raises
    ------
    docker.errors.APIError
        The engine refused.
    PreconditionError
        A file cannot be read.

    """
    if secrets:
        handle.put_archive("/", _archive(secrets))


def _archive(secrets: Mapping[str, Path]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for place in sorted({PurePosixPath(each).parent for each in secrets}):
            folder = tarfile.TarInfo(str(place).lstrip("/"))
            folder.type, folder.mode = tarfile.DIRTYPE, 0o700
            archive.addfile(folder)
        for each, source in sorted(secrets.items()):
            with explained(source, "reading"):
                content = source.read_bytes()
            file = tarfile.TarInfo(each.lstrip("/"))
            file.size, file.mode = len(content), 0o400
            archive.addfile(file, io.BytesIO(content))
    return stream.getvalue()


class LogFollower:
    """Gives the lines that were written to a container's log since the last call.

    They are told apart by the engine's time stamps, which all have one length and are in UTC: so
    it goes on with the log of a container that was made anew.
    """

    def __init__(self, read: Reader) -> None:
        self._read = read
        self._last = ""
        self._taken = 0
        self._fresh(read(_LAST_LINES, None))

    def __call__(self) -> str:
        """Return the lines written since, each with its end; empty where there are none."""
        lines = self._fresh(self._read(None, _moment(self._last) if self._last else None))
        return "".join(f"{line}\n" for line in lines)

    def _fresh(self, stamped: str) -> list[str]:
        """Return the lines that were not taken yet, and take them."""
        found = [line.partition(" ")[::2] for line in stamped.splitlines()]
        at_last = [each for each in found if each[0] == self._last][self._taken :]
        fresh = at_last + [each for each in found if each[0] > self._last]
        if fresh:
            newest = fresh[-1][0]
            known = self._taken if newest == self._last else 0
            self._taken = known + sum(stamp == newest for stamp, _ in fresh)
            self._last = newest
        return [line for _, line in fresh]


def _moment(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp() - _MARGIN_S
