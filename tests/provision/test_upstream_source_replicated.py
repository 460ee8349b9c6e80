"""A source that replicates is made and taken away, slot and all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from lab_on_materialize import Lab, lab_on_materialize
from upstream_places import COLUMNS, QUIET

from lab.core.config import Config
from lab.core.results import Outcome, Status
from lab.core.workspace import Workspace
from lab.provision import sourcing
from lab.upstream.assembly import open_upstream
from lab.upstream.upstream import Upstream

TABLES = 12
CLUSTER = "quickstart"


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Lab, Upstream]]:
    with lab_on_materialize() as lab:
        upstream = open_upstream(Workspace(lab.driver.directory), Config())
        try:
            lab.environment.start(QUIET)
            upstream.start(QUIET)
            upstream.provision(TABLES, COLUMNS, QUIET)
            yield lab, upstream
        finally:
            upstream.destroy(QUIET)


def clean(lab: Lab, upstream: Upstream, *, keep_source: bool = False) -> Outcome:
    return sourcing.clean(
        lab.environment,
        upstream,
        CLUSTER,
        keep_source=keep_source,
        check=False,
        progress=QUIET,
    )


def test_slots_come_and_go_with_the_source(both: tuple[Lab, Upstream]) -> None:
    lab, upstream = both
    connected = sourcing.connect(lab.environment, upstream, CLUSTER, check=False, progress=QUIET)
    assert connected.status is Status.CHANGED
    source = lab.environment.sourcing(upstream.link(), CLUSTER)
    with contextlib.closing(lab.environment.connect("test")) as connection:
        connection.execute(source.create(1).encode())
        assert source.made(connection) == {1}
    kept = clean(lab, upstream, keep_source=True)
    assert kept.exit_code == 0, kept.text
    with contextlib.closing(lab.environment.connect("test")) as connection:
        assert source.made(connection) == frozenset()
        assert source.look(connection) == ()
    cleaned = clean(lab, upstream)
    assert cleaned.exit_code == 0, cleaned.text
    assert upstream.slots() == ()
    with contextlib.closing(lab.environment.connect("test")) as connection:
        assert lab.environment.count_objects(connection).upstream == 0
    assert clean(lab, upstream).exit_code == 0
