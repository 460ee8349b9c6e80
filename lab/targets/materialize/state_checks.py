"""What is checked of a state that lies in files of this host, and of the processes on it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg

from lab.core.errors import LabError, PreconditionError
from lab.core.results import Check
from lab.targets.materialize import processes
from lab.targets.materialize.metadata import MetadataStore
from lab.targets.materialize.state import StateFiles

LEAST_FREE_BYTES = 1024**3
"""A state grows by about 130 kB a table; with less room than this a run would soon end."""

_SHOWN = 5


def strays(files: StateFiles, token: str) -> Check:
    """Check that no clusterd but the server's own is at work on this environment."""
    family = processes.of_environment(files.environment_id)
    stray = [each for each in family if each.token != token]
    return Check(
        name="stray processes",
        passed=not stray,
        found=", ".join(f"pid {each.identity.pid}" for each in stray[:_SHOWN]) or "none",
        expected="none",
        remedy="They are of another start: `env.stop`, end what is left, then `env.start`.",
    )


def together(files: StateFiles, metadata: MetadataStore) -> Iterator[Check]:
    """Check that blobs and metadata store belong together."""
    problem: LabError | psycopg.Error | None
    try:
        with contextlib.closing(metadata.connect("env.verify")) as connection:
            problem = files.broken_bond(connection, metadata.identity(connection))
    except (LabError, psycopg.Error) as error:
        problem = error
    remedy = problem.remedy if isinstance(problem, LabError) else "`env.logs` shows more."
    if isinstance(problem, LabError) and problem.code == "metadata.down" and metadata.owned:
        remedy = "`lab.up` starts it again, together with the environment."
    yield Check(
        name="blobs and metadata",
        passed=problem is None,
        found=in_full(problem) if problem else "belong together",
        expected="belong together",
        remedy=remedy if problem else "",
    )


def disk_space(folder: Path) -> Check:
    """Check that there is room in ``folder`` for what a run writes."""
    free = shutil.disk_usage(folder).free
    return Check(
        name="free space",
        passed=free >= LEAST_FREE_BYTES,
        found=f"{free / 1e9:.1f} GB",
        expected=f"at least {LEAST_FREE_BYTES / 1e9:.1f} GB",
        remedy=f"Free space on the file system of {folder}.",
    )


def require_room(folder: Path) -> None:
    """Refuse to start on a state in ``folder`` that would soon find no more room.

    Raises
    ------
    PreconditionError
        ``disk.full``.
    """
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        raise PreconditionError(
            f"The disk is nearly full: {free / 1e6:,.0f} MB are free.",
            code="disk.full",
            why=f"The state in {folder} grows with every table, and with less than "
            f"{LEAST_FREE_BYTES / 1e9:.0f} GB it would soon stop.",
            remedy="Free space there; `build.prune` removes old builds.",
        )


def in_full(error: LabError | psycopg.Error) -> str:
    """Return what an error says, in one line."""
    said = f"{error.what} {error.why}" if isinstance(error, LabError) else str(error)
    return " ".join(said.split())
