"""What a path's file system is made of."""

from __future__ import annotations

from pathlib import Path

import psutil

_MEMORY = ("tmpfs", "ramfs", "devtmpfs")


def in_memory(path: Path) -> bool:
    """Say whether what lies at ``path`` of this host is lost with the host's power."""
    path = path.resolve()
    mounted = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
    nearest = next((each for each in (path, *path.parents) if each in mounted), None)
    return nearest is not None and mounted[nearest] in _MEMORY
