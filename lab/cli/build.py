"""Tasks on the builds that an environment may run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.cli.command import Front, command
from lab.cli.flags import whole_number

if TYPE_CHECKING:
    from lab.core.results import Outcome
    from lab.targets.base import Environment

_KEEP = 3
_FROM = {"from": "Keep the binaries of this directory instead of compiling."}


def _environment(front: Front) -> Environment:
    from lab.cli.environment import open_environment

    return open_environment(front.workspace, front.config().config)


def _make(front: Front, profile: str, source: str) -> Outcome:
    from pathlib import Path

    from lab.provision import builds

    with front.lock():
        environment = _environment(front)
        if source:
            path = Path(source).expanduser().absolute()
            return builds.adopt(
                environment, profile, path, check=front.check, progress=front.progress
            )
        return builds.make(environment, profile, check=front.check, progress=front.progress)


@command("build.debug", help=_FROM, changes=True)
def debug(front: Front, from_: str = "") -> Outcome:
    """Compile the checkout in the profile debug and keep the binaries; or adopt some.

    Example: invoke build.debug
    """
    return _make(front, "debug", from_)


@command("build.optimized", help=_FROM, changes=True)
def optimized(front: Front, from_: str = "") -> Outcome:
    """Compile the checkout in the profile optimized and keep the binaries; or adopt some.

    Example: invoke build.optimized --from ~/baseline/optimized
    """
    return _make(front, "optimized", from_)


@command("build.list")
def list_builds(front: Front) -> Outcome:
    """List the builds that are kept, newest first.

    Example: invoke build.list
    """
    from lab.provision import builds

    return builds.listed(_environment(front))


@command("build.check", help={"build": "A build's id, or a profile (default: all builds)."})
def check(front: Front, build: str = "") -> Outcome:
    """Prove that kept builds are whole and run on this host.

    Example: invoke build.check --build optimized
    """
    from lab.provision import builds

    return builds.checked(_environment(front), build, progress=front.progress)


@command(
    "build.prune",
    help={"keep": f"How many of each profile to keep (default: {_KEEP})."},
    changes=True,
)
def prune(front: Front, keep: str = "") -> Outcome:
    """Remove older builds; one that runs stays.

    Example: invoke build.prune --keep 2
    """
    from lab.provision import builds

    wanted = whole_number("--keep", keep, least=0)
    with front.lock():
        return builds.prune(
            _environment(front), _KEEP if wanted is None else wanted, check=front.check
        )
