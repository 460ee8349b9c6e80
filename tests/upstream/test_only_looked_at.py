"""A server that is not adopted is looked at by whoever may only read, and nothing is made there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from provider_support import COLUMNS, QUIET, open_folder

from lab.core.config import Config, UpstreamConfig
from lab.core.errors import PreconditionError, StateMismatchError, UsageError
from lab.core.workspace import Workspace
from lab.servers.cluster import Trusted
from lab.servers.postgres import EmbeddedServer
from lab.upstream.assembly import open_upstream
from lab.upstream.columns import names_and_types
from lab.upstream.embedded import SETTINGS
from lab.upstream.tables import otherwise
from lab.upstream.upstream import Upstream

DATABASE = "theirs"


class Theirs:
    """Somebody else's server, which lets a reader in who may not even make temporary tables."""

    def __init__(self, root: Path, **settings: str) -> None:
        self.server = EmbeddedServer(
            states=root / "states",
            environments=root / "environments",
            name="theirs",
            user_settings={"autovacuum": "off", **settings},
            trusted=(Trusted("postgres", "reader"), Trusted(DATABASE, "reader")),
        )
        self.server.start(QUIET)
        self.query("CREATE ROLE reader LOGIN", "postgres")
        self.query(f"CREATE DATABASE {DATABASE}", "postgres")
        for database in (DATABASE, "postgres"):
            self.query(f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC", "postgres")

    def query(self, text: str, database: str = DATABASE) -> list[tuple[object, ...]]:
        with contextlib.closing(self.server.connect(database, "owner")) as connection:
            cursor = connection.execute(text.encode())
            return cursor.fetchall() if cursor.description else []

    def make(self, number: int, columns: str) -> None:
        self.query(f"CREATE TABLE bench_table_{number} ({columns})")

    def transactions(self) -> list[tuple[object, ...]]:
        """The number that the next transaction gets that writes."""
        return self.query("SELECT pg_snapshot_xmax(pg_current_snapshot())")

    def as_reader(self) -> psycopg.Connection[tuple[object, ...]]:
        port = self.server.inspect().port
        return psycopg.connect(
            host="127.0.0.1", port=port, dbname=DATABASE, user="reader", autocommit=True
        )

    def upstream(self, place: Path) -> Upstream:
        url = f"postgres://reader@127.0.0.1:{self.server.inspect().port}/{DATABASE}"
        made = open_upstream(
            Workspace(place), Config(upstream=UpstreamConfig(provider="url", url=url))
        )
        made.start(QUIET)
        return made


@pytest.fixture(scope="module")
def theirs() -> Iterator[Theirs]:
    with open_folder() as root:
        made = Theirs(root, **SETTINGS)
        try:
            yield made
        finally:
            made.server.reset(QUIET)


@pytest.fixture(autouse=True)
def no_table_is_left(theirs: Theirs) -> Iterator[None]:
    yield
    tables = "SELECT relname FROM pg_class WHERE relname ~ '^bench_table_[0-9]+$'"
    for (name,) in theirs.query(tables):
        theirs.query(f"DROP TABLE {name}")


def test_whoever_may_only_read_is_told_what_is_missing(theirs: Theirs, tmp_path: Path) -> None:
    theirs.make(1, COLUMNS)
    upstream, before = theirs.upstream(tmp_path), theirs.transactions()
    missing = upstream.look(3, COLUMNS)
    assert "+ 2 tables (bench_table_2…3)" in missing
    assert not [line for line in missing if "shared_preload_libraries" in line]
    assert any("bench_table_%s" in line for line in upstream.missing_sql(3, COLUMNS))
    upstream.verify(3)
    assert theirs.transactions() == before
    with theirs.as_reader() as reader, pytest.raises(psycopg.errors.InsufficientPrivilege):
        otherwise(reader, COLUMNS)  # what an upstream of the lab's own is compared by


def test_a_reader_of_a_server_without_statistics_loses_no_library_of_its_owner(
    tmp_path: Path,
) -> None:
    with open_folder() as root:
        plain = Theirs(root, shared_preload_libraries="auto_explain")
        try:
            script = plain.upstream(tmp_path).missing_sql(1, COLUMNS)
        finally:
            plain.server.reset(QUIET)
    (line,) = (each for each in script if "shared_preload_libraries" in each)
    assert line.startswith("-- add pg_stat_statements to shared_preload_libraries")


def test_a_standby_is_looked_at(theirs: Theirs, tmp_path: Path) -> None:
    theirs.make(1, COLUMNS)
    theirs.query("SELECT pg_create_physical_replication_slot('kept', true)")
    signal = theirs.server.data / "standby.signal"
    theirs.server.stop(QUIET)
    try:
        signal.touch()
        theirs.server.start(QUIET)
        upstream = theirs.upstream(tmp_path)
        assert theirs.query("SELECT pg_is_in_recovery()") == [(True,)]
        assert "+ 2 tables (bench_table_2…3)" in upstream.look(3, COLUMNS)
        assert [slot.name for slot in upstream.slots()] == ["kept"]
        upstream.missing_sql(3, COLUMNS)
        checks = {check.name: check for check in upstream.verify(3)}
        assert checks["names and types of columns"].passed
    finally:
        theirs.server.stop(QUIET)
        signal.unlink()
        theirs.server.start(QUIET)
        theirs.query("SELECT pg_drop_replication_slot('kept')")


@pytest.mark.parametrize(
    ("declared", "found"),
    [
        (COLUMNS, COLUMNS),
        ("id int, a int, b text", COLUMNS),
        ("id serial PRIMARY KEY, n numeric(10,2) DEFAULT 1.5", "id int, n decimal(10, 2)"),
        ("a varchar(9)[] NOT NULL CHECK (a <> '{1,2}')", 'a character varying(9)[], "b c" int'),
        ('"B c" timestamp(3) with time zone, PRIMARY KEY ("B c")', '"B c" timestamptz(3)'),
        ("v double precision, w bigserial, x int GENERATED ALWAYS AS IDENTITY", "v float8"),
    ],
)
def test_names_and_types_are_compared(
    theirs: Theirs, tmp_path: Path, declared: str, found: str
) -> None:
    """With what a table that is made from the declared list shows."""
    upstream = theirs.upstream(tmp_path)
    theirs.make(1, declared)
    assert [line for line in upstream.look(1, declared) if "column" in line] == []
    theirs.make(2, found)
    theirs.query("CREATE VIEW bench_table_3 AS SELECT 1")
    types = "SELECT array_agg((attname, atttypid, atttypmod)::text ORDER BY attnum)"
    types += " FROM pg_attribute WHERE attnum > 0 AND attrelid = 'bench_table_{}'::regclass"
    alike = theirs.query(types.format(1)) == theirs.query(types.format(2))
    try:
        if alike:
            upstream.look(2, declared)
        else:
            with pytest.raises(StateMismatchError) as caught:
                upstream.look(2, declared)
            assert caught.value.code == "upstream.columns"
            assert "bench_table_2" in caught.value.what
    finally:
        theirs.query("DROP VIEW bench_table_3")


def test_what_is_not_compared_is_said(theirs: Theirs, tmp_path: Path) -> None:
    theirs.make(1, "id int, a int, b text")
    foreseen = {step.name: step for step in theirs.upstream(tmp_path).foresee(1, COLUMNS)}
    assert foreseen["tables"].diff  # not readable yet
    theirs.query("CREATE ROLE ddl_lab_source")
    try:
        theirs.query("ALTER TABLE bench_table_1 REPLICA IDENTITY FULL")
        theirs.query("GRANT SELECT ON bench_table_1 TO ddl_lab_source")
        foreseen = {step.name: step for step in theirs.upstream(tmp_path).foresee(1, COLUMNS)}
        assert "cannot be compared" in foreseen["tables"].why
    finally:
        theirs.query("DROP OWNED BY ddl_lab_source")
        theirs.query("DROP ROLE ddl_lab_source")


@pytest.mark.parametrize(
    "columns", ["id nosuchtype", "id int) AS x; SELECT 1; --", "id int,, b int"]
)
def test_a_list_that_is_none_is_refused_or_not_compared(
    theirs: Theirs, tmp_path: Path, columns: str
) -> None:
    upstream, before = theirs.upstream(tmp_path), theirs.transactions()
    with contextlib.suppress(UsageError):
        upstream.look(1, columns)
    assert theirs.transactions() == before
    if "nosuchtype" in columns:
        with pytest.raises(UsageError) as caught:
            upstream.look(1, columns)
        assert caught.value.code == "upstream.columns"


def test_nothing_is_provisioned_there(theirs: Theirs, tmp_path: Path) -> None:
    upstream, before = theirs.upstream(tmp_path), theirs.transactions()
    for database in ("", "upstream_4"):
        with pytest.raises(PreconditionError) as caught:
            upstream.provision(1, COLUMNS, QUIET, database=database)
        assert caught.value.code == "upstream.not-adopted"
    assert theirs.transactions() == before


@pytest.mark.parametrize(
    ("columns", "bare"),
    [
        (COLUMNS, "id int, a int, b text"),
        ("a int DEFAULT (1 + f(2, 3)), b text", "a int, b text"),
        ("a text DEFAULT 'x, b int', b int", "a text, b int"),
        ('"a, b" text COLLATE "C", UNIQUE ("a, b"), c SERIAL', '"a, b" text, c int'),
        ("LIKE other", None),
        ("a int -- the first\n, b int", None),
        ("a", None),
        ("CHECK (true)", None),
    ],
)
def test_what_is_made_of_a_list(columns: str, bare: str | None) -> None:
    assert names_and_types(columns) == bare
