from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import msgspec
import psycopg
import pytest
from measured_postgres import Altered, MeasuredPostgres, value

from lab.core.config import MeasureConfig
from lab.core.errors import ExternalError, StateMismatchError
from lab.core.progress import Progress, SilentProgress, Stage
from lab.measure.block import Bench, BlockOrder, run_block
from lab.measure.plan import (
    BLOCK_BYTES,
    COST_TURNS,
    foreseen_statements,
    make_plan,
    rounds,
)
from lab.measure.record import EVIDENCE_BYTES, Plan, Run, Sample, Stop, counted, sql_of
from lab.measure.runner import measure
from lab.metrics.reading import difference
from lab.servers.connection import Connection
from lab.targets.base import Cycle, ObjectCounts, Operation, Workload
from lab.targets.counting import FIXTURE_SCHEMA as SCHEMA

ALL = ("create-table", "create-view", "create-index", "alter-rename")


class Acting:
    """Progress that does something real once so many statements were executed."""

    def __init__(self, at: int = 0, action: Callable[[], object] = bool) -> None:
        self.done = 0
        self.said: list[str] = []
        self.foreseen: list[int] = []
        self._at = at
        self._action = action

    def say(self, text: str) -> None:
        self.said.append(text)

    @contextmanager
    def stage(self, title: str, *, total: int, unit: str) -> Iterator[Stage]:
        self.foreseen.append(total)
        yield self

    def advance(self, count: int = 1) -> None:
        was, self.done = self.done, self.done + count
        if was < self._at <= self.done:
            self._action()


def plan_of(*statements: str, **changes: Any) -> Plan:
    settings = {"statements": statements, "samples": 6, "most_samples": 6} | changes
    return make_plan(MeasureConfig(**settings), seed=5)


def measured(environment: Any, plan: Plan, progress: Progress | None = None, **more: Any) -> Run:
    return measure(environment, plan, session=3, progress=progress or SilentProgress(), **more)


def fixtures_left(connection: Connection) -> int:
    left = value(connection, f"SELECT count(*) FROM pg_namespace WHERE nspname = '{SCHEMA}'")
    assert isinstance(left, int)
    return left


def samples_of(run: Run, statement: str) -> list[Sample]:
    return [each for block in run.blocks for each in block.samples if each.statement == statement]


def test_a_whole_run(server: MeasuredPostgres, connection: Connection) -> None:
    connection.execute("CREATE TABLE mine (a int)")
    connection.execute("CREATE VIEW mine_too AS SELECT 1")
    try:
        plan = plan_of(*ALL, warmups=2)
        progress = Acting()
        run = measured(server, plan, progress)
    finally:
        connection.execute("DROP TABLE mine; DROP VIEW mine_too")
    assert run.void == ""
    first, *costs = run.blocks
    assert (first.purpose, first.void, len(first.samples)) == ("latency", "", 8 * 7)
    assert [block.statements for block in costs] == [
        (kind,) for cycle in server.workload(ALL).cycles for kind in cycle.statements
    ]
    assert {len(block.samples) for block in costs} == {COST_TURNS}
    assert {block.index for block in run.blocks} == set(range(1, 9))
    assert progress.done == sum(progress.foreseen)
    assert progress.done == foreseen_statements(plan, server.workload(ALL).cycles)
    # The counts are exact, and the lab's own objects are not in them.
    assert first.objects_before == first.objects_after == ObjectCounts({"table": 1, "view": 1}, 2)
    assert run.passport.alike["objects.table"] == "1"
    assert run.passport.alike["server.version"].startswith("18")
    assert {block.boot for block in run.blocks} == {server.boot(connection)}
    assert not any(sample.error for block in run.blocks for sample in block.samples)
    assert fixtures_left(connection) == 0


def test_warmups_are_flagged_and_rounds_are_those_of_the_seed(server: MeasuredPostgres) -> None:
    plan = plan_of(*ALL, warmups=2)
    run = measured(server, plan)
    block = run.blocks[0]
    assert {each.round for each in block.samples if each.warmup} == {0, 1}
    expected = rounds(server.workload(ALL).cycles, block.seed, 0, 8)
    taken = [each.statement for each in block.samples]
    assert taken == [each.statement for statements in expected for each in statements]
    assert len(counted(run.blocks, "create-view")) == 6


def test_samples_follow_each_other_within_the_block(server: MeasuredPostgres) -> None:
    for block in measured(server, plan_of("create-view")).blocks:
        ends = 0
        for sample in block.samples:
            assert sample.offset_ns >= ends
            assert sample.duration_ns > 0
            ends = sample.offset_ns + sample.duration_ns
        assert ends <= block.duration_ns
        assert block.connection_ns > 0
        assert 0 <= block.noise.steal <= 1


def test_costs_belong_to_one_kind_of_statement(server: MeasuredPostgres) -> None:
    run = measured(server, plan_of("create-table"))
    create, drop = run.blocks[1:]
    assert (create.objects_before.fixtures, drop.objects_before.fixtures) == (2, 2 + COST_TURNS)
    assert drop.objects_after == create.objects_before
    assert (create.void, drop.void) == ("", "")
    assert create.after is not None
    moved = {each.name: each.amount for each in difference(create.before, create.after).changes}
    assert moved["subject.wal.records"] >= COST_TURNS


def test_a_block_without_its_samples_takes_what_a_plan_allows_for(server: MeasuredPostgres) -> None:
    for block in measured(server, plan_of(*ALL)).blocks:
        frame = msgspec.json.encode(msgspec.structs.replace(block, samples=()))
        assert len(frame) < BLOCK_BYTES


def test_the_record_comes_back_from_its_file(server: MeasuredPostgres) -> None:
    run = measured(server, plan_of(*ALL))
    encoded = msgspec.json.encode(run)
    assert len(encoded) < EVIDENCE_BYTES
    assert msgspec.json.decode(encoded, type=Run) == run


def test_sampling_goes_on_in_tens_until_the_most(server: MeasuredPostgres) -> None:
    plan = plan_of("create-view", "alter-rename", samples=10, most_samples=25, precision=1e-9)
    run = measured(server, plan)
    assert [len({each.round for each in block.samples}) for block in run.blocks[:3]] == [13, 10, 5]
    assert run.stopped is Stop.MOST
    assert len(counted(run.blocks, "create-view")) == 25
    # Rename and rename back take turns over all blocks, an odd one and the costs included.
    assert not any(each.error for each in samples_of(run, "alter-rename"))


# Whatever the load of the host, the one is known to ±90% after ten samples, the other is not.
STEADY = Operation("steady", "SELECT pg_sleep(0.03)")
ERRATIC = Operation("erratic", "SELECT pg_sleep(CASE WHEN {i} % 3 = 0 THEN 0.1 ELSE 0 END)")


def erratic_plan(*statements: str) -> Plan:
    return plan_of(*statements, samples=10, most_samples=30, precision=0.9)


def with_cycles(server: MeasuredPostgres, *cycles: Cycle) -> Any:
    workload = msgspec.structs.replace(server.workload(()), cycles=cycles)
    return Altered(server, workload=lambda statements: workload)


def test_what_is_known_precisely_gets_no_more_samples(server: MeasuredPostgres) -> None:
    environment = with_cycles(server, Cycle((STEADY,)), Cycle((ERRATIC,)))
    run = measured(environment, erratic_plan("steady", "erratic"))
    kinds = [block.statements for block in run.blocks if block.purpose == "latency"]
    assert kinds == [("steady", "erratic"), ("erratic",), ("erratic",)]
    assert run.stopped is Stop.MOST
    assert measured(environment, erratic_plan("steady")).stopped is Stop.PRECISE


def test_drops_that_nobody_asked_for_need_not_be_precise(server: MeasuredPostgres) -> None:
    environment = with_cycles(server, Cycle((STEADY, ERRATIC)))
    run = measured(environment, erratic_plan("steady"))
    assert [block.purpose for block in run.blocks] == ["latency", "cost", "cost"]


def test_no_block_is_added_once_the_time_is_used(server: MeasuredPostgres) -> None:
    plan = plan_of("create-view", most_samples=100, precision=1e-9)
    progress = Acting()
    run = measured(server, msgspec.structs.replace(plan, budget_s=0.0), progress)
    assert len(counted(run.blocks, "create-view")) == 6
    assert any("No more samples" in line for line in progress.said)
    assert (run.void, run.stopped) == ("", Stop.BUDGET)


def test_the_least_number_of_samples_is_taken_in_blocks_of_ten(server: MeasuredPostgres) -> None:
    run = measured(server, plan_of("create-view", "alter-rename", samples=30, most_samples=30))
    latency = [block for block in run.blocks if block.purpose == "latency"]
    assert [len({each.round for each in block.samples}) for block in latency] == [13, 10, 10]
    assert [any(each.warmup for each in block.samples) for block in latency] == [True, False, False]
    assert {each.round for block in latency for each in block.samples} == set(range(33))
    assert len(counted(run.blocks, "create-view")) == 30
    assert not any(each.error for each in samples_of(run, "alter-rename"))


def test_the_record_holds_the_sql_that_was_executed(
    server: MeasuredPostgres, connection: Connection
) -> None:
    run = measured(server, plan_of("create-view", "alter-rename"))
    assert run.workload == server.workload(("create-view", "alter-rename"))
    assert sql_of(run, "create-view") == (
        f"CREATE VIEW {SCHEMA}.v_{{i}} AS SELECT a, b FROM {SCHEMA}.base",
    )
    assert len(sql_of(run, "alter-rename")) == 2
    assert sql_of(run, "create-table") == ()
    # It is whole: with it alone, the first round can be executed again.
    for statement in run.workload.setup:
        connection.execute(statement.encode())
    for cycle in run.workload.cycles:
        for operation in cycle.operations(0):
            connection.execute(operation.sql.encode())
    for statement in run.workload.teardown:
        connection.execute(statement.encode())
    assert fixtures_left(connection) == 0


def test_a_statement_that_fails_is_recorded_and_not_fatal(
    server: MeasuredPostgres, connection: Connection
) -> None:
    taken = Cycle((Operation("taken", f"CREATE TABLE {SCHEMA}.base (a int)"),))
    environment = with_cycles(server, *server.workload(("create-view",)).cycles, taken)
    run = measured(environment, plan_of("create-view", "taken", most_samples=50))
    errors = [each.error for each in run.blocks[0].samples if each.statement == "taken"]
    assert errors[0] == '42P07 relation "base" already exists'
    assert set(errors[1:]) == {"42P07"}
    assert (run.void, run.blocks[0].void) == ("", "")
    assert counted(run.blocks, "taken") == []
    assert len(counted(run.blocks, "create-view")) >= 6
    # More of a statement that always fails would tell nothing.
    assert len(samples_of(run, "taken")) == 9 + COST_TURNS
    assert fixtures_left(connection) == 0


def test_a_server_killed_in_the_middle_of_a_block(server: MeasuredPostgres) -> None:
    with killed_later(server) as kill:
        run = measured(server, plan_of("create-table", samples=50, warmups=0), Acting(10, kill))
    (block,) = run.blocks
    assert block.void
    assert block.void in run.void
    assert (block.after, block.objects_after) == (None, None)
    assert 10 <= len(block.samples) < 20
    assert run.stopped is Stop.LOST
    assert block.samples[-1].error
    assert not any(each.error for each in block.samples[:-1])
    assert msgspec.json.decode(msgspec.json.encode(run), type=Run) == run


def test_a_server_killed_later_leaves_the_blocks_before_it_whole(server: MeasuredPostgres) -> None:
    with killed_later(server) as kill:
        run = measured(server, plan_of("create-table", warmups=0), Acting(22, kill))
    assert [bool(block.void) for block in run.blocks] == [False, True]
    assert len(run.blocks[0].samples) == 12
    # Sampling had ended before; the loss is the run's.
    assert run.stopped is Stop.MOST
    assert run.void


def test_a_server_killed_among_the_first_samples_leaves_those_of_the_blocks_before(
    server: MeasuredPostgres,
) -> None:
    with killed_later(server) as kill:
        run = measured(server, plan_of("create-table", samples=30, warmups=0), Acting(50, kill))
    assert [bool(block.void) for block in run.blocks] == [False, False, True]
    assert len(counted(run.blocks, "create-table")) == 20
    assert run.stopped is Stop.LOST


def test_a_server_killed_before_the_first_block(server: MeasuredPostgres) -> None:
    with killed_later(server) as kill:

        def facts(connection: Connection) -> dict[str, str]:
            kill()
            time.sleep(0.05)
            return {}

        with pytest.raises(ExternalError) as failure:
            measured(Altered(server, facts=facts), plan_of("create-table"))
    assert failure.value.code == "measure.no-block"


def test_a_connection_that_is_ended_voids_the_block_and_fixtures_go(
    server: MeasuredPostgres, connection: Connection
) -> None:
    def end() -> None:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'ddl-lab measure'"
        )

    run = measured(server, plan_of("create-view", warmups=0), Acting(4, end))
    assert "administrator command" in run.void
    assert run.blocks[0].objects_after is not None
    assert fixtures_left(connection) == 0


def test_another_sessions_object_voids_the_block(
    server: MeasuredPostgres, connection: Connection
) -> None:
    def create() -> None:
        connection.execute("CREATE TABLE intruder (a int)")

    try:
        progress = Acting(4, create)
        run = measured(server, plan_of("create-view", most_samples=40, warmups=0), progress)
    finally:
        connection.execute("DROP TABLE intruder")
    (block,) = run.blocks
    assert block.void == "the object count changed: table 0 → 1"
    assert len(block.samples) == 12
    assert "no block counts" in run.void
    assert counted(run.blocks, "create-view") == []
    assert any("intruder" not in line and "table 0 → 1" in line for line in progress.said)


def test_a_count_that_changes_later_leaves_what_was_measured_before(
    server: MeasuredPostgres, connection: Connection
) -> None:
    def create() -> None:
        connection.execute("CREATE TABLE intruder (a int)")

    try:
        plan = plan_of("create-view", samples=10, most_samples=40, warmups=0, precision=1e-9)
        run = measured(server, plan, Acting(30, create))
    finally:
        connection.execute("DROP TABLE intruder")
    assert [bool(block.void) for block in run.blocks] == [False, True]
    assert (run.void, run.stopped) == ("", Stop.CHANGED)
    assert len(counted(run.blocks, "create-view")) == 10


def test_an_object_left_among_the_fixtures_costs_one_block_only(
    server: MeasuredPostgres, connection: Connection
) -> None:
    def create() -> None:
        connection.execute(f"CREATE TABLE {SCHEMA}.left_behind (a int)")

    plan = plan_of("create-view", samples=10, most_samples=40, warmups=0, precision=0.9)
    run = measured(server, plan, Acting(4, create))
    assert run.blocks[0].void == "the object count changed: fixture 2 → 3"
    assert len(counted(run.blocks, "create-view")) >= 10
    assert run.void == ""
    assert fixtures_left(connection) == 0


def test_a_statement_that_hangs_is_given_up_and_canceled(
    server: MeasuredPostgres, connection: Connection
) -> None:
    with closing(server.connect("blocker")) as blocker:

        def lock() -> None:
            blocker.execute(f"BEGIN; LOCK TABLE {SCHEMA}.base")

        def free() -> None:
            with contextlib.suppress(psycopg.Error):
                blocker.execute("ROLLBACK")

        counted = server.count_objects

        def count(observer: Connection) -> ObjectCounts:
            found = counted(observer)
            free()  # after the block, so that the fixtures can go
            return found

        environment = Altered(server, count_objects=count)
        plan = plan_of("create-index", warmups=0)
        run = measured(environment, plan, Acting(4, lock), timeout_s=0.3)
    assert run.blocks[0].void == "create-index: no answer within 0.3 s"
    assert "no answer" in run.void
    assert run.blocks[0].samples[-1].duration_ns >= 300_000_000
    assert fixtures_left(connection) == 0


def test_ctrl_c_takes_the_fixtures_away(server: MeasuredPostgres, connection: Connection) -> None:
    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        measured(server, plan_of("create-table"), Acting(6, interrupt))
    assert fixtures_left(connection) == 0
    open_still = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ddl-lab measure'"
    deadline = time.monotonic() + 10
    while value(connection, open_still) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert value(connection, open_still) == 0


def test_ctrl_c_ends_a_statement_that_holds_locks(
    server: MeasuredPostgres, connection: Connection
) -> None:
    long = Operation("long", f"LOCK TABLE {SCHEMA}.base; SELECT pg_sleep(30)")
    environment = with_cycles(server, Cycle((long,)))

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
    assert fixtures_left(connection) == 0


def test_leftovers_of_a_killed_run_do_not_matter(
    server: MeasuredPostgres, connection: Connection
) -> None:
    connection.execute(f"CREATE SCHEMA {SCHEMA}; CREATE TABLE {SCHEMA}.base (old int)")
    run = measured(server, plan_of("create-view"))
    assert run.blocks[0].objects_before.fixtures == 2
    assert fixtures_left(connection) == 0


def test_fixtures_that_cannot_be_made_are_said(server: MeasuredPostgres) -> None:
    workload = Workload(setup=("CREATE SCHEMA pg_mine",), cycles=(), teardown=(), fixtures=0)
    with pytest.raises(ExternalError) as failure:
        measured(Altered(server, workload=lambda statements: workload), plan_of("create-view"))
    assert failure.value.code == "measure.setup"
    assert "42939" in failure.value.why


def test_fixtures_that_are_not_as_declared_are_refused(
    server: MeasuredPostgres, connection: Connection
) -> None:
    workload = msgspec.structs.replace(server.workload(("create-view",)), fixtures=7)
    with pytest.raises(StateMismatchError) as failure:
        measured(Altered(server, workload=lambda statements: workload), plan_of("create-view"))
    assert failure.value.code == "measure.fixtures"
    assert fixtures_left(connection) == 0


def test_a_restart_is_noticed_though_the_connections_live(server: MeasuredPostgres) -> None:
    order = BlockOrder(
        build="embedded",
        state="test",
        boot="an earlier start",
        index=1,
        purpose="latency",
        cycles=(Cycle((Operation("select", "SELECT 1"),)),),
        seed=1,
        first=0,
        rounds=3,
        objects=ObjectCounts({}),
    )
    with closing(server.connect("measure")) as one, closing(server.connect("observe")) as other:
        block = run_block(Bench(server, one, other, 1), order, lambda count: None)
    assert block.void == "the server was restarted"
    assert len(block.samples) == 3


@contextmanager
def killed_later(server: MeasuredPostgres) -> Iterator[Callable[[], None]]:
    try:
        yield server.kill
    finally:
        server.recover()
