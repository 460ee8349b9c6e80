"""The builds of an environment: made, adopted, listed, proven, removed."""

from __future__ import annotations

from pathlib import Path

from lab.core.errors import StateMismatchError, UsageError
from lab.core.progress import Progress
from lab.core.results import Check, Outcome, Status, gravest
from lab.core.tables import table
from lab.targets.base import Environment, Phase
from lab.targets.parts import Build, Builds

_COMMIT_LENGTH = 9
_UP = (Phase.RUNNING, Phase.FOREIGN)


def make(environment: Environment, profile: str, *, check: bool, progress: Progress) -> Outcome:
    """Compile the checkout in ``profile`` and keep the result; ``ok`` where it is kept already.

    Raises
    ------
    UsageError
        ``build.none``: this target is not compiled.

    """
    builds = _builds(environment)
    if check:
        step = builds.foresee(profile)
        return Outcome(status=step.status, steps=(step,))
    build, step = builds.make(profile, progress)
    return Outcome(status=step.status, steps=(step,), data={"build": build})


def adopt(
    environment: Environment, profile: str, source: Path, *, check: bool, progress: Progress
) -> Outcome:
    """Keep a copy of binaries that were compiled elsewhere; ``ok`` where they are kept already.

    Raises
    ------
    UsageError
        ``build.none``: this target is not compiled.

    """
    builds = _builds(environment)
    if check:
        step = builds.foresee(profile, source)
        return Outcome(status=step.status, steps=(step,))
    build, step = builds.adopt(profile, source, progress)
    return Outcome(status=step.status, steps=(step,), data={"build": build})


def listed(environment: Environment) -> Outcome:
    """Show the builds that are kept, newest first, and which one runs."""
    builds = _builds(environment).all()
    running = _running(environment, builds)
    rows = [_row(build, runs=build.id == running) for build in builds]
    headers = ("", "build", "profile", "commit", "version", "made", "size", "origin")
    return Outcome(
        text=table(rows, headers=headers) if rows else "",
        summary="" if rows else "No build is kept.",
        data={"builds": builds, "running": running},
        hint="" if rows else "invoke build.debug",
    )


def checked(environment: Environment, wanted: str, *, progress: Progress) -> Outcome:
    """Prove that the build ``wanted`` is whole and runs on this host; all builds where empty.

    Where a check fails the outcome is ``failed`` with the exit code of a state mismatch.
    """
    store = _builds(environment)
    builds = (store.find(wanted),) if wanted else store.all()
    found: dict[str, tuple[Check, ...]] = {}
    with progress.stage("Checking", total=len(builds), unit="builds") as stage:
        for build in builds:
            found[build.id] = store.check(build)
            stage.advance()
    failed = [each for checks in found.values() for each in checks if not each.passed]
    rows = [
        (id_, "passed" if each.passed else "FAILED", each.name, each.found)
        for id_, checks in found.items()
        for each in checks
    ]
    sound = sum(all(each.passed for each in checks) for checks in found.values())
    return Outcome(
        status=Status.FAILED if failed else Status.OK,
        text=table(rows, headers=("build", "", "check", "found")) if rows else "",
        summary=f"{sound} of {len(builds)} builds are sound." if builds else "No build is kept.",
        data={"builds": [{"build": id_, "checks": each} for id_, each in found.items()]},
        hint=" ".join(dict.fromkeys(each.remedy for each in failed if each.remedy)),
        exit_code=StateMismatchError.exit_code if failed else 0,
    )


def prune(environment: Environment, keep: int, *, check: bool) -> Outcome:
    """Remove all but the ``keep`` newest builds of each profile; one that runs stays."""
    builds = _builds(environment)
    steps = builds.prune(keep, check=check)
    return Outcome(status=gravest(steps), steps=steps, data={"kept": builds.all()})


def _builds(environment: Environment) -> Builds:
    if environment.builds is None:
        raise UsageError(
            f"The target {environment.target} has no builds to choose from.",
            code="build.none",
            why="It runs the one that is installed.",
            remedy="Builds belong to a target that is compiled from a checkout; `lab.config` shows"
            " which target is set.",
        )
    return environment.builds


def _running(environment: Environment, builds: tuple[Build, ...]) -> str:
    """Return the id of the build that runs; empty where none of ``builds`` does."""
    situation = environment.inspect()
    if situation.phase not in _UP:
        return ""
    return next((build.id for build in builds if build.id in situation.build), "")


def _row(build: Build, *, runs: bool) -> tuple[str, ...]:
    return (
        "runs" if runs else "",
        build.id,
        build.profile,
        f"{build.commit[:_COMMIT_LENGTH]}{'*' if build.dirty else ''}",
        build.version,
        build.made_at,
        _size(build),
        build.origin,
    )


def _size(build: Build) -> str:
    files = (Path(build.directory) / name for name in build.files)
    return f"{sum(path.stat().st_size for path in files if path.is_file()) / 1e6:,.0f} MB"
