"""A place of its own for each test, or each module, that runs the real program."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from lab_driver import Driver, make_driver, remove_driver


def pytest_configure() -> None:
    """Heed the signals that test processes, background jobs and nohup begin with ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def driver() -> Iterator[Driver]:
    made = make_driver()
    yield made
    remove_driver(made)


@pytest.fixture(scope="module")
def shared_driver() -> Iterator[Driver]:
    made = make_driver()
    yield made
    remove_driver(made)
