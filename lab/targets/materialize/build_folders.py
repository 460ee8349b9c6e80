"""The directories of kept builds: written whole or not at all, removed in one step."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from lab.core.errors import PreconditionError
from lab.core.files import explained, read_struct, sync_directory, write_struct
from lab.core.killpoints import reached
from lab.core.progress import Progress
from lab.targets.materialize.build_identity import ID_LENGTH
from lab.targets.materialize.copying import copy_programs
from lab.targets.materialize.hashes import signature
from lab.targets.parts import Build

RECORD = "build.json"
_PARTIAL = ".partial-"
_REMOVED = ".removed-"
_ID = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}")


def is_build(directory: Path) -> bool:
    """Say whether ``directory`` holds a kept build."""
    return bool(_ID.fullmatch(directory.name)) and (directory / RECORD).is_file()


def read(directory: Path) -> Build:
    """Return the build that is kept in ``directory``. Raises PreconditionError."""
    found = read_struct(directory / RECORD, Build)
    if found is None:
        raise PreconditionError(
            f"The build in {directory} has no record.",
            code="build.no-record",
            why=f"{RECORD} went away.",
            remedy="Run the command again; `build.list` says what is left.",
        )
    return msgspec.structs.replace(found, directory=str(directory))


def newest_first(folder: Path) -> tuple[Build, ...]:
    """Return the builds in ``folder``, the one that was last written or touched first."""
    directories = [each for each in folder.glob("*") if is_build(each)]
    aged = sorted(((each / RECORD).stat().st_mtime_ns, each) for each in directories)
    return tuple(read(directory) for _, directory in reversed(aged))


def touch(directory: Path) -> None:
    """Make a build the newest again: it is what was asked for last."""
    with explained(directory / RECORD, "touching"):
        os.utime(directory / RECORD)


def complete(directory: Path, build: Build) -> Build:
    """Replace the record of a build by one that knows more; return it."""
    write_struct(directory / RECORD, build)
    return read(directory)


def is_intact(directory: Path, programs: Mapping[str, Path]) -> bool:
    """Say whether a build is kept in ``directory``, with files as long as ``programs``."""
    return is_build(directory) and all(
        (directory / name).is_file() and (directory / name).stat().st_size == source.stat().st_size
        for name, source in programs.items()
    )


def place(
    directory: Path,
    build: Build,
    programs: Mapping[str, Path],
    signatures: Mapping[str, str],
    progress: Progress,
) -> Build:
    """Copy ``programs`` into ``directory`` with the record of ``build``; return what is there.

    ``signatures`` are those of the files when they were hashed. A damaged copy is replaced.

    Raises
    ------
    PreconditionError
        ``disk.full``, or ``build.replaced``: the files are no longer those that were hashed.

    """
    folder = directory.parent
    with explained(folder, "copying binaries to"):
        partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=folder))
        try:
            partial.chmod(0o755)
            copy_programs(programs, partial, progress)
            if {name: signature(path) for name, path in programs.items()} != signatures:
                raise _replaced(next(iter(programs.values())).parent)
            write_struct(partial / RECORD, build)
            reached("build.copied:after")
            if directory.exists():
                _carry_over(directory, partial)
                discard(directory)
            partial.rename(directory)
            sync_directory(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return read(directory)


def _carry_over(damaged: Path, partial: Path) -> None:
    """Keep what else was written beside the binaries, such as how they were launched."""
    for each in damaged.iterdir():
        if each.is_file() and not (partial / each.name).exists():
            shutil.copy2(each, partial)


def discard(directory: Path) -> None:
    """Remove a build: as seen from outside, in one step."""
    with explained(directory, "removing"):
        aside = directory.with_name(f"{_REMOVED}{secrets.token_hex(8)}")
        directory.rename(aside)
        sync_directory(directory.parent)
        shutil.rmtree(aside)


def leftovers(folder: Path) -> tuple[Path, ...]:
    """Return what killed commands left in ``folder``."""
    return tuple(
        sorted(path for prefix in (_PARTIAL, _REMOVED) for path in folder.glob(f"{prefix}*"))
    )


def clear(leftover: Path) -> None:
    """Remove what a killed command left."""
    with explained(leftover, "removing"):
        shutil.rmtree(leftover)


def _replaced(directory: Path) -> PreconditionError:
    return PreconditionError(
        f"The binaries in {directory} were replaced while they were copied.",
        code="build.replaced",
        why="Another cargo is at work there.",
        remedy="Run the command again when it has ended.",
    )
