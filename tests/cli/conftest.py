"""A workspace for the trials of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab_driver import Driver
from trial import QUICK, headings


@pytest.fixture
def lab(shared_driver: Driver) -> Iterator[Driver]:
    """A workspace of this module with at least one session in its log, and none open."""
    shared_driver.variables["LAB_MEASURE_MOST_SAMPLES"] = "6"
    if not headings(shared_driver):
        shared_driver.ok("session.measure", *QUICK)
    yield shared_driver
    if (shared_driver.workspace / ".lab/sessions/current.json").exists():
        shared_driver.run("session.abort")  # a test has failed
