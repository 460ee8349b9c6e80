"""What moves while nothing is asked of the server is nobody's cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from made_runs import MS, around, block, cells, in_blocks, reading, run, sample
from measured_postgres import Altered, MeasuredPostgres

from lab.core.config import MeasureConfig
from lab.core.progress import SilentProgress
from lab.measure.analysis import analyse
from lab.measure.cells import asked_and_drops
from lab.measure.noise import was_noisy
from lab.measure.plan import make_plan
from lab.measure.record import Run, counted
from lab.measure.runner import measure
from lab.metrics.reading import difference
from lab.servers.connection import Connection

FLUSH = "subject.io.wal.normal.fsync_time"


def measured(environment: Any) -> Run:
    config = MeasureConfig(statements=("create-view",), samples=6, most_samples=6)
    plan = make_plan(config, seed=5)
    return measure(environment, plan, session=3, progress=SilentProgress())


def test_the_counters_are_watched_at_rest_before_the_costs(server: MeasuredPostgres) -> None:
    asked: list[str] = []

    def noted(name: str) -> Callable[[Connection], Any]:
        def call(connection: Connection, *more: Any) -> Any:
            asked.append(name)
            return getattr(server, name)(connection, *more)

        return call

    names = ("settle", "read_metrics", "count_objects")
    found = measured(Altered(server, idle_s=0.2, **{name: noted(name) for name in names}))
    assert [each.purpose for each in found.blocks] == ["latency", "idle", "cost", "cost"]
    idle = found.blocks[1]
    assert (idle.void, idle.statements, idle.samples) == ("", (), ())
    assert idle.after is not None
    assert idle.after.taken_ns - idle.before.taken_ns >= 200_000_000
    moved = {each.name: each.amount for each in difference(idle.before, idle.after).changes}
    assert moved["subject.wal.records"] == 0
    # Objects, reading, then nothing but the next reading: the connections are left alone.
    whole = ["count_objects", "settle", "read_metrics", "settle", "read_metrics", "count_objects"]
    rest = ["count_objects", "settle", "read_metrics", "read_metrics", "count_objects"]
    assert asked[2:] == [*whole, *rest, *whole, *whole]
    assert found.stopped is not None
    assert msgspec.json.decode(msgspec.json.encode(found), type=Run) == found


def test_without_a_rate_at_rest_no_time_is_spent_on_it(server: MeasuredPostgres) -> None:
    assert [each.purpose for each in measured(server).blocks] == ["latency", "cost", "cost"]


def at_rest(*, moved: int = 0, **more: Any) -> Any:
    """Return an idle block of 1 s in which the flush timer moved by ``moved`` ns."""
    after = reading({FLUSH: moved}, at=10**9)
    return block([], index=2, purpose="idle", after=after, **more)


def cost(flush_ns: int) -> Any:
    after = reading({FLUSH: flush_ns}, at=2 * 10**9)
    return block([sample("create-table", at=i) for i in range(20)], purpose="cost", after=after)


def flush_of(*blocks: Any) -> float:
    (found,) = analyse(run(cells(create_table=around(1)), *blocks), None).costs
    return found.tree[0].ns


def test_the_idle_rate_is_taken_off_the_costs() -> None:
    # 2 s of 5 ms a second are not the statements'.
    assert flush_of(cost(14 * MS)) == pytest.approx(14 * MS / 20)
    assert flush_of(at_rest(moved=5 * MS), cost(14 * MS)) == pytest.approx(4 * MS / 20)


@pytest.mark.parametrize(
    ("void", "why"), [("the server was lost", "the server was lost"), ("", "the counter")]
)
def test_where_nothing_is_known_of_it_the_costs_say_so(void: str, why: str) -> None:
    falls = {"before": reading({FLUSH: 9})} if not void else {}
    made = run(cells(create_table=around(1)), at_rest(void=void, **falls), cost(14 * MS))
    found = analyse(made, None)
    (warning,) = (each for each in found.costs[0].warnings if "idle rate is unknown" in each)
    assert why in warning
    assert found.costs[0].tree[0].ns == pytest.approx(14 * MS / 20)


def test_it_is_no_cell_and_no_sample() -> None:
    kept = in_blocks(create_table=around(1))
    made = run(*kept, at_rest())
    assert asked_and_drops(made) == ("create-table",)
    assert analyse(made, None).cells == analyse(run(*kept), None).cells
    assert counted(made.blocks, "create-table") == around(1)
    loud = msgspec.structs.replace(kept[0].noise, steal=0.5)
    assert not was_noisy(run(*kept, at_rest(noise=loud)))


def test_what_a_reading_has_to_say_is_said_once() -> None:
    told = msgspec.structs.replace(reading(), notes=("Two families are unknown.",))
    after = msgspec.structs.replace(told, taken_ns=10**9)
    made = run(block([sample("create-table")] * 10, before=told, after=after))
    assert analyse(made, None).warnings == ("Two families are unknown",)
