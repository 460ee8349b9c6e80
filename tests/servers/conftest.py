"""Places for servers; one state is made once, and copied for each test."""

import subprocess

import pytest
from server_support import QUIET, clean_up, make_server, open_folder


@pytest.fixture(scope="session")
def made_once():
    root = open_folder()
    try:
        server = make_server(root)
        server.start(QUIET)
        server.stop(QUIET)
        yield root
    finally:
        clean_up(root)


@pytest.fixture
def empty_root():
    root = open_folder()
    yield root
    clean_up(root)


@pytest.fixture
def root(made_once, empty_root):
    """A workspace with a stopped state: a copy, which spares an initdb."""
    subprocess.run(["cp", "-a", str(made_once / "states"), str(empty_root)], check=True)
    return empty_root
