"""What a build is known by: a hash over its profile and the hashes of its files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from lab.core.errors import PreconditionError
from lab.targets.materialize.binaries import ENVIRONMENTD, NAMES
from lab.targets.materialize.hashes import FileHashes

ID_LENGTH = 12
_PROFILES = ("debug", "optimized", "release")


def build_id(profile: str, files: Mapping[str, str]) -> str:
    """Return the id of a build: 12 hexadecimal digits that follow from profile and file hashes."""
    lines = [profile, *(f"{name} {files[name]}" for name in sorted(files))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:ID_LENGTH]


def hinted_profile(path: Path) -> str:
    """Return the profile that a directory on ``path`` is named after; empty where none is."""
    named = [part for part in path.resolve().parts if part in _PROFILES]
    return named[-1] if named else ""


def running_files(executable: Path, hashes: FileHashes) -> dict[str, str] | None:
    """Return the hashes of a running environmentd and of the clusterd beside it.

    ``executable`` is what ``/proc/PID/exe`` points to. None where that is gone or was replaced:
    what runs is then known to nobody.
    """
    if str(executable).endswith(" (deleted)") or not executable.is_file():
        return None
    resolved = executable.resolve()
    others = {name: resolved.with_name(name) for name in NAMES if name != ENVIRONMENTD}
    found = {name: path for name, path in others.items() if path.is_file()}
    try:
        return {name: hashes.of(path) for name, path in {ENVIRONMENTD: resolved, **found}.items()}
    except PreconditionError:
        return None  # gone meanwhile, or not to be read
