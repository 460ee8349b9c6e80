"""Which cells a run has, and which samples count."""

import msgspec
import pytest
from made_runs import MS, block, cells, run, sample, workload

from lab.measure.cells import asked_and_drops, cell_samples
from lab.targets.base import Cycle, Operation


def test_each_create_is_followed_by_its_drop_in_the_order_of_the_plan():
    made = run(
        cells(drop_view=[1], create_table=[1], alter_rename=[1], drop_table=[1], create_view=[1]),
        statements=("create-view", "alter-rename", "create-table"),
    )
    assert asked_and_drops(made) == (
        "create-view",
        "drop-view",
        "alter-rename",
        "create-table",
        "drop-table",
    )


def test_which_drop_belongs_to_a_create_is_what_the_cycles_say():
    odd = Cycle((Operation("create-thing", "MAKE"), Operation("unmake", "UNMAKE")))
    work = msgspec.structs.replace(workload(), cycles=(odd,))
    made = run(
        cells(unmake=[1], drop_thing=[1], create_thing=[1]), statements=("create-thing",), work=work
    )
    assert asked_and_drops(made) == ("create-thing", "unmake", "drop-thing")


def test_a_drop_that_was_asked_for_comes_before_its_create():
    made = run(cells(create_view=[1], drop_view=[1]), statements=("drop-view",))
    assert asked_and_drops(made) == ("drop-view", "create-view")


def test_what_was_asked_for_and_not_executed_is_a_cell_too():
    made = run(cells(create_table=[1]), statements=("create-table", "create-view"))
    assert asked_and_drops(made) == ("create-table", "create-view")
    assert cell_samples(made, "create-view").void == "no samples"


def test_warmups_and_cost_blocks_are_not_samples():
    made = run(
        block(
            [
                sample("create-table", 9, warmup=True),
                sample("create-table", 9, warmup=True, error="55P03 lock timeout"),
                sample("create-table", 1),
            ]
        ),
        block([sample("create-table", 5)], purpose="cost", index=2),
    )
    found = cell_samples(made, "create-table")
    assert (found.durations, found.excluded, found.void) == ((1,), 0, "")
    assert found.objects == 1000


def test_slow_samples_stay():
    made = run(cells(create_table=[MS] * 30 + [900 * MS]))
    assert cell_samples(made, "create-table").durations[-1] == 900 * MS


@pytest.mark.parametrize(("failed", "void"), [(1, False), (2, False), (3, True), (40, True)])
def test_over_five_percent_excluded_voids(failed, void):
    good = [sample("create-table")] * (40 - failed)
    bad = [sample("create-table", error="55P03 lock timeout")] * failed
    found = cell_samples(run(block([*good, *bad])), "create-table")
    assert found.excluded == failed
    assert found.reasons == (f"{failed} × 55P03 lock timeout",)
    assert bool(found.void) == void


def test_a_void_block_is_excluded_with_its_reason():
    made = run(
        block([sample("create-table")] * 60),
        block([sample("create-table")] * 2, index=2, void="the server was restarted"),
    )
    found = cell_samples(made, "create-table")
    assert len(found.durations) == 60
    assert found.reasons == ("2 × block 2 is void: the server was restarted",)
    assert not found.void


def test_samples_are_kept_block_by_block():
    made = run(
        block([sample("create-table", 1), sample("create-view", 9), sample("create-table", 2)]),
        block([sample("create-view", 9)], index=2),
        block([sample("create-table", 3)], index=3),
        block([sample("create-table", 4)], index=4, void="lost"),
    )
    found = cell_samples(made, "create-table")
    assert found.blocks == ((1, 2), (3,))
    assert found.durations == (1, 2, 3)


def test_the_block_in_which_a_run_broke_off_voids_no_cell():
    made = run(
        block([sample("create-table")] * 20 + [sample("create-view")] * 20),
        block([sample("create-table")] * 9, index=2, void="the server was lost"),
        void="the server was lost",
    )
    found = cell_samples(made, "create-table")
    assert (len(found.durations), found.excluded, found.void) == (20, 9, "")
    assert found.reasons == ("9 × block 2 is void: the server was lost",)
    # The same block in a run that went on takes too much away.
    assert "31.0%" in cell_samples(msgspec.structs.replace(made, void=""), "create-table").void
    failing = [sample("create-table", error="53100 disk full")] * 20
    made = msgspec.structs.replace(made, blocks=(*made.blocks, block(failing, index=3)))
    assert "50.0%" in cell_samples(made, "create-table").void


def test_a_cell_without_any_sample_that_counts_is_void():
    made = run(block([sample("create-table")], void="lost"), void="lost")
    assert cell_samples(made, "create-table").void


def test_two_object_counts_are_not_one_cell():
    made = run(
        block([sample("create-table")], objects=1000),
        block([sample("create-table")], objects=1001, index=2),
    )
    assert "1,000 and 1,001" in cell_samples(made, "create-table").void
