"""The lab's own environment of the target materialize, for tests that call the lab in-process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from materialize_driver import MaterializeDriver, materialize_lab
from standin import Law

from lab.cli.environment import open_environment
from lab.core.loading import load_config
from lab.core.workspace import Workspace
from lab.targets.base import Environment

QUICK = Law(floor_ms=1, per_1000_objects_ms=0)


class Lab(NamedTuple):
    """An environment, not started, and the driver of the workspace that it is in."""

    driver: MaterializeDriver
    environment: Environment


@contextlib.contextmanager
def lab_on_materialize(*lines: str, law: Law = QUICK) -> Iterator[Lab]:
    """Lend a lab, and take all of it away; ``lines`` go into lab.toml."""
    with materialize_lab(law=law, behaviour={"boot_ms": 50.0}) as driver:
        driver.declare(*lines)
        workspace = Workspace(driver.directory)
        workspace.prepare()
        config = load_config(workspace.config).config
        yield Lab(driver, open_environment(workspace, config))
