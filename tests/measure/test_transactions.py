"""Mode transaction: the statement and its COMMIT are timed, and nothing stays open."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec
import pytest
from measured_postgres import Altered, MeasuredPostgres, value
from psycopg.pq import TransactionStatus

from lab.core.config import MeasureConfig
from lab.core.errors import UsageError
from lab.core.progress import SilentProgress
from lab.measure.analysis import analyse
from lab.measure.plan import COST_TURNS, make_plan
from lab.measure.record import Plan, Run, Sample, counted
from lab.measure.runner import measure
from lab.measure.sampler import Reply, Sampler
from lab.servers.connection import Connection
from lab.targets.base import Cycle, Operation
from lab.targets.counting import FIXTURE_SCHEMA as SCHEMA

DEFERRED = """
CREATE SCHEMA deferral;
CREATE TABLE deferral.t (a int UNIQUE DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION deferral.wait() RETURNS trigger LANGUAGE plpgsql
    AS 'BEGIN PERFORM pg_sleep(0.03); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON deferral.t DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION deferral.wait()
"""


@pytest.fixture
def deferral(connection: Connection) -> Iterator[Connection]:
    """A table whose rows cost something, and are checked, at COMMIT alone."""
    connection.execute(DEFERRED.encode())
    yield connection
    connection.execute("DROP SCHEMA deferral CASCADE")


def plan_of(*statements: str, **changes: Any) -> Plan:
    settings = {"statements": statements, "samples": 6, "most_samples": 6, "mode": "transaction"}
    return make_plan(MeasureConfig(**(settings | changes)), seed=5)


def measured(environment: Any, plan: Plan) -> Run:
    return measure(environment, plan, session=3, progress=SilentProgress())


def is_idle(connection: Connection) -> bool:
    return connection.info.transaction_status is TransactionStatus.IDLE


def test_what_is_put_off_to_the_commit_is_timed_there(deferral: Connection) -> None:
    reply = Sampler(deferral).transact(b"INSERT INTO deferral.t VALUES (1)")
    assert (reply.error, reply.lost) == ("", "")
    assert 30_000_000 <= reply.commit_ns < reply.duration_ns
    assert reply.duration_ns - reply.commit_ns < 30_000_000
    assert value(deferral, "SELECT count(*) FROM deferral.t") == 1


def test_begin_is_not_timed(connection: Connection) -> None:
    class Late(Sampler):
        """Takes its time over BEGIN."""

        def time(self, sql: bytes) -> Reply:
            reply = super().time(sql)
            if sql == b"BEGIN":
                time.sleep(0.05)
                reply = reply._replace(duration_ns=50_000_000)
            return reply

    reply = Late(connection).transact(b"SELECT 1")
    assert 0 < reply.commit_ns < reply.duration_ns < 50_000_000


def test_a_failure_at_commit_is_the_servers_and_ends_the_transaction(deferral: Connection) -> None:
    sampler = Sampler(deferral)
    reply = sampler.transact(b"INSERT INTO deferral.t VALUES (1), (1)")
    assert reply.error.startswith("23505 ")
    assert reply.commit_ns > 0
    assert is_idle(deferral)
    assert sampler.transact(b"INSERT INTO deferral.t VALUES (1)").error == ""
    assert value(deferral, "SELECT count(*) FROM deferral.t") == 1


def test_after_a_failing_statement_the_next_one_starts_clean(connection: Connection) -> None:
    sampler = Sampler(connection)
    reply = sampler.transact(b"CREATE TABLE halfway (a int); DROP TABLE not_there")
    assert reply.error == '42P01 table "not_there" does not exist'
    assert (reply.commit_ns, reply.lost) == (0, "")
    assert is_idle(connection)
    assert sampler.transact(b"SELECT 1").error == ""
    assert value(connection, "SELECT to_regclass('halfway')") is None


def test_a_commit_that_rolls_back_is_a_failure(connection: Connection) -> None:
    class Deaf(Sampler):
        """Hears of no error before the COMMIT, as where a server keeps it to itself."""

        def time(self, sql: bytes) -> Reply:
            return super().time(sql)._replace(error="")

    reply = Deaf(connection).transact(b"SELECT 1/0")
    assert reply.error == "COMMIT answered ROLLBACK"
    assert reply.commit_ns > 0
    assert is_idle(connection)


def test_an_open_transaction_is_ended_and_not_built_upon(connection: Connection) -> None:
    sampler = Sampler(connection)
    sampler.time(b"BEGIN")
    sampler.time(b"SELECT 1/0")
    reply = sampler.transact(b"SELECT 1")
    assert reply.error.startswith("25P02 ")
    assert reply.duration_ns == 0
    assert is_idle(connection)
    assert sampler.transact(b"SELECT 1").error == ""


def test_a_commit_that_hangs_is_given_up(server: MeasuredPostgres, deferral: Connection) -> None:
    with closing(server.connect("test")) as connection:
        sampler = Sampler(connection, timeout_s=0.3)
        reply = sampler.transact(b"INSERT INTO deferral.t SELECT generate_series(1, 1000)")
        assert reply.lost == "no answer within 0.3 s"
        assert reply.commit_ns >= 300_000_000
        connection.cancel_safe()


def test_a_run_in_transactions(server: MeasuredPostgres, connection: Connection) -> None:
    run = measured(server, plan_of("create-table", "alter-rename"))
    assert (run.void, run.plan.mode) == ("", "transaction")
    assert run.passport.alike["mode"] == "transaction"
    samples = [each for block in run.blocks for each in block.samples]
    assert len(samples) == 3 * (9 + COST_TURNS)
    assert all(0 < each.commit_ns < each.duration_ns for each in samples)
    assert not any(each.error for each in samples)
    assert run.blocks[0].objects_after == run.blocks[0].objects_before
    assert msgspec.json.decode(msgspec.json.encode(run), type=Run) == run
    cells = analyse(run, None).cells
    assert {cell.mode for cell in cells} == {"transaction"}
    assert all(cell.commit_share is not None and 0 < cell.commit_share < 1 for cell in cells)


def test_in_autocommit_there_is_no_commit(server: MeasuredPostgres) -> None:
    run = measured(server, plan_of("create-view", mode="autocommit"))
    assert {each.commit_ns for block in run.blocks for each in block.samples} == {0}
    assert analyse(run, None).cells[0].commit_share is None


def test_a_statement_that_fails_leaves_the_others_of_its_run_whole(
    server: MeasuredPostgres,
) -> None:
    taken = Cycle((Operation("taken", f"CREATE TABLE {SCHEMA}.base (a int)"),))
    workload = server.workload(("create-view",))
    workload = msgspec.structs.replace(workload, cycles=(*workload.cycles, taken))
    environment = Altered(server, workload=lambda statements: workload)
    run = measured(environment, plan_of("create-view", "taken"))
    errors = {each.error[:5] for each in run.blocks[0].samples if each.statement == "taken"}
    assert errors == {"42P07"}
    assert len(counted(run.blocks, "create-view")) == 6
    assert run.void == ""


def test_ctrl_c_within_a_transaction_leaves_no_locks_on_the_fixtures(
    server: MeasuredPostgres, connection: Connection
) -> None:
    long = Operation("long", f"LOCK TABLE {SCHEMA}.base; SELECT pg_sleep(30)")
    workload = msgspec.structs.replace(server.workload(()), cycles=(Cycle((long,)),))
    environment = Altered(server, workload=lambda statements: workload)

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            measured(environment, plan_of("long"))
        assert time.monotonic() - began < 10
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert value(connection, f"SELECT to_regnamespace('{SCHEMA}')") is None


def test_a_transaction_that_stays_open_does_not_keep_the_fixtures(
    server: MeasuredPostgres, connection: Connection
) -> None:
    opening = Operation("opening", f"BEGIN; LOCK TABLE {SCHEMA}.base")
    workload = msgspec.structs.replace(server.workload(()), cycles=(Cycle((opening,)),))
    environment = Altered(server, workload=lambda statements: workload)
    began = time.monotonic()
    measured(environment, plan_of("opening", mode="autocommit"))
    assert time.monotonic() - began < 10
    assert value(connection, f"SELECT to_regnamespace('{SCHEMA}')") is None


def test_an_unknown_mode_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError) as refusal:
        plan_of("create-view", mode="transactions")
    assert refusal.value.code == "measure.mode"
    assert "autocommit, transaction" in refusal.value.why
    assert "`transaction`" in refusal.value.remedy


def test_samples_of_older_evidence_have_no_commit() -> None:
    old = b'["create-table",3,1000,2000,true,"42P07"]'
    assert msgspec.json.decode(old, type=Sample) == Sample(
        "create-table", 3, 1000, 2000, True, "42P07"
    )
    assert msgspec.json.decode(old, type=Sample).commit_ns == 0
