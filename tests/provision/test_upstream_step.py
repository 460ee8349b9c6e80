"""The upstream as a part of the declared lab: up, status, down, confirmed destruction."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from upstream_places import COLUMNS, QUIET, Place, place

from lab.core.config import UpstreamConfig
from lab.core.errors import StateMismatchError, UsageError
from lab.core.results import Outcome, Status
from lab.core.workspace import Workspace
from lab.provision import lab
from lab.provision import upstream as provision
from lab.servers import binaries
from lab.servers.cluster import Trusted
from lab.servers.postgres import EmbeddedServer
from lab.servers.records import Condition
from lab.upstream.assembly import declared_columns, declared_tables, open_recorded, open_upstream
from lab.upstream.embedded import SETTINGS
from lab.upstream.record import UpstreamRecord
from lab.upstream.upstream import Upstream

TABLES = 30


def up(upstream: Upstream, tables: int = TABLES, **options: bool) -> Outcome:
    given = {"adopt": False, "check": False, **options}
    return provision.up(upstream, tables=tables, columns=COLUMNS, progress=QUIET, **given)


def down(upstream: Upstream, **options: Any) -> Outcome:
    given: dict[str, Any] = {"destroy": False, "confirmed": "", "check": False, **options}
    return provision.down(upstream, progress=QUIET, **given)


def found(outcome: Outcome) -> dict[str, Status]:
    return {step.name: step.status for step in outcome.steps}


@pytest.fixture(scope="module")
def declared() -> Iterator[Place]:
    with place(tables=TABLES) as made:
        yield made


def test_the_declared_lab_with_an_upstream_goes_up_and_down(declared: Place) -> None:
    environment, upstream, config = declared.environment, declared.upstream, declared.config

    def lab_up(*, check: bool) -> Outcome:
        return lab.up(
            environment, config, check=check, diff=True, progress=QUIET, upstream=upstream
        )

    both = ["environment", "upstream"]
    foreseen = lab_up(check=True)
    assert found(foreseen) == dict.fromkeys(both, Status.WOULD_CHANGE)
    assert "+ running, with 30 tables, published" in foreseen.steps[1].diff
    assert upstream.found().condition is Condition.ABSENT
    assert upstream.record() is None
    assert found(lab_up(check=False)) == dict.fromkeys(both, Status.CHANGED)
    assert found(lab_up(check=False)) == dict.fromkeys(both, Status.OK)
    compared = lab.status(environment, config, upstream)
    assert compared.status is Status.OK

    declared.ask("DROP TABLE bench_table_3")
    compared = lab.status(environment, config, upstream)
    part = next(part for part in compared.data["parts"] if part.name == "upstream")
    assert part.status is Status.WOULD_CHANGE
    assert "+ 1 table (bench_table_3)" in part.diff
    assert found(lab_up(check=False)) == {"environment": Status.OK, "upstream": Status.CHANGED}

    def lab_down(*, check: bool) -> Outcome:
        return lab.down(environment, check=check, progress=QUIET, upstream=upstream)

    assert found(lab_down(check=True)) == dict.fromkeys(both, Status.WOULD_CHANGE)
    assert found(lab_down(check=False)) == dict.fromkeys(both, Status.CHANGED)
    assert upstream.found().condition is Condition.STOPPED
    assert found(lab_down(check=False)) == dict.fromkeys(both, Status.OK)
    assert provision.status(upstream, config.upstream).hint == "invoke upstream.up"
    assert provision.verify(upstream, None).exit_code == StateMismatchError.exit_code


def test_up_tells_each_part_and_foresees_it(declared: Place) -> None:
    upstream = declared.upstream
    up(upstream)
    parts = ["server", "database", "extension", "role", "tables", "publication"]
    assert found(up(upstream)) == dict.fromkeys(parts, Status.OK)
    declared.ask("ALTER ROLE ddl_lab_source PASSWORD 'by somebody else'")
    foreseen = up(upstream, check=True)
    assert foreseen.status is Status.WOULD_CHANGE
    differences = provision.status(upstream, declared.config.upstream).data["differences"]
    assert [line for line in differences if "its password" in line]
    done = up(upstream)
    assert found(done) == {**dict.fromkeys(parts, Status.OK), "role": Status.CHANGED}
    assert provision.verify(upstream, TABLES).exit_code == 0
    assert provision.verify(upstream, TABLES + 1).exit_code == StateMismatchError.exit_code


def test_other_columns_are_said_by_status_and_end_up(declared: Place) -> None:
    up(declared.upstream)
    other = msgspec.structs.replace(declared.config.upstream, columns="id int PRIMARY KEY")
    shown = provision.status(declared.upstream, other)
    assert shown.exit_code == 0
    assert "of other columns than declared" in shown.text
    config = msgspec.structs.replace(declared.config, upstream=other)
    ended = lab.up(
        declared.environment,
        config,
        check=True,
        diff=True,
        progress=QUIET,
        upstream=declared.upstream,
    )
    assert ended.failure is not None
    assert ended.failure.code == "upstream.columns"


def test_what_went_well_is_shown_beside_what_failed(declared: Place) -> None:
    up(declared.upstream)
    failed = provision.up(
        declared.upstream,
        tables=TABLES,
        columns="id nosuchtype",
        adopt=False,
        check=False,
        progress=QUIET,
    )
    assert failed.failure is not None
    assert (failed.status, failed.exit_code) == (Status.FAILED, UsageError.exit_code)
    well = dict.fromkeys(("server", "database", "extension", "role"), Status.OK)
    assert found(failed) == {**well, "tables": Status.FAILED, "publication": Status.SKIPPED}
    assert "nosuchtype" in next(step.why for step in failed.steps if step.name == "tables")


def test_destruction_wants_the_name(declared: Place) -> None:
    upstream = declared.upstream
    up(upstream)
    for confirmed in ("", "yes", "main"):
        with pytest.raises(UsageError) as refused:
            down(upstream, destroy=True, confirmed=confirmed)
        assert refused.value.code == "upstream.not-confirmed"
    assert down(upstream, destroy=True, check=True).status is Status.WOULD_CHANGE
    assert upstream.found().condition is Condition.RUNNING
    assert down(upstream, destroy=True, confirmed=provision.NAME).status is Status.CHANGED
    assert upstream.found().condition is Condition.ABSENT
    assert upstream.record() is None
    assert upstream.records.password() == ""
    assert down(upstream, destroy=True).status is Status.OK
    assert down(upstream).status is Status.OK
    assert open_recorded(Workspace(declared.root), declared.config) is None


def test_what_is_declared_counts_more_than_what_was_brought_up() -> None:
    record = UpstreamRecord(provider="embedded", columns="id int", tables=7)
    usual = UpstreamConfig()
    assert declared_tables(usual, None) == 3000
    assert declared_tables(usual, record) == 7
    assert declared_tables(UpstreamConfig(tables=5), record) == 5
    assert declared_columns(usual, None) == usual.columns
    assert declared_columns(usual, record) == "id int"
    assert declared_columns(UpstreamConfig(columns="x int"), record) == "x int"


def test_another_provider_than_was_brought_up_is_refused(declared: Place) -> None:
    up(declared.upstream)
    with pytest.raises(StateMismatchError) as other:
        open_upstream(Workspace(declared.root), declared.config, provider="docker")
    assert other.value.code == "upstream.other-provider"
    with pytest.raises(UsageError) as unknown:
        open_upstream(Workspace(declared.root), declared.config, provider="podman")
    assert unknown.value.code == "upstream.unknown-provider"


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[EmbeddedServer]:
    """Somebody else's server, which fits a source, and lets its owner in without a password."""
    with place() as made:
        server = EmbeddedServer(
            states=made.root / "states",
            environments=made.root / "environments",
            name="theirs",
            user_settings=SETTINGS,
            trusted=(Trusted("postgres", "owner"), Trusted("theirs", "owner")),
        )
        server.start(QUIET)
        with contextlib.closing(server.connect("postgres", "test")) as connection:
            connection.execute("CREATE ROLE owner LOGIN SUPERUSER")
            connection.execute("CREATE DATABASE theirs")
        yield server
        server.reset(QUIET)


def test_somebody_elses_server_is_changed_only_once_adopted(elsewhere: EmbeddedServer) -> None:
    url = f"postgres://owner@127.0.0.1:{elsewhere.inspect().port}/theirs"
    with place(provider="url", url=url, tables=TABLES) as made:
        upstream = made.upstream
        refused = up(upstream)
        assert refused.failure is not None
        assert (refused.failure.code, refused.exit_code) == ("upstream.not-adopted", 3)
        assert refused.failure.remedy.startswith("Run the listed SQL")
        assert "--adopt" in refused.failure.remedy
        script = "\n".join(refused.data["sql"])
        assert upstream.records.password() not in refused.text
        assert made.ask("SELECT 1 FROM pg_roles WHERE rolname = 'ddl_lab_source'") == []
        # What was asked for is what is declared from then on.
        asked = provision.status(upstream, UpstreamConfig(provider="url", url=url))
        assert re.search(r"declared +30 tables", asked.text)
        listed = lab.status(made.environment, made.config, upstream).data["parts"][-1]
        assert listed.status is Status.FAILED

        # What is listed, run by hand as it is, is all that was missing.
        psql = [binaries.shipped().program("psql"), "-q", "-v", "ON_ERROR_STOP=1", url]
        done = subprocess.run(
            psql, input=script, capture_output=True, text=True, env=os.environ, check=False
        )
        assert done.returncode == 0, done.stderr
        assert set(found(up(upstream)).values()) == {Status.OK}
        assert len(upstream.published()) == TABLES

        (names,) = (each for each in upstream.verify(None) if "types" in each.name)
        assert names.passed
        assert up(upstream, TABLES + 10).failure is not None
        grown = up(upstream, TABLES + 10, adopt=True)
        assert grown.failure is None
        assert len(made.upstream.published()) == TABLES + 10
        # It stays adopted, and is never stopped.
        assert up(made.upstream, TABLES + 11).failure is None
        assert down(made.upstream).status is Status.SKIPPED
        destroyed = down(made.upstream, destroy=True, confirmed=provision.NAME)
        assert destroyed.status is Status.CHANGED
        (forgotten,) = destroyed.steps
        assert forgotten.why.startswith("forgotten; ")
        for word in ("DROP PUBLICATION", "DROP TABLE", "DROP ROLE", "ddl_lab_source"):
            assert word in forgotten.why
        assert made.upstream.record() is None
        assert made.upstream.found().condition is Condition.RUNNING


def test_of_somebody_elses_server_that_is_down_nobody_is_told_to_bring_it_up(
    elsewhere: EmbeddedServer,
) -> None:
    url = f"postgres://owner@127.0.0.1:{elsewhere.inspect().port}/theirs"
    with place(provider="url", url=url) as made:
        made.upstream.start(QUIET)
        elsewhere.stop(QUIET)
        try:
            shown = provision.status(made.upstream, made.config.upstream)
            assert (shown.summary, shown.exit_code) == ("The upstream does not run.", 0)
            assert "upstream.up" not in shown.hint
            (check,) = provision.verify(made.upstream, None).data["checks"]
            assert check.remedy.startswith("Whoever runs it has to start it")
        finally:
            elsewhere.start(QUIET)


def test_a_server_that_cannot_be_a_source_says_which_settings() -> None:
    with place() as plain:
        server = EmbeddedServer(
            states=plain.root / "states",
            environments=plain.root / "environments",
            name="plain",
            user_settings={"max_wal_senders": "1"},
            trusted=(Trusted("postgres", "owner"),),
        )
        server.start(QUIET)
        try:
            with contextlib.closing(server.connect("postgres", "test")) as connection:
                connection.execute("CREATE ROLE owner LOGIN SUPERUSER")
            url = f"postgres://owner@127.0.0.1:{server.inspect().port}/postgres"
            with place(provider="url", url=url) as made:
                refused = up(made.upstream)
                for wanted in (
                    "ALTER SYSTEM SET wal_level = 'logical'",
                    "ALTER SYSTEM SET max_wal_senders = '10'",
                    "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'",
                ):
                    assert wanted in refused.text
                unfit = up(made.upstream, adopt=True)
                assert unfit.failure is not None
                assert unfit.failure.code == "upstream.unfit"
                ended = {**found(unfit)}
                assert (ended.pop("server"), ended.pop("settings")) == (Status.OK, Status.FAILED)
                assert set(ended.values()) == {Status.SKIPPED}
        finally:
            server.reset(QUIET)
