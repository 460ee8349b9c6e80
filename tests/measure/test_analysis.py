"""What a run says: cells, costs, warnings and the headline."""

import msgspec
import pytest
from made_runs import MS, QUIET, around, block, cells, reading, run, sample

from lab.measure.analysis import analyse, headline
from lab.measure.findings import Amount
from lab.stats.summary import Verdict


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


def test_a_void_cell_has_no_figures_and_says_why():
    bad = [sample("create-table", error="53100 disk full")] * 10
    found = analyse(run(block([sample("create-table")] * 30 + bad)), None)
    assert found.cells[0].summary is None
    assert "25.0%" in found.cells[0].void
    assert found.cells[0].reasons == ("10 × 53100 disk full",)
    assert "void" in headline(found)


def test_a_run_that_broke_off_keeps_what_was_measured_and_is_compared_with_nothing():
    good = cells(create_table=around(1))
    lost = block([sample("drop-table")] * 3, index=2, purpose="cost", void="the server was lost")
    found = analyse(run(good, lost, void="the server was lost"), (1, run(good, name="then")))
    assert found.cells[0].summary is not None
    assert found.comparison is None
    assert found.warnings[:2] == (
        "the run is void: the server was lost",
        "block 2 (cost) is void: the server was lost",
    )


def cost_block(statement, n=20, *, index=2, **moved):
    names = {
        "fsync_ns": "subject.io.wal.normal.fsync_time",
        "fsyncs": "subject.io.wal.normal.fsyncs",
        "cpu_ns": "subject.cpu.run_time",
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


def test_drift_and_modes_are_warned_of():
    rising = [round(MS * (1 + 0.01 * i)) for i in range(40)]
    split = [each for pair in zip(around(1, 30), around(3, 30), strict=True) for each in pair]
    found = analyse(run(cells(create_table=rising, drop_table=split)), None)
    drift, modes = found.warnings
    assert "create-table drifted by +" in drift
    assert "more than one mode, which the median hides: drop-table at 1 and 3 ms" in modes


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
    [((1,), "in block 1"), ((1, 3), "in blocks 1, 3"), ((1, 2, 3), "in every block")],
)
def test_noisy_blocks_are_named(noisy, where):
    blocks = [
        block(
            [sample("create-table", each) for each in around(1)],
            index=index,
            noise=noise(steal=0.1 if index in noisy else 0.0),
        )
        for index in (1, 2, 3)
    ]
    (warning,) = analyse(run(*blocks), None).warnings
    assert warning.endswith(where)


def test_one_boot_compared_with_itself_is_warned_of():
    found = analyse(run(cells(create_table=around(1))), (4, run(cells(create_table=around(1)))))
    assert headline(found).endswith("; no measurable change, on the same boot")
    assert found.warnings == (
        "this run and that of session 4 were taken on one boot of the server: it is compared with "
        "itself at a later time",
    )


def test_a_noisy_host_is_said_in_warning_and_headline():
    def made(boot, took, disturbed):
        samples = [sample("create-table", each) for each in around(took)]
        return run(block(samples, boot=boot, noise=disturbed))

    found = analyse(
        made("b-2", 2, noise(steal=0.3)),
        (4, msgspec.structs.replace(made("b-1", 1, QUIET), id="x")),
    )
    assert found.warnings[-1] == (
        "no change is claimed since session 4, because the host disturbed this run"
    )
    assert headline(found).endswith("; inconclusive, on a noisy host")


def compared(table_ms, view_ms):
    def made(name, boot, table, view):
        return run(
            cells(create_table=around(table), create_view=around(view), boot=boot),
            name=name,
            statements=("create-table", "create-view"),
        )

    return analyse(made("now", "b-2", table_ms, view_ms), (4, made("then", "b-1", 1, 1)))


@pytest.mark.parametrize(
    ("table_ms", "view_ms", "end"),
    [
        (1, 1, "at 1,000 objects; no measurable change"),
        (1, 1.5, "; create-view regressed (1.50×, provisional)"),
        (0.5, 0.5, "; improved (create-table 0.50×, provisional)"),
        (
            0.5,
            1.5,
            "; create-view regressed (1.50×, provisional), "
            "create-table improved (0.50×, provisional)",
        ),
    ],
)
def test_the_headline_gives_a_figure_and_what_moved(table_ms, view_ms, end):
    found = compared(table_ms, view_ms)
    line = headline(found)
    assert line.startswith(f"create-table {table_ms:.2f} ms (95% ")
    assert "n=40)" in line
    assert line.endswith(end)
    assert "\n" not in line


def test_the_headline_names_what_prevents_a_comparison():
    made = cells(create_table=around(1))
    earlier = run(made, alike={"setting.fsync": "off", "host.cores": "4"})
    line = headline(analyse(run(made), (4, earlier)))
    assert line.endswith("; not compared with session 4: host.cores and 1 more differ")


def test_the_headline_of_a_small_cell_claims_no_interval():
    line = headline(analyse(run(cells(create_table=[MS] * 5)), None))
    assert line == "create-table 1.00 ms (n=5) at 1,000 objects"


def test_a_run_of_nothing():
    found = analyse(run(statements=()), None)
    assert found.cells == ()
    assert headline(found) == "nothing was measured"


def test_every_verdict_can_be_said():
    found = compared(1, 1)
    assert found.comparison is not None
    for verdict in Verdict:
        changed = {
            name: msgspec.structs.replace(cell, verdict=verdict)
            for name, cell in found.comparison.cells.items()
        }
        comparison = msgspec.structs.replace(found.comparison, cells=changed)
        assert verdict.value in headline(msgspec.structs.replace(found, comparison=comparison))
