"""A place of its own for each test, or each module, that runs the real program."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from lab_driver import Driver, make_driver, remove_driver


def pytest_configure() -> None:
    """Heed Ctrl-C, which test processes and background jobs begin with ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
