"""What a run says: cells, costs and warnings."""

import msgspec
import pytest
from made_runs import MS, QUIET, around, block, cells, in_blocks, reading, run, sample

from lab.measure.analysis import analyse
from lab.measure.findings import Amount


def noise(**changes):
    return msgspec.structs.replace(QUIET, **changes)


def test_cells_carry_their_figures():
    found = analyse(run(cells(create_table=around(1), drop_table=around(0.5))), None)
    create, drop = found.cells
    assert (create.statement, drop.statement) == ("create-table", "drop-table")
    assert create.objects == 1000
    assert create.summary is not None
    assert create.summary.n == 40
    assert create.summary.median_ns == pytest.approx(MS, rel=0.01)
    assert found.comparison is None
    assert found.warnings == ()
    assert found == analyse(run(cells(create_table=around(1), drop_table=around(0.5))), None)


def test_a_void_cell_says_why_and_keeps_the_figures_of_what_counts():
    bad = [sample("create-table", error="53100 disk full")] * 10
    found = analyse(run(block([sample("create-table")] * 30 + bad)), None)
    assert found.cells[0].summary is not None
    assert found.cells[0].summary.n == 30
    assert "25.0%" in found.cells[0].void
    assert found.cells[0].reasons == ("10 × 53100 disk full",)


def test_a_cell_of_which_nothing_counts_has_no_figures():
    bad = [sample("create-table", error="53100 disk full")] * 10
    (cell,) = analyse(run(block(bad)), None).cells
    assert cell.summary is None
    assert cell.void


def test_a_run_that_broke_off_keeps_what_was_measured_and_is_compared_with_nothing():
    good = cells(create_table=around(1))
    lost = block([sample("drop-table")] * 3, index=2, purpose="cost", void="the server was lost")
    found = analyse(run(good, lost, void="the server was lost"), (1, run(good, name="then")))
    assert found.cells[0].summary is not None
    assert found.comparison is None
    assert found.void == "the server was lost"
    assert found.warnings[:2] == (
        "the run is void: the server was lost",
        "block 2 (cost) is void: the server was lost",
    )


def cost_block(statement, n=20, *, index=2, **moved):
    names = {
        "fsync_ns": "subject.io.wal.normal.fsync_time",
        "fsyncs": "subject.io.wal.normal.fsyncs",
        "cpu_ns": "subject.cpu.run_time",
        "wait_ns": "subject.cpu.wait_time",
        "wal": "subject.wal.bytes",
        "checkpoints": "server.checkpoints",
    }
    after = reading({names[key]: value for key, value in moved.items()}, at=10**9)
    samples = [sample(statement, at=i) for i in range(n)]
    return block(samples, index=index, purpose="cost", after=after)


def test_costs_are_those_of_the_cost_blocks_alone():
    made = run(
        cells(create_table=around(5)),
        cost_block("create-table", fsync_ns=6 * MS, fsyncs=20, cpu_ns=18 * MS, wal=40_000),
    )
    (cost,) = analyse(made, None).costs
    assert (cost.statement, cost.samples, cost.client_ns) == ("create-table", 20, MS)
    flush = cost.tree[0]
    assert flush.share == pytest.approx(0.3)
    assert flush.calls == 1
    # The time on a CPU lies beside the others.
    assert cost.unattributed_ns == pytest.approx(0.7 * MS)
    assert Amount("WAL", 2000, "bytes") in cost.amounts
    assert "server CPU" in cost.rest
    assert cost.warnings == ()


def test_several_cost_blocks_of_a_statement_are_added_up():
    blocks = [cost_block("create-table", index=i, wal=20_000 * i, fsyncs=20) for i in (1, 2)]
    (cost,) = analyse(run(*blocks), None).costs
    assert cost.samples == 40
    assert Amount("WAL", 1500, "bytes") in cost.amounts


def test_costs_follow_the_order_of_the_cells():
    made = run(
        cells(create_table=[1], drop_table=[1], create_view=[1]),
        cost_block("drop-table"),
        cost_block("create-view", index=3),
        cost_block("create-table", index=4),
        statements=("create-view", "create-table"),
    )
    costs = analyse(made, None).costs
    assert [cost.statement for cost in costs] == ["create-view", "create-table", "drop-table"]


def test_costs_say_what_disturbed_them():
    (cost,) = analyse(run(cost_block("create-table", checkpoints=1, fsyncs=30)), None).costs
    assert any("a checkpoint ended" in warning for warning in cost.warnings)
    assert any("1.50 calls per statement" in warning for warning in cost.warnings)


def test_a_void_cost_block_gives_no_costs():
    lost = msgspec.structs.replace(cost_block("create-table"), void="lost", after=None)
    assert analyse(run(lost), None).costs == ()


def test_time_that_the_host_took_away_is_known_as_such():
    (cost,) = analyse(run(cost_block("create-table", fsyncs=20, wait_ns=8 * MS)), None).costs
    taken = [node for node in cost.tree if node.disturbs]
    assert [(node.share, node.overlaps) for node in taken] == [(pytest.approx(0.4), True)]


def test_drift_and_modes_are_found():
    rising = [round(MS * (1 + 0.01 * i)) for i in range(40)]
    split = [each for pair in zip(around(1, 30), around(3, 30), strict=True) for each in pair]
    found = analyse(run(cells(create_table=rising, drop_table=split)), None)
    create, drop = (cell.summary for cell in found.cells)
    assert create is not None
    assert create.drift is not None
    assert create.drift.total == pytest.approx(0.39, abs=0.06)
    assert drop is not None
    assert [round(mode / MS) for mode in drop.modes_ns] == [1, 3]


@pytest.mark.parametrize(
    ("disturbed", "said"),
    [
        (noise(), ""),
        (noise(steal=0.2), "hypervisor took CPU time away for up to 20% of the time, in block 1"),
        (noise(pressure={"cpu": 0.5}), "waited for a CPU for up to 50%"),
        (noise(pressure={"memory": 0.1}), "waited for memory for up to 10%"),
        (noise(load_1min=2.0), ""),
        (noise(load_1min=3.5), "the host was busy: load 3.5 on 2 cores"),
    ],
)
def test_a_noisy_host_is_warned_of(disturbed, said):
    samples = [sample("create-table", each) for each in around(1)]
    warnings = analyse(run(block(samples, noise=disturbed)), None).warnings
    assert len(warnings) == bool(said)
    assert said in "".join(warnings)


@pytest.mark.parametrize(
    ("noisy", "where"),
    [
        ((1,), "in block 1"),
        ((1, 3), "in blocks 1, 3"),
        ((2, 3), "in blocks 2, 3"),
        ((1, 2, 3, 5), "in blocks 1–3, 5"),
        ((1, 3, 4, 5, 6), "in blocks 1, 3–6"),
        ((1, 2, 3, 4, 5, 6), "in every block"),
    ],
)
def test_noisy_blocks_are_named(noisy, where):
    blocks = [
        block(
            [sample("create-table", each) for each in around(1)],
            index=index,
            noise=noise(steal=0.1 if index in noisy else 0.0),
        )
        for index in range(1, 7)
    ]
    (warning,) = analyse(run(*blocks), None).warnings
    assert warning.endswith(where)


def test_one_boot_compared_with_itself_is_warned_of():
    made = run(*in_blocks(create_table=around(1)))
    found = analyse(made, (4, msgspec.structs.replace(made, id="then")))
    assert found.comparison is not None
    assert found.comparison.same_boot
    assert found.warnings == (
        "this run and that of session 4 were taken on one boot of the server: it is compared with "
        "itself at a later time",
    )


def test_a_noisy_host_is_warned_of_where_a_run_is_compared():
    def made(name, boot, disturbed):
        blocks = [
            msgspec.structs.replace(each, noise=disturbed)
            for each in in_blocks(create_table=around(1), boot=boot)
        ]
        return run(*blocks, name=name)

    found = analyse(made("now", "b-2", noise(steal=0.3)), (4, made("then", "b-1", QUIET)))
    assert found.warnings[-1] == (
        "no verdict is drawn against session 4, because the host disturbed this run"
    )


def test_a_run_of_nothing():
    found = analyse(run(statements=()), None)
    assert (found.cells, found.costs, found.comparison) == ((), (), None)
