"""Costs whose parts lie in each other: a tree that adds up, and findings that follow from it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from log_support import write_entry
from notebook_support import comparison, make_analysis, make_run

from lab.core.workspace import Workspace
from lab.measure.findings import Amount, Analysis, CellFinding, CostFinding
from lab.measure.record import Block, Run, Sample
from lab.metrics.attribute import attribute
from lab.metrics.reading import Change, Delta, Kind, Series
from lab.metrics.tree import Attributed, CostSheet, Node
from lab.notebook.costs import cost_figures, cost_findings, cost_lines, cost_table, overlapping
from lab.notebook.sentences import findings
from lab.notebook.verify import verify_log
from lab.stats.summary import Verdict
from lab.targets.registry import target

MS = 1e6


def timer(label: str, *children: Node, beside: bool = False) -> Node:
    """Return a declared part whose series has its name."""
    return Node(label=label, time=(label,), overlaps=beside, children=children)


def filled(
    statement: str, tree: Sequence[Node], moved: dict[str, float], mean_ns: float
) -> CostFinding:
    """Return the costs of one kind, attributed as a run's are; amounts per statement."""
    changes = tuple(Change(name, "ns", amount) for name, amount in moved.items())
    sheet = CostSheet(roots=tuple(tree), quantities=(), rest="the round trip")
    delta = Delta(duration_ns=10**9, changes=changes)
    found = attribute(sheet, delta, statements=1, client_mean_ns=mean_ns)
    return CostFinding(
        statement=statement,
        samples=20,
        client_ns=mean_ns,
        tree=found.tree,
        unattributed_ns=found.unattributed_ns,
        amounts=(),
        warnings=found.warnings,
    )


def deep(statement: str, *, scale: float = 1.0, read_ts: float = 2.5) -> CostFinding:
    """Return costs as they were read off a server at 650 tables."""
    moved = {
        "query": 447.2, "execute": 418.8, "allocate id": 0.02, "transact": 416.5,
        "catalog commit": 14.3, "catalog upper": 3.9, "advancement": 0.4, "implications": 303.8,
        "register": 48.9, "write_ts": 14.7, "read_ts": read_ts, "peek": 0.1, "append": 195.3,
        "commit message": 1.9,
    }  # fmt: skip

    inner = (
        timer("catalog commit"),
        timer("catalog upper"),
        timer("advancement"),
        timer("implications", timer("register", beside=True)),
        timer("write_ts", beside=True),
        timer("read_ts", beside=True),
        timer("peek", beside=True),
        timer("append", beside=True),
    )
    execute = timer("execute", timer("allocate id"), timer("transact", *inner))
    tree = (timer("query", execute, timer("commit message")),)
    moved = {name: amount * MS * scale for name, amount in moved.items()}
    made = filled(statement, tree, moved, 449.1 * MS * scale)
    amounts = (Amount("oracle calls", 6.92, "count"), Amount("blob", 66000.0, "bytes"))
    return msgspec.structs.replace(made, amounts=amounts)


TREE = """\
```text
create-table, mean 449.1 ms     ms    own  calls  share
query                        447.2   26.5          100%
├ execute                    418.8    2.3           93%
│ ├ allocate id                0.0    0.0            0%
│ └ transact                 416.5   94.1           93%
│   ├ catalog commit          14.3   14.3          3.2%
│   ├ implications           303.8  303.8           68%
│   │ └ register*             48.9                  11%
│   ├ write_ts*               14.7                 3.3%
│   ├ append*                195.3                  43%
│   ├ others (2)               4.3    4.3         0.96%
│   └ others* (2), up to       2.5
└ commit message               1.9    1.9         0.42%
not attributed                 1.9    1.9         0.42%
per statement: oracle calls 6.92, blob 66.0 kB
```"""


def test_a_tree_has_a_row_for_each_part_under_what_it_lies_in() -> None:
    assert cost_figures([deep("create-table")]) == TREE
    assert overlapping([deep("create-table")])


def test_a_debug_build_gives_the_nesting_and_no_share() -> None:
    shown = cost_figures([deep("create-table")], "debug build")
    assert "%" not in shown
    header, query = shown.split("\n")[1:3]
    assert header.split() == ["create-table,", "mean", "449.1", "ms†", "ms†", "own†", "calls"]
    assert query.split() == ["query", "447.2", "26.5"]
    lines = cost_lines([deep("create-table")], "debug build")
    assert any("neither ranked nor given as shares" in line for line in lines)


def test_drops_after_their_creates_are_shown_in_short() -> None:
    costs = [deep("create-table"), deep("drop-table", scale=0.5), deep("drop-view", scale=0.1)]
    shown = cost_figures(costs)
    assert (
        "\n\ndrop-table, mean 224.6 ms: query 223.6 ⊃ execute 209.4 ⊃ transact 208.2 ⊃\n"
        "  implications 151.9; not attributed 0.9\n```" in shown
    )
    # Nobody made the view that this one drops, so it was asked for.
    assert re.search(r"\n\ndrop-view, mean 44.91 ms +ms +own +calls +share\n", shown)
    assert max(len(line) for line in shown.split("\n")) <= 80


def test_trees_stand_in_the_same_columns() -> None:
    costs = [deep("create-table"), deep("create-view", scale=30)]
    headers = [line for line in cost_figures(costs).split("\n") if "share" in line]
    assert len(headers) == 2
    assert headers[0].index("own") == headers[1].index("own")


def test_what_is_larger_than_what_holds_it_is_marked_and_not_added_up() -> None:
    moved = {"outer": 8 * MS, "inner": 9 * MS, "in it": 2 * MS}
    tree = (timer("outer", timer("inner", timer("in it"))),)
    made = filled("create-table", tree, moved, 10 * MS)
    shown = cost_figures([made]).split("\n")
    assert [line.split() for line in shown[2:6]] == [
        ["outer", "8.00", "8.00", "80%"],
        ["└", "inner", "(not", "nested)", "9.00", "–"],
        ["└", "in", "it", "2.00", "20%"],
        ["not", "attributed", "2.00", "2.00", "20%"],
    ]


def test_a_drop_in_short_ends_where_nesting_does() -> None:
    moved = {"outer": 9.9 * MS, "inner": 10.2 * MS, "in it": 8 * MS}
    tree = (timer("outer", timer("inner", timer("in it"))),)
    drop = filled("drop-table", tree, moved, 10 * MS)
    assert cost_figures([deep("create-table"), drop]).split("\n")[-3:-1] == [
        "drop-table, mean 10.00 ms: outer 9.90 ⊃ inner 10.20 (not nested);",
        "  not attributed 0.10",
    ]


def test_what_lies_beside_is_added_up_nowhere_however_it_is_folded() -> None:
    beside = timer("beside", timer("step"), timer("small"), timer("smaller"), beside=True)
    moved = {"beside": 6 * MS, "step": 5 * MS, "small": 0.06 * MS, "smaller": 0.04 * MS}
    shown = cost_figures([filled("create-table", (beside,), moved, 10 * MS)]).split("\n")
    assert [line.split() for line in shown[2:6]] == [
        ["beside*", "6.00", "60%"],
        ["├", "step", "5.00", "50%"],
        ["└", "others", "(2)", "0.10", "1%"],
        ["not", "attributed", "10.00", "10.00", "100%"],
    ]


def own_figures(shown: str) -> list[float]:
    """Return the column ``own``, by where its header stands."""
    _, header, *rows, _ = shown.split("\n")
    end = header.rindex("own") + len("own")
    begin = header.rindex("ms", 0, end) + len("ms")
    cells = [row[begin:end].strip().replace(",", "") for row in rows]
    return [float(cell) for cell in cells if cell]


@st.composite
def trees(draw: st.DrawFn) -> tuple[tuple[Node, ...], dict[str, float]]:
    moved: dict[str, float] = {}

    def siblings(depth: int) -> tuple[Node, ...]:
        made = []
        for _ in range(draw(st.integers(1 if depth < 2 else 0, 4 if depth < 3 else 0))):
            name = f"part {len(moved)}"
            # As read: also a little below zero where the rate at rest was taken off.
            moved[name] = draw(st.floats(-0.02, 1.2) | st.floats(-0.005, 0.005)) * 100 * MS
            beside = draw(st.booleans())
            made.append(timer(name, *siblings(depth + 1), beside=beside))
        return tuple(made)

    return siblings(0), moved


@settings(max_examples=150, deadline=None)
@given(made=trees(), mean_ns=st.floats(0.05, 2000).map(lambda ms: ms * MS))
def test_own_parts_and_the_rest_add_up_to_the_mean_in_what_is_shown(
    made: tuple[tuple[Node, ...], dict[str, float]], mean_ns: float
) -> None:
    tree, moved = made
    cost = filled("create-table", tree, moved, mean_ns)
    shown = cost_figures([cost])
    own = own_figures(shown)
    found = re.search(r"mean ([\d,]+(?:\.(\d+))?) ms", shown)
    assert found
    step = 10.0 ** -len(found[2] or "")
    assert abs(sum(own) - float(found[1].replace(",", ""))) <= (len(own) + 1) * step / 2 * 1.001
    assert shown.split("\n")[-2].startswith("not attributed")


def test_flat_costs_keep_their_table() -> None:
    costs = make_analysis().costs
    assert cost_figures(costs) == cost_table(costs)
    assert cost_figures(costs).startswith("| Statement ")
    assert "`own`" not in " ".join(cost_lines(costs))
    assert cost_findings(costs) == []


def test_the_largest_own_part_is_a_finding() -> None:
    costs = [deep("create-table"), deep("drop-table")]
    assert cost_findings(costs) == ["`create-table`: 304 of 449 ms (means) lie in implications."]
    # What it passes on to its own parts is not its own.
    held = timer("implications", timer("step"))
    moved = {"query": 440 * MS, "implications": 304 * MS, "step": 100 * MS}
    tree = (timer("query", held),)
    made = filled("create-table", tree, moved, 449 * MS)
    assert cost_findings([made]) == [
        "`create-table`: 304 of 449 ms (means) lie in implications, 204 ms of it its own."
    ]
    rest = filled("create-table", tree, moved, 900 * MS)
    assert cost_findings([rest])[0].endswith("its own; 460 ms are not attributed.")


def test_of_a_debug_build_the_nesting_alone_is_a_finding() -> None:
    costs = [deep("create-table"), deep("drop-table"), deep("alter-rename")]
    (said,) = cost_findings(costs, "debug build")
    assert said == (
        "Nested in `create-table` and `alter-rename`: query ⊃ execute ⊃ transact ⊃ catalog commit"
        " and 3 more."
    )


def test_where_the_host_took_the_time_away_nothing_is_a_finding() -> None:
    made = deep("create-table")
    waiting = Attributed(
        label="waiting for a CPU", ns=200 * MS, share=0.45, calls=None, self_ns=200 * MS,
        overlaps=True, nested=True, disturbs=True,
    )  # fmt: skip
    disturbed = msgspec.structs.replace(made, tree=(*made.tree, waiting))
    assert cost_findings([disturbed]) == []
    assert "waiting for a CPU*" in cost_figures([disturbed])


def warned(**warnings: tuple[str, ...]) -> Analysis:
    costs = tuple(
        msgspec.structs.replace(
            make_analysis().costs[0], statement=name.replace("_", "-"), warnings=said
        )
        for name, said in warnings.items()
    )
    cells = tuple(
        CellFinding(statement=each.statement, objects=1000, summary=None) for each in costs
    )
    return msgspec.structs.replace(make_analysis(compared=False), costs=costs, cells=cells)


def test_what_is_not_measured_is_one_line() -> None:
    # As the attribution says it, of a server that has none of the sheet's timers.
    sheet = target("materialize").cost_sheet("drop-view", "autocommit")
    delta = Delta(duration_ns=10**9, changes=(Change("mz_other", "ns", 1.0),))
    found = attribute(sheet, delta, statements=20, client_mean_ns=MS)
    assert len(found.warnings) > 10
    said = findings(warned(create_view=found.warnings, drop_view=found.warnings))
    (line,) = [each for each in said if "ot measured here" in each]
    assert line.startswith("Not measured here: query message, execute message, ")
    assert line.endswith(" (all statements).")
    assert not any(each.startswith("Costs of") for each in said)
    common = ("a: not measured here", "b: not measured here")
    said = findings(warned(x=(*common, "c: not measured here"), y=common, z=("odd",)))
    assert "Not measured here: a, b (`x` and `y`); c (`x`)." in said
    assert "Costs of `z`: odd." in said


@pytest.mark.parametrize("known", [2, 5])
def test_warnings_that_all_statements_share_name_none(known: int) -> None:
    said = findings(warned(**{f"s{number}": ("the server slept",) for number in range(known)}))
    assert "Costs of all statements: the server slept." in said
    assert "Costs of `s0`: the server slept." in findings(warned(s0=("the server slept",)))


@pytest.mark.parametrize(
    ("known", "said"), [(("a", "b"), "all statements"), ("abc", "`a` and `b`")]
)
def test_verdicts_that_all_statements_share_name_none(known: Sequence[str], said: str) -> None:
    alike = dict.fromkeys("ab", comparison(Verdict.INCONCLUSIVE, 0.9))
    cells = tuple(CellFinding(statement=each, objects=1, summary=None) for each in known)
    made = msgspec.structs.replace(make_analysis(cells=alike), cells=cells)
    assert f"Inconclusive, provisional: {said}." in findings(made)


def on_materialize() -> Run:
    """Return a run with a cost block of which each timer of create-table moved."""
    run = make_run(1, "20260218T090000-a")
    sheet = target("materialize").cost_sheet("create-table", "autocommit")
    names: dict[str, float] = {}

    def move(nodes: Sequence[Node], ns: float) -> None:
        for node in nodes:
            names.update(dict.fromkeys(node.time, ns) | dict.fromkeys(node.calls, 20.0))
            move(node.children, ns / 8)

    move(sheet.roots, 400_000.0 * 20)

    def at(moved: dict[str, float], taken_ns: int) -> object:
        series = tuple(Series(name, Kind.COUNTER, "ns", value) for name, value in moved.items())
        return msgspec.structs.replace(run.blocks[0].before, series=series, taken_ns=taken_ns)

    block: Block = msgspec.structs.replace(
        run.blocks[0],
        index=4,
        purpose="cost",
        statements=("create-table",),
        samples=tuple(Sample("create-table", turn, turn * 10, 1_000_000) for turn in range(20)),
        before=at(dict.fromkeys(names, 0.0), 0),
        after=at(names, 10**9),
    )
    return msgspec.structs.replace(run, target="materialize", blocks=(*run.blocks, block))


def test_an_entry_with_trees_is_verified_and_its_fence_ends(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    write_entry(workspace, 1, [on_materialize()])
    text = workspace.log.read_text()
    costs = text[text.index("**Costs**") : text.index("**Comparison**")]
    assert costs.count("```") == 2
    assert "\n```text\ncreate-table, mean 1.000 ms" in costs
    assert "\\* runs beside the other parts" in costs
    assert "Not attributed: the round trip" in costs
    assert "- `create-table`: 0." in text
    report = verify_log(workspace)
    assert (report.regions, report.verified, report.problems) == (7, 7, ())
    workspace.log.write_text(text.replace("└ ", "├ ", 1))
    assert {each.region for each in verify_log(workspace).problems} == {"costs"}
