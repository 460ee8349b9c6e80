"""The space on disk that tables take, foreseen before any is made."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.core.errors import PreconditionError
from lab.upstream.tables import counted

TABLE_BYTES = 28 * 1024
"""An empty table with its index, its TOAST table and its rows of the catalog.

Measured with PostgreSQL 17 and the usual columns: 25.8 kB; 44 kB with a hundred columns."""
WAL_BYTES = 24 * 1024
"""WAL that making one table writes; measured: 22.5 kB."""
MOST_WAL_BYTES = 1_000_000_000
"""More WAL than about this (max_wal_size) is not kept."""


def needed_bytes(tables: int) -> int:
    """Return how many bytes making ``tables`` tables takes at least."""
    return tables * TABLE_BYTES + min(tables * WAL_BYTES, MOST_WAL_BYTES)


def require_space(directory: str, tables: int) -> None:
    """Refuse ``tables`` more tables where they do not fit; an empty ``directory`` is not seen.

    Raises
    ------
    PreconditionError
        ``disk.full``, with what is needed.
    """
    if not directory or not tables:
        return
    free = shutil.disk_usage(Path(directory)).free
    needed = needed_bytes(tables)
    if free >= needed:
        return
    raise PreconditionError(
        f"There is no room for {counted(tables)} more on the upstream.",
        code="disk.full",
        why=f"They take about {needed / 1e9:,.2f} GB, and {free / 1e9:,.2f} GB are free where its"
        f" data lie ({directory}).",
        remedy="Free space there, or ask for fewer tables.",
    )
