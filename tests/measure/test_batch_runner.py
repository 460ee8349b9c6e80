"""Batch benchmarks on a real PostgreSQL with a real upstream, and what may go wrong meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise

import msgspec
import pytest
from sourced_postgres import BATCH_SCHEMA, TABLES, Acting, Sourced, as_written, plan_of, sourced

from lab.core.errors import StateMismatchError
from lab.measure.analysis import analyse
from lab.measure.batch_plan import orders
from lab.measure.batch_record import Batch
from lab.measure.batch_timing import time_transaction
from lab.measure.record import EVIDENCE_BYTES, Run, Stop
from lab.measure.sampler import Sampler


@pytest.fixture(scope="module")
def place() -> Iterator[Sourced]:
    with sourced() as running:
        yield running


@pytest.fixture(scope="module")
def whole(place: Sourced) -> tuple[Run, Acting]:
    progress = Acting()
    return place.measured(plan_of(1, 3, 10), progress), progress


def batches_of(run: Run) -> tuple[Batch, ...]:
    assert run.batch is not None
    return run.batch.batches


def amount(delta, name: str) -> float:
    return next(change.amount for change in delta.changes if change.name == name)


def calls(delta) -> float:
    return sum(each.amount for each in delta.changes if each.name.endswith(".calls"))


def test_a_whole_run(place: Sourced, whole: tuple[Run, Acting]) -> None:
    plan = plan_of(1, 3, 10)
    run, progress = whole
    assert run.void == ""
    assert run.stopped is None
    assert run.batch.plan == plan
    assert progress.titles == [("6 transactions", 28)]
    assert progress.done == 28
    planned = orders(plan)
    for batch, order in zip(batches_of(run), planned, strict=True):
        assert batch.counts
        assert (batch.index, batch.size, batch.repetition, batch.first) == (
            *(order.index, order.size, order.repetition, order.first),
        )
        assert len(batch.statements_ns) == batch.size
        assert min(*batch.statements_ns, batch.begin_ns, batch.commit_ns) > 10_000
        assert batch.published == TABLES
        # What a statement asks the upstream is seen there, and before COMMIT.
        assert calls(batch.purified) >= batch.size
        assert calls(batch.committed) <= 1
        assert amount(batch.server, "subject.wal.bytes") > 0
    # Tables stay until the end of the run.
    counts = [batch.objects for batch in batches_of(run)]
    assert [later - before for before, later in pairwise(counts)] == [
        order.size for order in planned[:-1]
    ]
    assert place.made() == frozenset()
    assert as_written(run) == run
    assert len(msgspec.json.encode(run)) < EVIDENCE_BYTES


def test_what_must_be_alike_is_in_the_passport(place: Sourced, whole: tuple[Run, Acting]) -> None:
    run, _ = whole
    alike = run.passport.alike
    assert alike["upstream.tables"] == str(TABLES)
    assert alike["batch.sizes"] == "1 3 10"
    assert alike["mode"] == "transaction"
    # PostgreSQL has no clusters: which one is configured makes no difference.
    assert "batch.cluster" not in alike
    assert alike["upstream.setting.wal_level"] == "logical"
    port = str(place.upstream.link().port)
    assert port not in {*alike.values(), *run.passport.noted.values()}
    secret = place.upstream.link().password
    assert secret
    assert secret not in msgspec.json.encode(run).decode()
    assert "{i}" in run.workload.cycles[0].templates[0].sql


def test_what_a_run_says(whole: tuple[Run, Acting]) -> None:
    run, _ = whole
    found = analyse(run, None)
    batch = found.batch
    assert batch is not None
    assert [each.size for each in batch.sizes] == [1, 3, 10]
    for each in batch.sizes:
        assert each.cost is not None
        assert each.cost.n == 2
        totals = [one.total_ns / one.size for one in batches_of(run) if one.size == each.size]
        assert each.cost.min_ns <= each.cost.ns <= each.cost.max_ns
        assert (each.cost.min_ns, each.cost.max_ns) == (min(totals), max(totals))
    assert (batch.planned, batch.carried_out, batch.published) == (6, 6, TABLES)
    assert sum(each.calls for each in batch.shapes) >= 1
    assert 0 < batch.round_trip_ns < batch.connect_ns
    (cost,) = found.costs
    assert cost.samples == 28
    total = sum(one.total_ns for one in batches_of(run))
    assert cost.client_ns == pytest.approx(total / 28)
    labels = {node.label for node in cost.tree}
    assert "WAL flush (fsync)" in labels
    assert any("round trip" in label for label in labels)
    spent = sum(node.ns for node in cost.tree if node.nested and not node.overlaps)
    assert spent + cost.unattributed_ns == pytest.approx(cost.client_ns)
    assert not any("whole number" in warning for warning in cost.warnings)


def test_a_repetition_that_fails_in_the_middle(place: Sourced) -> None:
    plan = plan_of(1, 3, 10)
    big = next(order for order in orders(plan) if order.size == 10)
    before = sum(order.size for order in orders(plan) if order.index < big.index)
    taken = big.first + 6
    # Somebody makes a table of this very name once the transaction's second statement is done.
    progress = Acting(
        before + 2,
        lambda: place.on_target(
            f"CREATE FOREIGN TABLE {BATCH_SCHEMA}.bench_table_{taken} (id int)"
            " SERVER ddl_lab_upstream"
        ),
    )
    run = place.measured(plan, progress)
    assert run.void == ""
    failed = batches_of(run)[big.index - 1]
    assert failed.failed_at == 7
    assert failed.error.startswith("42P07 ")
    assert len(failed.statements_ns) == 6
    assert not failed.counts
    assert all(batch.counts for batch in batches_of(run) if batch.index != big.index)
    assert progress.done == 28
    named = f"Transaction {big.index} (10 statements) failed at statement 7: 42P07"
    assert any(text.startswith(named) for text in progress.said)
    found = analyse(run, None).batch
    size = next(each for each in found.sizes if each.size == 10)
    assert (size.failed, size.cost.n) == (1, 1)
    assert [(each.size, each.failed_at) for each in found.failures] == [(10, 7)]
    assert sum(each.n for each in found.bins) == 18
    assert place.made() == frozenset()


def test_a_commit_that_rolls_back_is_a_failure(place: Sourced) -> None:
    with closing(place.environment.connect("test")) as connection:

        def spoil() -> None:
            connection.pgconn.exec_(b"SELECT 1 / 0")

        sampler = Sampler(connection)
        statements = ["CREATE TEMP TABLE gone (a int)", "SELECT 1"]
        taken = time_transaction(sampler, statements, spoil, lambda _: None)
        assert taken.error == "COMMIT answered ROLLBACK"
        assert taken.failed_at == 3
        assert taken.lost == ""
        assert len(taken.statements_ns) == 2
        whole = time_transaction(sampler, statements, lambda: None, lambda _: None)
        assert (whole.error, whole.failed_at) == ("", None)


def test_what_was_committed_and_is_not_there_does_not_count(place: Sourced) -> None:
    # postgres_fdw passes over a table that the upstream has not, without an error.
    plan = plan_of(1, 3, 10)
    last = orders(plan)[-1]
    drop = f"DROP TABLE bench_table_{last.first}"
    progress = Acting(2, lambda: place.on_upstream(drop))
    try:
        run = place.measured(plan, progress)
    finally:
        place.upstream.provision(TABLES, place.upstream.columns(), Acting())
    assert batches_of(run)[-1].void == "COMMIT was answered, but 1 of its tables is not there"
    assert all(batch.counts for batch in batches_of(run)[:-1])
    assert any("does not count: COMMIT was answered" in text for text in progress.said)
    found = analyse(run, None).batch
    assert found.void == ("1 × COMMIT was answered, but 1 of its tables is not there",)


def test_an_upstream_that_stops_in_the_middle_of_a_transaction(place: Sourced) -> None:
    plan = plan_of(1, 3, 10)
    progress = Acting(6, lambda: place.upstream.stop(Acting()))
    try:
        run = place.measured(plan, progress, back_s=0.5)
    finally:
        place.start_upstream()
    assert run.stopped is Stop.LOST
    assert "could not be begun, as the upstream was not back within 0.5 s: " in run.void
    # Cause and remedy are in it, and it is followed by a full stop where it is shown.
    assert "`upstream.up`" in run.void
    assert not run.void.endswith(".")
    assert ".." not in run.void
    assert batches_of(run)[-1].error
    assert not batches_of(run)[-1].counts
    assert place.made() == frozenset()


def test_an_upstream_that_is_restarted_in_the_middle_of_a_transaction(place: Sourced) -> None:
    plan = plan_of(1, 3, 10)
    big = next(order for order in orders(plan) if order.size == 10)
    before = sum(order.size for order in orders(plan) if order.index < big.index)
    run = place.measured(plan, Acting(before + 4, place.restart_upstream))
    hit = batches_of(run)[big.index - 1]
    assert not hit.counts
    assert hit.failed_at == 5
    assert run.void == ""
    assert all(batch.counts for batch in batches_of(run) if batch.index != big.index)


def test_an_upstream_that_is_restarted_before_commit(place: Sourced) -> None:
    plan = plan_of(3, repetitions=3)
    run = place.measured(plan, Acting(3, place.restart_upstream))
    hit, *others = batches_of(run)
    assert not hit.counts
    assert hit.error or "upstream" in hit.void
    assert all(batch.counts for batch in others)


class Between(Acting):
    """Does something real between the first transaction and the second."""

    def advance(self, count: int = 1) -> None:
        super().advance(count)
        if count == 0:
            self._action()
            self._action = bool


def test_an_upstream_that_is_restarted_between_two_transactions(place: Sourced) -> None:
    run = place.measured(plan_of(3, repetitions=3), Between(0, place.restart_upstream))
    assert run.void == ""
    assert [batch.counts for batch in batches_of(run)] == [True] * 3


def test_an_upstream_that_takes_its_time_to_be_back_is_waited_for(place: Sourced) -> None:
    class Returning(Between):
        """Starts the upstream again once the run waits for it."""

        def say(self, text: str) -> None:
            super().say(text)
            if "waited for" in text:
                place.start_upstream()

    progress = Returning(0, lambda: place.upstream.stop(Acting()))
    run = place.measured(plan_of(3, repetitions=3), progress)
    assert run.void == ""
    assert [batch.counts for batch in batches_of(run)] == [True] * 3
    assert "the upstream did not answer before transaction 2" in run.batch.notes
    assert "It is waited for, 30 s at most." in progress.said


def test_a_target_that_is_killed(place: Sourced) -> None:
    plan = plan_of(1, 3, 10)
    try:
        run = place.measured(plan, Acting(15, place.environment.kill))
    finally:
        place.environment.recover()
    assert run.stopped is Stop.LOST
    assert "broke off" in run.void
    *before, hit = batches_of(run)
    assert not hit.counts
    assert before
    assert all(batch.counts for batch in before)
    assert analyse(run, None).void == run.void
    # What was left behind is found by the next run.
    assert place.measured(plan_of(1)).void == ""
    assert place.made() == frozenset()


class Held(Acting):
    """Somebody else is making tables of these numbers, once the third statement is done.

    They go on until so many transactions have waited for them in vain.
    """

    def __init__(self, place: Sourced, *numbers: int, until: int) -> None:
        super().__init__(3, self._begin)
        self._place = place
        self._numbers = numbers
        self._until = until
        self._taken, self._enough = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold)

    def say(self, text: str) -> None:
        super().say(text)
        if sum("no answer within" in each for each in self.said) >= self._until:
            self._enough.set()

    def end(self) -> None:
        self._thread.join()

    def _begin(self) -> None:
        self._thread.start()
        assert self._taken.wait(10)

    def _hold(self) -> None:
        with closing(self._place.environment.connect("test")) as other:
            other.execute(b"BEGIN")
            for number in self._numbers:
                other.execute(
                    f"CREATE FOREIGN TABLE {BATCH_SCHEMA}.bench_table_{number} (id int)"
                    " SERVER ddl_lab_upstream".encode()
                )
            self._taken.set()
            self._enough.wait(30)
            other.execute(b"ROLLBACK")


def test_statements_that_are_not_answered_in_time(place: Sourced) -> None:
    held = Held(place, 5, 11, until=2)
    run = place.measured(plan_of(3, repetitions=5), held, timeout_s=1)
    held.end()
    late = batches_of(run)[1]
    assert late.error == "no answer within 1 s"
    assert late.failed_at == 2
    assert run.void == ""
    assert [batch.counts for batch in batches_of(run)] == [True, False, True, False, True]
    assert sum("opened anew" in note for note in run.batch.notes) == 2


def test_two_in_a_row_that_are_not_answered_in_time_end_the_run(place: Sourced) -> None:
    held = Held(place, 5, 8, until=2)
    run = place.measured(plan_of(3, repetitions=5), held, timeout_s=1)
    held.end()
    assert run.stopped is Stop.LOST
    assert run.void == "transaction 3 broke off: no answer within 1 s"
    assert [batch.counts for batch in batches_of(run)] == [True, False, False]
    assert place.made() == frozenset()


def test_objects_that_somebody_else_makes_end_the_run(place: Sourced) -> None:
    plan = plan_of(3, repetitions=5)
    progress = Acting(4, lambda: place.on_target("CREATE TABLE foreign_to_us (a int)"))
    try:
        run = place.measured(plan, progress)
    finally:
        place.on_target("DROP TABLE foreign_to_us")
    assert [batch.counts for batch in batches_of(run)] == [True, False]
    assert "table 0 → 1" in batches_of(run)[1].void
    assert run.stopped is Stop.CHANGED
    assert "The run ends early: during transaction 2" in "".join(progress.said)
    assert run.void == ""


def test_too_few_tables(place: Sourced) -> None:
    with pytest.raises(StateMismatchError) as refused:
        place.measured(plan_of(TABLES, repetitions=2))
    assert refused.value.code == "batch.too-few-tables"
    assert f"--tables {2 * TABLES}" in refused.value.remedy


def test_a_source_that_is_not_there(place: Sourced) -> None:
    with closing(place.environment.connect("test")) as connection:
        place.sourcing.disconnect(connection, Acting())
        try:
            with pytest.raises(StateMismatchError) as refused:
                place.measured(plan_of(1))
        finally:
            place.sourcing.connect(connection, Acting())
    assert refused.value.code == "source.missing"
    assert "upstream.connect" in refused.value.remedy


def test_a_source_that_is_stalled(place: Sourced) -> None:
    place.on_upstream("ALTER ROLE ddl_lab_source NOLOGIN")
    try:
        with pytest.raises(StateMismatchError) as refused:
            place.measured(plan_of(1))
    finally:
        place.on_upstream("ALTER ROLE ddl_lab_source LOGIN")
    assert refused.value.code == "source.stalled"
    assert refused.value.why
    assert refused.value.remedy


def test_ctrl_c_leaves_nothing_and_so_does_a_run_that_was_killed(place: Sourced) -> None:
    plan = plan_of(1, 3, 10)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        place.measured(plan, Acting(9, interrupt))
    assert place.made() == frozenset()
    # As of a run that had no time to tidy up.
    place.measured(plan_of(3), keep=True)
    assert len(place.made()) == 6
    progress = Acting()
    run = place.measured(plan_of(10), progress)
    assert run.void == ""
    assert any("6 tables that an interrupted run had left" in text for text in progress.said)
    assert place.made() == frozenset()


def test_a_sweep_over_the_number_of_published_tables(place: Sourced) -> None:
    run = place.measured(plan_of(1, repetitions=2, sweep=(10, 30), sweep_size=5))
    swept = [batch for batch in batches_of(run) if batch.swept]
    assert [(batch.published, batch.size) for batch in swept] == [
        *((10, 5), (10, 5), (30, 5), (30, 5)),
    ]
    assert all(batch.counts for batch in swept)
    found = analyse(run, None).batch
    assert [each.published for each in found.sweep] == [10, 30]
    for each in found.sweep:
        assert each.statements == 10
        assert 0 < each.upstream_ns < each.client_ns
        assert each.rows > 0
    assert found.carried_out == 2
    for published in (10, 30):
        assert not place.upstream.has_database(f"upstream_{published}")
    with closing(place.environment.connect("test")) as connection:
        left = connection.execute(b"SELECT srvname FROM pg_foreign_server").fetchall()
    assert left == [("ddl_lab_upstream",)]
