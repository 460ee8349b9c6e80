from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from measured_postgres import MeasuredPostgres, served

from lab.servers.connection import Connection


@pytest.fixture(scope="session")
def server() -> Iterator[MeasuredPostgres]:
    with served() as running:
        yield running


@pytest.fixture
def connection(server: MeasuredPostgres) -> Iterator[Connection]:
    with closing(server.connect("test")) as opened:
        yield opened
