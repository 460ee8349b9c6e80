"""Setup, method and results of a run: what they name, and what they leave to the run's file."""

from __future__ import annotations

import msgspec
import pytest
from notebook_support import make_run

from lab.measure.analysis import analyse
from lab.measure.record import Plan, Run, Sample, Stop
from lab.notebook.views import (
    method_lines,
    results_remarks,
    results_table,
    setup_lines,
    sql_lines,
)
from lab.targets.base import Operation


def line(run: Run, title: str) -> str:
    return next(each for each in setup_lines(run) if each.startswith(f"**{title}:**"))


def test_settings_that_are_as_shipped_are_counted_and_not_named() -> None:
    run = make_run(**{"settings.changed": "fsync", "setting.jit": "on"})
    assert line(run, "Settings") == "**Settings:** `fsync=on`; 2 more in the run's file"
    # A target that does not tell which are has all of them named.
    named = line(make_run(), "Settings")
    assert named == "**Settings:** `fsync=on`, `synchronous_commit=on`"
    assert "settings" not in "".join(setup_lines(run)).replace("Settings", "")


def test_facts_too_long_to_be_read_are_counted_and_never_cut() -> None:
    run = make_run(**{"build.compiler": "gcc 14.2.1", "build.cflags": "-Wall " * 40})
    assert line(run, "Build") == "**Build:** compiler gcc 14.2.1; 1 more in the run's file"
    assert "…" not in "".join(setup_lines(run))
    only_long = make_run(**{"build.cflags": "-Wall " * 40})
    assert line(only_long, "Build") == "**Build:** 1 more in the run's file"


COMMIT = "e7ac38b3300d5c1b6c7a2c47b1c4a7b8a1b2c3d4"


@pytest.mark.parametrize(
    ("commit", "dirty", "said"),
    [
        (COMMIT, "no", "commit e7ac38b33, clean"),
        (COMMIT, "9c1" + "0f" * 30 + "a", "commit e7ac38b33*, changed since: 9c10f0f0f…"),
        # Of a build that the lab does not keep nobody knows what the tree held.
        ("unknown", "no", "commit unknown"),
    ],
)
def test_a_build_names_its_commit_and_whether_the_tree_held_more(
    commit: str, dirty: str, said: str
) -> None:
    run = make_run(**{"build.profile": "optimized"})
    noted = {"build.commit": commit, "build.dirty": dirty}
    passport = msgspec.structs.replace(run.passport, noted=noted)
    found = line(msgspec.structs.replace(run, passport=passport), "Build")
    assert found == f"**Build:** profile optimized, {said}"


def test_long_ids_are_shortened_and_others_are_not() -> None:
    environment = "materialize/local-az1-958be828-0c9d-4084-89ff-fb96655fe8f4-0"
    assert line(make_run(**{"state.id": environment}), "State") == (
        "**State:** id materialize/local-az1-958be828…-0"
    )
    assert line(make_run(**{"state.id": "main/7711296946248097664"}), "State") == (
        "**State:** id main/7711296946248097664"
    )
    change = "kkmpptxzrspxrzommnulwmwkkqwworpl"
    assert "change kkmpptxzr…" in line(make_run(**{"build.change": change}), "Build")
    # A setting is a value that somebody may want to set again.
    asis = line(make_run(**{"setting.who": environment[12:]}), "Settings")
    assert f"who={environment[12:]}" in asis


def test_setup_and_method_hold_nothing_that_is_this_runs_own() -> None:
    run = make_run()
    text = "\n".join([*setup_lines(run), *method_lines(run), *sql_lines(run)])
    assert "seed 7" not in text.lower()
    assert "load" not in text
    assert "3.12" not in text  # ms that opening the connection took
    assert run.id not in text


def test_the_method_says_how_long_sampling_goes_on_and_for_whom() -> None:
    text = " ".join(method_lines(make_run()))
    plan = make_run().plan
    assert f"up to {plan.most_samples} samples or until {plan.budget_s:g} s have passed" in text
    assert "each statement asked for is known to ±3%" in text
    assert "a drop that was not asked for is taken as often as its create" in text


def test_the_sql_is_shown_as_it_was_executed() -> None:
    run = make_run()
    assert sql_lines(run) == [
        "before: `CREATE SCHEMA fixture`",
        "`CREATE TABLE t_{i} (a int)`, `DROP TABLE t_{i}`",
    ]
    (cycle,) = run.workload.cycles
    turn = msgspec.structs.replace(cycle, alternate=(Operation("create-table", "TURN `x`"),))
    work = msgspec.structs.replace(run.workload, cycles=(turn,))
    assert sql_lines(msgspec.structs.replace(run, workload=work))[1].endswith(
        " in turn with `` TURN `x` ``"
    )


def remarks(run: Run) -> list[str]:
    return results_remarks(run, analyse(run, None))


def test_what_is_this_runs_own_stands_with_the_results() -> None:
    text = "\n".join(remarks(make_run()))
    assert "Seed 7; 3 blocks for latency, within 1 boot of the server; opening the" in text
    assert "connection took 3.12 ms." in text
    assert "Meanwhile on the host: load 0.4, no CPU time stolen" in text
    assert "waiting for I/O up to 20% of the time" in text
    assert "memory" not in text


def with_plan(stopped: Stop | None, **changes: object) -> Run:
    run = make_run()
    plan: Plan = msgspec.structs.replace(run.plan, **changes)
    return msgspec.structs.replace(run, plan=plan, stopped=stopped)


def test_precision_that_was_reached_is_said() -> None:
    made = remarks(with_plan(Stop.PRECISE))
    assert "The median of each statement asked for is known to ±3%." in made


@pytest.mark.parametrize(
    ("stopped", "why"),
    [
        (Stop.MOST, "at the most samples planned, 200"),
        (Stop.BUDGET, "when its time was used, 40 s"),
        (Stop.SIZE, "when the run's file was full"),
        (Stop.CHANGED, "when the object count changed"),
        (Stop.LOST, "when the server was lost"),
        (None, "before"),
    ],
)
def test_statements_that_are_not_known_well_enough_are_named_with_the_cause(
    stopped: Stop | None, why: str
) -> None:
    run = with_plan(stopped, precision=0.001, statements=("create-table",))
    (said,) = [each for each in remarks(run) if "was not reached" in each]
    assert said.startswith("±0.10% was not reached for `create-table` (±")
    assert said.endswith(f"): sampling ended {why}.")
    # A drop that nobody asked for need not be precise.
    assert "drop-table" not in said


def broken_off() -> Run:
    run = make_run(void="the server was lost")
    first, second, third = run.blocks
    third = msgspec.structs.replace(third, void="the server was lost", after=None)
    return msgspec.structs.replace(run, blocks=(first, second, third), stopped=Stop.LOST)


def test_a_void_run_shows_what_was_measured_before_and_says_once_that_it_is_void() -> None:
    run = broken_off()
    text = remarks(run)
    assert text[0] == (
        "**This run is void:** the server was lost. The figures are shown for what they are worth"
        " and are compared with nothing."
    )
    assert sum("void" in each for each in text) == 2
    assert text[1] == (
        "Samples excluded (block 3 is void: the server was lost): `create-table` 10,"
        " `drop-table` 10."
    )
    rows = results_table(analyse(run, None)).split("\n")[2:]
    assert [row.split("|")[1].strip() for row in rows] == [
        "`create-table` (void)",
        "`drop-table` (void)",
    ]
    for row in rows:
        n, median = (each.strip() for each in row.split("|")[3:5])
        assert n == "20"
        assert float(median) > 0.4


def test_void_cells_are_one_remark_for_one_cause_and_keep_their_figures() -> None:
    run = make_run()
    first = run.blocks[0]
    failed = tuple(
        Sample(kind, turn, 0, 1, error="53100 disk full")
        for turn in range(9)
        for kind in ("create-table", "drop-table")
    )
    blocks = (msgspec.structs.replace(first, samples=first.samples + failed), *run.blocks[1:])
    run = msgspec.structs.replace(run, blocks=blocks)
    (said,) = [each for each in remarks(run) if each.startswith("**Void:**")]
    assert said.startswith("**Void:** `create-table` and `drop-table`, compared with nothing: 23")
    assert "Samples excluded (53100 disk full): `create-table` 9, `drop-table` 9." in remarks(run)
    table = results_table(analyse(run, None))
    assert table.count("(void)") == 2
    assert "| 30 |" in " ".join(table.split())
