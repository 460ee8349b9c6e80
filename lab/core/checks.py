"""Checks that more than one kind of server is put to."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.core.errors import LabError
from lab.core.results import Check

LEAST_FREE_BYTES = 128 * 1024 * 1024
"""Eight segments of PostgreSQL's journal: with less, a run would soon end in a full disk."""


def no_answer(error: LabError) -> Check:
    """Return the one check for a server that does not answer."""
    return Check(
        name="server answers",
        passed=False,
        found=f"{error.what} {error.why}".strip(),
        expected="yes",
        remedy=error.remedy,
    )


def disk_space(data: Path, least: int = LEAST_FREE_BYTES) -> Check:
    """Check that at least ``least`` bytes are free where the data are."""
    free = shutil.disk_usage(data).free
    return Check(
        name="disk space",
        passed=free >= least,
        found=f"{free / 1e9:,.1f} GB free",
        expected=f"at least {least / 1e9:,.1f} GB",
        remedy=f"Free space on the file system of {data}.",
    )
