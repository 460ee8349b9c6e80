"""The embedded upstream: brought up step by step, grown, spoiled, proven, taken down."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psycopg
import pytest
from embedded_upstream import COLUMNS, QUIET, ask, place, running, upstream_in

from lab.core.errors import LabError, PreconditionError, StateMismatchError, UsageError
from lab.core.progress import SilentProgress
from lab.core.results import Status, Step
from lab.servers.records import Condition
from lab.upstream import checks
from lab.upstream.base import MAINTENANCE, ROLE
from lab.upstream.upstream import Upstream

TABLES = 120


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running(TABLES) as made:
        yield made


@pytest.fixture
def whole(upstream: Upstream) -> Upstream:
    """The shared upstream, repaired after what the test before did to it."""
    for slot in upstream.slots():
        upstream.drop_slot(slot.name)
    upstream.provision(TABLES, COLUMNS, QUIET)
    return upstream


def statuses(steps: tuple[Step, ...]) -> dict[str, Status]:
    return {step.name: step.status for step in steps}


def test_a_second_time_is_ok_and_more_tables_are_added(upstream: Upstream) -> None:
    there = max(upstream.published())
    assert upstream.look(there, COLUMNS) == ()
    assert set(statuses(upstream.provision(there, COLUMNS, QUIET)).values()) == {Status.OK}
    foreseen = upstream.look(there + 20, COLUMNS)
    assert any(f"+ 20 tables (bench_table_{there + 1}…{there + 20})" in line for line in foreseen)
    grown = upstream.provision(there + 20, COLUMNS, QUIET)
    changed = {name for name, status in statuses(grown).items() if status is Status.CHANGED}
    assert changed == {"tables", "publication"}
    assert upstream.published() == frozenset(range(1, there + 21))
    fewer = {step.name: step for step in upstream.provision(10, COLUMNS, QUIET)}
    assert fewer["tables"].status is Status.OK
    assert "more than asked for" in fewer["tables"].why
    record = upstream.record()
    assert record is not None
    assert record.tables == len(upstream.published()) == there + 20


def test_a_hole_is_refilled(whole: Upstream) -> None:
    ask(whole, "DROP TABLE bench_table_17, bench_table_19")
    assert "+ 2 tables (bench_table_17, 19)" in whole.look(TABLES, COLUMNS)
    whole.provision(TABLES, COLUMNS, QUIET)
    assert {17, 19} <= whole.published()
    assert all(check.passed for check in whole.verify(None))


def test_the_server_fits_a_source(whole: Upstream) -> None:
    facts = whole.facts()
    assert facts["upstream.setting.wal_level"] == "logical"
    assert int(facts["upstream.setting.max_replication_slots"]) >= 64
    assert facts["upstream.provider"] == "embedded"
    assert facts["upstream.tables"] == str(len(whole.published()))
    assert facts["upstream.columns"] == COLUMNS
    shown = ask(whole, "SHOW pg_stat_statements.track_planning") + ask(
        whole, "SHOW log_connections"
    )
    assert shown == [("on",), ("on",)]


def as_role(upstream: Upstream) -> psycopg.Connection:
    link = upstream.link()
    return psycopg.connect(
        host=link.host,
        port=link.port,
        dbname=link.database,
        user=link.role,
        password=link.password,
        autocommit=True,
    )


def test_the_role_reads_and_may_do_nothing_more(whole: Upstream) -> None:
    with contextlib.closing(as_role(whole)) as connection:
        assert connection.execute("SELECT count(*) FROM bench_table_1").fetchone() == (0,)
        for refused in (
            "INSERT INTO bench_table_1 VALUES (1)",
            "CREATE TABLE public.own (a int)",
            "CREATE ROLE other",
            "CREATE DATABASE other",
            "DROP TABLE bench_table_1",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(refused.encode())


def test_the_password_is_in_its_file_alone(whole: Upstream) -> None:
    file = whole.records.folder / "password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    password = file.read_text().strip()
    assert len(password) >= 24
    ask(whole, f"ALTER ROLE {ROLE} PASSWORD NULL")
    whole.provision(TABLES, COLUMNS, QUIET)
    as_role(whole).close()
    log = whole.provider.log_tail(100_000)
    statements = str(ask(whole, "SELECT query FROM pg_stat_statements", MAINTENANCE))
    for text in (log, statements, repr(whole.link()), str(whole.record())):
        assert password not in text
    assert "SCRAM-SHA-256$" not in log + statements
    assert not any(password in line for line in whole.missing_sql(TABLES + 1, COLUMNS))


def test_provisioning_leaves_room_in_the_statistics(whole: Upstream) -> None:
    (row,) = ask(
        whole,
        "SELECT count(*) FROM pg_stat_statements WHERE query LIKE 'CREATE TABLE public.bench%'",
        MAINTENANCE,
    )
    assert row == (0,)


def test_tables_of_other_columns_are_refused_and_stay(whole: Upstream) -> None:
    before = whole.published()
    with pytest.raises(StateMismatchError) as refused:
        whole.provision(len(before) + 5, "id int PRIMARY KEY, a int", QUIET)
    assert refused.value.code == "upstream.columns"
    assert whole.published() == before
    assert whole.columns() == COLUMNS


@pytest.mark.parametrize(
    "change",
    [
        "ADD COLUMN z int",
        "ALTER COLUMN a TYPE bigint",
        "ALTER COLUMN a SET NOT NULL",
        "ALTER COLUMN a SET DEFAULT 3",
        "DROP CONSTRAINT bench_table_9_pkey",
        "ADD CHECK (a > 0)",
    ],
)
def test_each_way_in_which_columns_can_differ_is_seen(whole: Upstream, change: str) -> None:
    ask(whole, f"ALTER TABLE bench_table_9 {change}")
    try:
        failed = [check for check in whole.verify(None) if not check.passed]
        assert [check.name for check in failed] == ["columns"]
        assert "(9)" in failed[0].found
    finally:
        ask(whole, "DROP TABLE bench_table_9")


@pytest.mark.parametrize(
    "columns",
    [
        "id serial PRIMARY KEY, b text DEFAULT 'x%s'",
        "id int GENERATED ALWAYS AS IDENTITY, c int GENERATED ALWAYS AS (id * 2) STORED",
        'id int, b text COLLATE "C", UNIQUE (id, b)',
    ],
)
def test_columns_of_all_kinds_are_their_own_equals(whole: Upstream, columns: str) -> None:
    whole.provision(3, columns, QUIET, database="upstream_kinds")
    try:
        assert whole.look(3, columns, database="upstream_kinds") == ()
    finally:
        assert whole.drop_database("upstream_kinds")


@pytest.mark.parametrize(
    "columns", ["id", "id int); DROP TABLE bench_table_1; --", "id nosuchtype"]
)
def test_what_is_no_column_list_is_refused(whole: Upstream, columns: str) -> None:
    with pytest.raises(UsageError) as refused:
        whole.provision(TABLES, columns, QUIET)
    assert refused.value.code == "upstream.columns"
    assert 1 in whole.published()


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (f"ALTER ROLE {ROLE} PASSWORD 'other'", "role logs in"),
        (f"ALTER ROLE {ROLE} NOLOGIN", "role logs in"),
        (f"ALTER ROLE {ROLE} SUPERUSER", "rights of the role"),
        (f"ALTER ROLE {ROLE} NOREPLICATION", "rights of the role"),
        ("DROP TABLE bench_table_5", "tables"),
        ("ALTER PUBLICATION ddl_lab DROP TABLE bench_table_5", "publication ddl_lab"),
        ("DROP PUBLICATION ddl_lab", "publication ddl_lab"),
        ("ALTER TABLE bench_table_5 REPLICA IDENTITY DEFAULT", "replica identity FULL"),
        (f"REVOKE SELECT ON bench_table_5 FROM {ROLE}", f"SELECT for {ROLE}"),
    ],
)
def test_what_was_spoiled_is_named_and_repaired(whole: Upstream, spoil: str, check: str) -> None:
    ask(whole, spoil)
    failed = {each.name: each for each in whole.verify(None) if not each.passed}
    assert check in failed
    assert failed[check].remedy
    assert whole.look(TABLES, COLUMNS)
    whole.provision(TABLES, COLUMNS, QUIET)
    assert all(each.passed for each in whole.verify(None))


def test_a_slot_that_nobody_reads_is_named_with_what_it_holds_back(whole: Upstream) -> None:
    ask(whole, "SELECT pg_create_logical_replication_slot('left', 'pgoutput')")
    ask(
        whole,
        "INSERT INTO bench_table_1 SELECT n, n, repeat('x', 200) FROM generate_series(1, 5000) n",
    )
    (slot,) = whole.slots()
    assert (slot.name, slot.database, slot.active) == ("left", "upstream", False)
    assert slot.retained_bytes > 1_000_000
    (shown,) = (each for each in whole.verify(None) if "idle slots" in each.name)
    assert shown.passed
    assert "left (database upstream) holds back" in shown.found
    more = msgspec.structs.replace(slot, retained_bytes=65_000_000)
    assert not checks.orphans([slot, more]).passed
    assert checks.orphans([msgspec.structs.replace(more, active=True)]).found == "none"
    assert whole.drop_slot("left")
    assert not whole.drop_slot("left")


def test_slots_that_are_exhausted_are_said_so(whole: Upstream) -> None:
    ask(
        whole,
        "SELECT pg_create_logical_replication_slot('s' || n, 'pgoutput')"
        " FROM generate_series(1, 63) n",
    )
    failed = {each.name: each for each in whole.verify(None) if not each.passed}
    assert failed["free replication slots"].found == "1 of 64"


def test_verify_says_which_tables_are_missing_or_too_many(whole: Upstream) -> None:
    there = max(whole.published())
    ask(whole, f"DROP TABLE IF EXISTS bench_table_{there + 1}, bench_table_{there + 2}")
    more = {each.name: each for each in whole.verify(there + 2) if not each.passed}
    assert f"missing {there + 1}…{there + 2}" in more["tables"].found
    fewer = {each.name: each for each in whole.verify(there - 1) if not each.passed}
    assert f"besides {there}" in fewer["publication ddl_lab"].found


def test_a_database_for_a_sweep_comes_and_goes_by_itself(whole: Upstream) -> None:
    before = whole.record()
    whole.provision(7, COLUMNS, QUIET, database="upstream_7")
    link = whole.link(database="upstream_7", name="7")
    assert (link.database, link.tables, link.name) == ("upstream_7", 7, "7")
    assert whole.published(database="upstream_7") == frozenset(range(1, 8))
    assert whole.facts(database="upstream_7")["upstream.tables"] == "7"
    assert whole.record() == before
    assert whole.has_database("upstream_7")
    ask(whole, "SELECT pg_create_logical_replication_slot('swept', 'pgoutput')", "upstream_7")
    assert whole.drop_database("upstream_7")
    assert whole.slots() == ()
    assert not whole.drop_database("upstream_7")


def test_the_log_is_followed_in_whole_lines(whole: Upstream) -> None:
    follow = whole.provider.follow_log()
    assert follow is not None
    assert follow() == ""
    as_role(whole).close()
    text = ""
    for _ in range(100):
        text += follow()
        if "disconnection: session time" in text:
            break
    assert f"connection authorized: user={ROLE} database=upstream" in text
    assert text.endswith("\n")
    assert follow() == ""


class Killer(SilentProgress):
    """Stops the server at the first portion."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    @contextlib.contextmanager
    def stage(
        self, title: str, *, total: int, unit: str, growing: bool = False
    ) -> Iterator[Killer]:
        yield self

    def advance(self, count: int = 1) -> None:
        self._upstream.stop(QUIET)


def test_one_that_goes_away_in_the_middle_is_gone_on_with() -> None:
    with running(1) as upstream:
        with pytest.raises(LabError) as gone:
            upstream.provision(400, COLUMNS, Killer(upstream))
        assert gone.value.code == "upstream.gone"
        assert "101 of 400 tables are there." in gone.value.what
        (silent,) = upstream.verify(None)
        assert not silent.passed
        with pytest.raises(PreconditionError) as down:
            upstream.published()
        assert down.value.code == "upstream.not-running"
        upstream.start(QUIET)
        upstream.provision(400, COLUMNS, QUIET)
        assert upstream.published() == frozenset(range(1, 401))


def test_one_that_was_never_brought_up_is_said_to_be_missing() -> None:
    with place() as root:
        upstream = upstream_in(root)
        assert upstream.found().condition is Condition.ABSENT
        for ask_it in (upstream.link, upstream.published, upstream.columns, upstream.facts):
            with pytest.raises(PreconditionError) as missing:
                ask_it()
            assert missing.value.code == "upstream.missing"


def test_a_port_that_is_taken_is_said_so() -> None:
    with place() as root, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        upstream = upstream_in(root, port=other.getsockname()[1])
        with pytest.raises(PreconditionError) as taken:
            upstream.start(QUIET)
        assert taken.value.code == "port.taken"
        assert "[upstream]" in taken.value.remedy
        assert upstream.record() is None
        upstream.destroy(QUIET)


def test_the_way_to_it_may_be_another_than_the_labs() -> None:
    with running(1) as upstream:
        root = upstream.records.folder.parents[1]
        via = upstream_in(root, via="upstream.example:6000")
        assert (via.link().host, via.link().port) == ("upstream.example", 6000)
        for wrong in ("upstream.example", "host:port", ":1"):
            with pytest.raises(UsageError) as refused:
                upstream_in(root, via=wrong).link()
            assert refused.value.code == "upstream.via"


@pytest.fixture
def small_disk() -> Iterator[Path]:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root and mount(8), for a small tmpfs that can be filled up")
    with place() as root:
        command = ["mount", "-t", "tmpfs", "-o", "size=160m,mode=755", "tmpfs", str(root)]
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        if mounted.returncode:
            pytest.skip(f"needs the right to mount a tmpfs: {mounted.stderr.strip()}")
        yield root
        subprocess.run(["umount", "--lazy", str(root)], check=True)


def test_a_full_disk_is_foreseen_and_gone_on_with(small_disk: Path) -> None:
    upstream = upstream_in(small_disk)
    upstream.start(QUIET)
    try:
        upstream.provision(10, COLUMNS, QUIET)
        ballast = small_disk / "ballast"
        with ballast.open("wb") as file:
            free = shutil.disk_usage(small_disk).free
            os.posix_fallocate(file.fileno(), 0, free - 3_000_000)
        failed = {each.name for each in upstream.verify(None) if not each.passed}
        assert "disk space" in failed
        with pytest.raises(PreconditionError) as full:
            upstream.provision(3000, COLUMNS, QUIET)
        assert full.value.code == "disk.full"
        assert "no room for 2,990 tables more" in full.value.what
        assert len(upstream.published()) == 10
        ballast.unlink()
        upstream.start(QUIET)
        there = len(upstream.published())
        assert there == 10
        upstream.provision(300, COLUMNS, QUIET)
        assert len(upstream.published()) >= 300
    finally:
        upstream.destroy(QUIET)
