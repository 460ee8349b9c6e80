"""Batches of tables from a source, by the real program on the stand-in, whose law is known."""

from __future__ import annotations

from materialize_driver import MaterializeDriver, materialize_lab, standin_only
from standin import Law, set_behaviour

TABLES = 126  # (1 + 11 + 30) statements, three times
PLAN = ("--plan", "batch", "--sizes", "1,11,30", "--repetitions", "3")
REPLAY = Law(floor_ms=60, per_1000_objects_ms=0, soft_assertion_factor=1, per_position_ms=12)
NO_REPLAY = Law(floor_ms=60, per_1000_objects_ms=0, soft_assertion_factor=1)


def shape(lab: MaterializeDriver, goal: str) -> str:
    done = lab.json("session.measure", *PLAN, "--goal", goal, timeout=280)
    assert done.code == 0, done.err
    (run,) = done.data["runs"]
    assert run["batch"]["failures"] == []
    assert run["batch"]["carried_out"] == 9
    assert [size["cost"]["n"] for size in run["batch"]["sizes"]] == [3, 3, 3]
    return str(run["batch"]["fit"]["shape"])


@standin_only
def test_what_each_statement_does_anew_is_named_where_it_is_so_and_only_there() -> None:
    with materialize_lab(law=REPLAY) as lab:
        lab.ok("upstream.up", "--tables", str(TABLES))

        assert shape(lab, "With replay") == "linear"

        entry = lab.ok("log.show", "1").out
        assert "a transaction of n statements costs O(n²)" in entry
        assert "create-table-from-source" in entry

        lab.ok("env.stop")
        set_behaviour(lab.checkout, NO_REPLAY)

        assert shape(lab, "Without replay") == "constant"

        entry = lab.ok("log.show", "2").out
        assert "O(n²)" not in entry
        assert "a transaction of n statements costs O(n)" in entry
        lab.ok("log.verify")

        left = lab.json("upstream.clean")
        assert left.code == 0, left.err
        assert left.data["passed"]
        assert lab.json("env.status").data["objects"]["upstream"] == 0
