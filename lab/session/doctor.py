"""What is installed, what is missing and what that costs, and how quiet this host is."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from statistics import median

import msgspec

import lab
from lab.core.config import Config
from lab.core.errors import LabError
from lab.core.results import Outcome, Status
from lab.core.tables import table
from lab.core.workspace import Workspace
from lab.measure import host
from lab.servers.records import Condition
from lab.targets.base import Environment
from lab.upstream.assembly import open_recorded
from lab.upstream.checks import orphans
from lab.vcs.detect import open_repository

_FINE, _LOOK, _MISSING = "ok", "look", "missing"
_SPINS = 200
_SYNCS = 30
_QUIET_SPREAD = 0.05
_LEAST_FREE = 2 * 1024**3


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the doctor looked at.

    ``status`` is ``ok``, ``missing``, or ``look`` (there, but worth a look); ``cost`` says what the
    lack costs.
    """

    name: str
    status: str
    found: str
    cost: str = ""


def examine(environment: Environment, workspace: Workspace, config: Config) -> Outcome:
    """Look at everything that a session needs, and change nothing but a scratch file."""
    findings = [
        Finding(name="ddl-lab", status=_FINE, found=lab.__version__),
        Finding(name="python", status=_FINE, found=sys.version.split()[0]),
        _environment(environment),
        *_alarms(environment),
        *_upstream(workspace, config),
        _program("jj", "sessions are recorded by git commits, where git is installed"),
        _program("git", "sessions are recorded only where jj is installed"),
        _repository(workspace, config),
        _disk(workspace),
        *_host(workspace),
    ]
    rows = [(each.status, each.name, each.found, each.cost) for each in findings]
    bad = [each for each in findings if each.status != _FINE]
    return Outcome(
        status=Status.OK,
        text=table(rows, headers=("", "what", "found", "what it costs")),
        summary="Everything that a session needs is here."
        if not bad
        else f"{len(bad)} of {len(findings)} findings are worth a look.",
        data={"findings": findings},
    )


def _environment(environment: Environment) -> Finding:
    name = f"target {environment.target}"
    try:
        situation = environment.inspect()
    except LabError as error:
        return Finding(name=name, status=_MISSING, found=error.what, cost=error.remedy)
    found = ", ".join(part for part in (situation.build, situation.phase.value) if part)
    return Finding(name=name, status=_FINE, found=found)


def _alarms(environment: Environment) -> list[Finding]:
    """Return what endangers the state: hours of seeding may be in it."""
    try:
        alarms = environment.alarms()
    except LabError:
        return []  # said already of the target
    return [
        Finding(
            name="state",
            status=_LOOK,
            found=alarm,
            cost="the state, with all its objects, may be lost at any restart",
        )
        for alarm in alarms
    ]


def _upstream(workspace: Workspace, config: Config) -> list[Finding]:
    """Return what endangers the upstream, where one was brought up, and what it endangers."""
    name = "upstream"
    try:
        upstream = open_recorded(workspace, config)
        if upstream is None:
            return []
        found = upstream.found()
        running = found.condition is Condition.RUNNING
        held = orphans(upstream.slots()) if running else None
    except LabError as error:
        return [Finding(name=name, status=_MISSING, found=error.what, cost=error.remedy)]
    said = ", ".join(filter(None, (found.provider, found.condition.value, found.detail)))
    findings = [Finding(name=name, status=_FINE, found=said)]
    if found.volatile:
        cost = "the upstream, with all its tables, may be lost at any restart"
        findings.append(
            Finding(name="upstream's data", status=_LOOK, found=found.volatile, cost=cost)
        )
    if held is not None and not held.passed:
        cost = f"its disk fills up. {held.remedy}"
        findings.append(Finding(name="upstream's WAL", status=_LOOK, found=held.found, cost=cost))
    return findings


def _program(name: str, cost: str) -> Finding:
    path = shutil.which(name)
    if path is None:
        return Finding(name=name, status=_MISSING, found="not installed", cost=cost)
    return Finding(name=name, status=_FINE, found=path)


def _repository(workspace: Workspace, config: Config) -> Finding:
    if workspace.is_default and not workspace.root.exists():
        return Finding(
            name="repository", status=_FINE, found=f"is made in {workspace.root} on first use"
        )
    try:
        repository = open_repository(
            workspace.root, config.session.vcs, enclosing=not workspace.is_default
        )
        if repository is None:
            return Finding(
                name="repository",
                status=_MISSING,
                found="none",
                cost="sessions are written to the log, but no change is described",
            )
        status = repository.status()
    except LabError as error:
        return Finding(name="repository", status=_MISSING, found=error.what, cost=error.remedy)
    warned = "; ".join(status.warnings)
    return Finding(
        name="repository",
        status=_LOOK if warned else _FINE,
        found=f"{status.system} {status.version} at {status.root}",
        cost=warned,
    )


def _disk(workspace: Workspace) -> Finding:
    place = _existing(workspace.private)
    free = shutil.disk_usage(place).free
    enough = free >= _LEAST_FREE
    return Finding(
        name="disk",
        status=_FINE if enough else _LOOK,
        found=f"{free / 1024**3:.1f} GiB free",
        cost="" if enough else "100,000 tables take about 2 GiB",
    )


def _host(workspace: Workspace) -> list[Finding]:
    """Time equal work many times: what it varies by is what a measurement has to see through."""
    place = _existing(workspace.private)
    probe = host.probe_noise()
    spins = [_timed(_spin) for _ in range(_SPINS)]
    syncs = _sync_times(place)
    noise = host.noise_since(probe)
    spread = _spread(spins)
    load_is_high = noise.load_1min > host.usable_cores()
    pressure = ", ".join(f"{name} {share:.0%}" for name, share in noise.pressure.items())
    return [
        Finding(
            name="cpu noise",
            status=_FINE if spread < _QUIET_SPREAD else _LOOK,
            found=f"equal work varies by {spread:.1%} (interquartile range / median)",
            cost="" if spread < _QUIET_SPREAD else "small changes need more samples to be seen",
        ),
        Finding(
            name="load",
            status=_LOOK if load_is_high or noise.steal > 0.01 else _FINE,
            found=f"{noise.load_1min} on {host.usable_cores()} cores, steal {noise.steal:.1%}"
            + (f", pressure {pressure}" if pressure else ""),
            cost="something else runs beside the measurement" if load_is_high else "",
        ),
        Finding(
            name="fsync",
            status=_FINE,
            found=f"{median(syncs) / 1e6:.2f} ms median, varies by {_spread(syncs):.0%}",
        ),
    ]


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.is_dir())


def _spin() -> None:
    sum(range(20_000))


def _timed(action: object) -> int:
    assert callable(action)
    started_ns = time.perf_counter_ns()
    action()
    return time.perf_counter_ns() - started_ns


def _sync_times(directory: Path) -> list[int]:
    """Return how long it takes to make 8 kB durable, in ns, with a file that has no name."""
    import tempfile

    times = []
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(_SYNCS):
            file.write(b"\0" * 8192)
            times.append(_timed(lambda: os.fsync(file.fileno())))
    return times


def _spread(times: list[int]) -> float:
    ordered = sorted(times)
    quarter = len(ordered) // 4
    return (ordered[-quarter - 1] - ordered[quarter]) / median(ordered)
