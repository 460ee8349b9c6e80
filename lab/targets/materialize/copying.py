"""Copies of large files: shared blocks where the file system can, else bytes."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from lab.core.errors import PreconditionError
from lab.core.files import explained
from lab.core.progress import Progress, Stage

# _IOW(0x94, 9, int) of linux/fs.h.
_FICLONE = 0x40049409
_CHUNK = 16 << 20
_MARGIN = 64 << 20
_MB = 1_000_000


def copy_programs(sources: Mapping[str, Path], directory: Path, progress: Progress) -> None:
    """Copy ``sources`` into ``directory`` under the names given, durable and executable.

    Raises
    ------
    PreconditionError
        ``disk.full``, before anything was written where it can be foreseen; or a file that cannot
        be read or written.

    """
    plain = [name for name, source in sources.items() if not _clone(source, directory / name)]
    total = sum(sources[name].stat().st_size for name in plain)
    _require_space(directory, total)
    with progress.stage("Copying", total=-(-total // _MB), unit="MB") as stage:
        for name in plain:
            with explained(directory / name, "writing"):
                _copy(sources[name], directory / name, stage)
    for name in sources:
        (directory / name).chmod(0o755)


def _clone(source: Path, target: Path) -> bool:
    """Let ``target`` share the blocks of ``source``; say whether the file system can."""
    with explained(source, "reading"), source.open("rb") as reading, target.open("wb") as writing:
        try:
            fcntl.ioctl(writing, _FICLONE, reading.fileno())
        except OSError:
            return False
        os.fsync(writing)
        return True


def _copy(source: Path, target: Path, stage: Stage) -> None:
    done = 0
    with source.open("rb", buffering=0) as reading, target.open("wb", buffering=0) as writing:
        while written := os.sendfile(writing.fileno(), reading.fileno(), None, _CHUNK):
            stage.advance((done + written) // _MB - done // _MB)
            done += written
        os.fsync(writing)


def _require_space(directory: Path, needed: int) -> None:
    free = shutil.disk_usage(directory).free
    if needed and free < needed + _MARGIN:
        raise PreconditionError(
            "Not enough space to keep a copy of this build.",
            code="disk.full",
            why=f"It takes {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free on the file"
            f" system of {directory.parent}.",
            remedy="`build.list` shows what is kept, and `build.prune` removes the older ones.",
        )
