"""What the benchmarks share: a database of their own, interleaving, and how a ratio is printed."""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lab.core.config import Config, PostgresConfig
from lab.core.progress import SilentProgress
from lab.core.workspace import Workspace
from lab.targets.base import Environment


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Lend an empty folder that a server of another user can reach."""
    path = Path(tempfile.mkdtemp(prefix="ddl-lab-benchmark-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def running_environment(settings: dict[str, str] | None = None) -> Iterator[Environment]:
    """Lend an environment of the default target, started empty and destroyed afterwards."""
    from lab.targets.registry import target

    with folder() as path:
        workspace = Workspace(path)
        workspace.prepare()
        config = Config(postgres=PostgresConfig(settings=settings or {}))
        environment = target(config.target).environment(workspace, config)
        environment.start(SilentProgress())
        try:
            yield environment
        finally:
            _forgo_durability(environment)
            environment.reset(SilentProgress())


def _forgo_durability(environment: Environment) -> None:
    """Spare the server, which goes at once, a flush of each of its many files."""
    with contextlib.closing(environment.connect("benchmark")) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")


def interleaved(
    rounds: int, ours: Callable[[], float], peer: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """Run both ``2 × rounds`` times as ours, peer, peer, ours; return what each returned."""
    results: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for which in (0, 1, 1, 0):
            results[which].append((ours, peer)[which]())
    return results


def show(
    label: str, ours: Sequence[float], peer: Sequence[float], *, unit: str, aim: str = ""
) -> None:
    """Print the medians of both, and the median and range of their ratios pair by pair.

    The two of a pair ran one right after the other, so what drifts meanwhile falls on both.
    """
    pairs = [mine / other for mine, other in zip(ours, peer, strict=True)]
    mine, other = statistics.median(ours), statistics.median(peer)
    aimed = f", aim {aim}" if aim else ""
    print(
        f"{label}: {mine:,.3f} against {other:,.3f} {unit}; "
        f"ratio {statistics.median(pairs):.3f} (pairs {min(pairs):.3f} to {max(pairs):.3f}, "
        f"n = {len(pairs)}{aimed})"
    )


def machine() -> str:
    """Say in general what this ran on."""
    return f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
