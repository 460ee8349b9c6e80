"""The entry of a batch benchmark: what a reader finds in each section, and that it holds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from batch_support import CONSTANT, FAILURES, LINEAR, make_batch_analysis, make_batch_run
from notebook_support import comparison

from lab.core.workspace import Workspace
from lab.measure.findings import Analysis, ComparisonFinding, Difference, ShapeFinding
from lab.measure.record import Run
from lab.notebook import evidence
from lab.notebook.compose import compose
from lab.notebook.entry import Entry, MeasuredRun
from lab.notebook.regions import parse_regions
from lab.notebook.render import REGIONS, render_entry, render_message, render_results
from lab.notebook.sentences import headline, tally
from lab.notebook.views import measured_title
from lab.stats.summary import Verdict


def entry_of(workspace: Workspace, run: Run, analysis: Analysis) -> Entry:
    measured = MeasuredRun(
        file=evidence.write_run(workspace, run), run=run, analysis=analysis, earlier=None
    )
    return Entry(
        number=23,
        session="S23",
        title="Batches",
        date="2026-03-10",
        goal="What does a table cost in a batch?",
        runs=(measured,),
    )


def sections(tmp_path: Path, run: Run, **more: Any) -> dict[str, str]:
    text = render_entry(
        Workspace(tmp_path), entry_of(Workspace(tmp_path), run, make_batch_analysis(run, **more))
    )
    return {
        region.attributes["region"]: text[region.body_begin : region.body_end]
        for region in parse_regions(text)
    }


def row(text: str, first: str) -> list[str]:
    line = next(line for line in text.split("\n") if line.startswith(f"| {first} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_setup_and_method_say_what_was_measured_and_how(tmp_path: Path) -> None:
    made = sections(tmp_path, make_batch_run(sweep=(100, 1000, 3000)))
    assert "1,000 user objects (table 1,000)" in made["setup"]
    upstream = next(line for line in made["setup"].split("\n") if line.startswith("- **Upstream:"))
    assert "version 17.6" in upstream
    assert "columns `id int PRIMARY KEY, a int, b text`" in upstream
    assert upstream.endswith("int, b text`, `wal_level=logical`")
    method = made["method"]
    assert "CREATE TABLE … FROM SOURCE in transactions" in method
    assert "1, 5, 10, 25, 50, 100, 200, 300 and 500 statements, 3 repetitions of each" in method
    assert "random order within a repetition" in method
    assert "3,573 published tables" in method
    assert "BEGIN is in no figure. COMMIT is timed apart" in method
    assert "is shown as a failure and is never a sample" in method
    assert "That reading lies within the transaction:" in method
    assert "at 100, 1,000 and 3,000 published tables" in method
    assert "`CREATE TABLE ddl_lab_batch.bench_table_{i} FROM SOURCE" in method


def test_what_the_plan_says_is_not_said_twice_in_setup(tmp_path: Path) -> None:
    plan = {"batch.sizes": "1 5 10", "batch.repetitions": "3", "batch.cluster": "quickstart"}
    setup = sections(tmp_path, make_batch_run(**plan))["setup"]
    assert "cluster quickstart" in setup
    assert "sizes" not in setup


def test_results_have_both_tables_the_curve_and_the_fit(tmp_path: Path) -> None:
    results = sections(tmp_path, make_batch_run())["results"]
    one = row(results, "1")
    assert one[1:3] == ["3", "166"]
    assert one[3] == "160 to 172"
    assert one[5:] == ["23.0", "0"]
    assert row(results, "500")[2] == "324"
    assert row(results, "101 to 200")[1:] == ["900", "9", "233", "229 to 237"]
    assert "```text\nms by position: ● median of a range, · the fit (linear)\n" in results
    assert "98.2 ms + 0.900 ms · p (linear)" in results
    assert "a slope of 0.871 to 0.932 ms per position (95%)" in results
    assert "Seed 23; 27 transactions, within 1 boot of the server" in results
    assert "Failed" in results
    assert "**Failed**" not in results


def test_failures_are_shown_with_place_and_error_and_are_no_samples(tmp_path: Path) -> None:
    run = make_batch_run(failures=FAILURES)
    made = sections(tmp_path, run)
    assert row(made["results"], "300")[1] == "2"
    assert row(made["results"], "300")[-1] == "1"
    assert "size 300, repetition 2, at position 213." in made["results"]
    assert "size 500, repetition 1, at COMMIT." in made["results"]
    assert "another session modified the catalog" in made["results"]
    # What an error says can open no comment.
    assert "<!-- while" not in "".join(made.values())
    said = made["findings"]
    assert "**2 of 27 transactions failed,** and none of these is a sample:" in said
    assert "one of 500 at COMMIT (`COMMIT answered ROLLBACK`)" in said
    assert "2 of 27 transactions failed" in headline(make_batch_analysis(run))


def test_a_size_of_which_nothing_counts_is_named(tmp_path: Path) -> None:
    failures = tuple(
        msgspec.structs.replace(FAILURES[0], repetition=each, failed_at=0) for each in (1, 2, 3)
    )
    made = sections(tmp_path, make_batch_run(failures=failures))
    assert row(made["results"], "300")[1:4] == ["0", "–", "–"]
    assert "at BEGIN" in made["results"]
    assert "Nothing is known of transactions of 300" in made["findings"]


def test_many_failures_with_one_error_are_one_line(tmp_path: Path) -> None:
    sizes = (2, 3, 4, 5, 6)
    failures = tuple(
        msgspec.structs.replace(FAILURES[0], size=size, repetition=turn, failed_at=1)
        for size in sizes
        for turn in (1, 2, 3)
    )
    made = sections(tmp_path, make_batch_run(sizes=sizes, failures=failures), fit=None)
    lines = [line for line in made["results"].split("\n") if "**Failed**" in line]
    assert len(lines) == 1
    assert lines[0].endswith("and 7 more.")
    assert "No transaction counts" in made["findings"]
    assert "```" not in made["results"]


def test_costs_hold_the_tree_with_the_upstream_and_what_it_was_asked(tmp_path: Path) -> None:
    run = make_batch_run(sweep=(100, 1000, 3000), unknown=("SELECT a | b",))
    costs = sections(tmp_path, run)["costs"]
    tree = costs[costs.index("```text") : costs.index("\n```\n")]
    assert re.search(r"upstream, as seen from there +13\.2 +2\.5 +2 +6%", tree)
    assert re.search(r"├ publication +8\.1", tree)
    assert re.search(r"not attributed +49\.8 +49\.8 +23%", tree)
    assert "each with its share of COMMIT" in costs
    assert "of one kind in a row" not in costs
    assert row(costs, "publication") == ["publication", "2", "8.10", "6,000"]
    assert row(costs, "together") == ["together", "9.02", "10.4", "6,007"]
    assert "Connections opened upstream per statement: 2." in costs
    assert "1.12 ms for a new connection and 0.0415 ms for a round trip" in costs
    assert "Of no known kind, and counted under `other`: `SELECT a | b`." in costs
    assert row(costs, "3,000") == ["3,000", "60", "110", "11.0", "6,012"]


def test_costs_whose_parts_do_not_nest_are_a_tree_all_the_same(tmp_path: Path) -> None:
    run = make_batch_run()
    analysis = make_batch_analysis(run)
    flat = tuple(msgspec.structs.replace(node, children=()) for node in analysis.costs[0].tree)
    cost = msgspec.structs.replace(analysis.costs[0], tree=flat)
    workspace = Workspace(tmp_path)
    made = msgspec.structs.replace(analysis, costs=(cost,))
    text = render_entry(workspace, entry_of(workspace, run, made))
    assert re.search(r"upstream, as seen from there +13\.2 +2\.5 +2 +6%", text)
    assert "158 of 221 ms (means) lie in catalog transaction" in text


def test_where_the_host_took_the_time_no_part_is_called_the_largest(tmp_path: Path) -> None:
    run = make_batch_run()
    analysis = make_batch_analysis(run)
    cost = analysis.costs[0]
    waiting = msgspec.structs.replace(
        cost.tree[1], label="waiting for a CPU", ns=110.5e6, share=0.5, overlaps=True, disturbs=True
    )
    cost = msgspec.structs.replace(cost, tree=(*cost.tree, waiting))
    workspace = Workspace(tmp_path)
    made = msgspec.structs.replace(analysis, costs=(cost,))
    text = render_entry(workspace, entry_of(workspace, run, made))
    assert "- **Waiting for a CPU for 50% of the time**: the parts below contain that wait" in text
    assert "lie in catalog transaction" not in text


def test_a_part_in_which_nothing_happened_is_no_part(tmp_path: Path) -> None:
    run = make_batch_run()
    analysis = make_batch_analysis(run)
    cost = analysis.costs[0]
    idle = msgspec.structs.replace(
        cost.tree[1], label="snapshot", ns=0.0, share=0.0, calls=0.0, self_ns=0.0, overlaps=True
    )
    made = msgspec.structs.replace(
        analysis, costs=(msgspec.structs.replace(cost, tree=(*cost.tree, idle)),)
    )
    workspace = Workspace(tmp_path)
    assert "snapshot" not in render_entry(workspace, entry_of(workspace, run, made))


def test_without_sight_of_the_upstream_nothing_is_claimed_of_it(tmp_path: Path) -> None:
    made = sections(tmp_path, make_batch_run(), upstream=False)
    assert "What the upstream was asked could not be seen." in made["costs"]
    assert "Connections" not in made["costs"]
    assert "What the upstream was asked meanwhile is not known." in made["findings"]


def test_what_runs_beside_the_statements_is_in_no_sum(tmp_path: Path) -> None:
    run = make_batch_run()
    analysis = make_batch_analysis(run)
    assert analysis.batch is not None
    copies = ShapeFinding(label="snapshot", calls=1.0, ns=90e6, rows=5000)
    batch = msgspec.structs.replace(analysis.batch, shapes=(copies, *analysis.batch.shapes))
    workspace = Workspace(tmp_path)
    made = msgspec.structs.replace(analysis, batch=batch)
    text = render_entry(workspace, entry_of(workspace, run, made))
    assert row(text, "snapshot*")[1:] == ["1", "90.0", "5,000"]
    assert row(text, "together")[1:] == ["9.02", "10.4", "6,007"]
    assert "\\* snapshot: replication and initial copies" in text
    assert "Answering them takes 10.4 ms there, most of it for publication" in text


def test_an_upstream_that_could_not_be_probed_has_no_figures_of_a_probe(tmp_path: Path) -> None:
    run = make_batch_run()
    assert run.batch is not None
    probe = msgspec.structs.replace(run.batch.probe, connect_ns=(), round_trip_ns=())
    record = msgspec.structs.replace(run.batch, probe=probe)
    assert "probe" not in sections(tmp_path, msgspec.structs.replace(run, batch=record))["costs"]


CELLS = {
    "transaction of 10": comparison(Verdict.NO_MEASURABLE_CHANGE, 1.0),
    "transaction of 500": comparison(Verdict.IMPROVED, 0.4),
    "position 1": comparison(Verdict.INCONCLUSIVE, 0.98),
    "positions 2 to 10": comparison(Verdict.INCONCLUSIVE, 0.98),
    "positions 301 to 500": comparison(Verdict.IMPROVED, 0.3),
}


def compared(run: Run, **changes: Any) -> Analysis:
    finding = ComparisonFinding(session=22, run="20260309T000000-0", cells=CELLS)
    finding = msgspec.structs.replace(finding, **changes)
    return msgspec.structs.replace(make_batch_analysis(run), comparison=finding)


def test_two_runs_are_compared_by_size_and_by_position(tmp_path: Path) -> None:
    workspace, run = Workspace(tmp_path), make_batch_run(sizes=(1, 10, 500))
    analysis = compared(run)
    text = render_entry(workspace, entry_of(workspace, run, analysis))
    assert "| Size or position " in text
    found = row(text, "transaction of 500")
    assert found[1:5] == ["improved, provisional", "1.04", "0.416", "0.400"]
    assert (
        "the intervals hold for all sizes together, and for all positions together (Bonferroni)"
        in text
    )
    assert "What varies from transaction to transaction is in them." in text
    assert "Not measured before, or void then: transaction of 1." in text
    improved = "**Improved, provisional:** transaction of 500, 1.04 → 0.416 ms, −60%; positions 301"
    assert improved in text
    assert "No measurable change, provisional (±3%): transaction of 10." in text
    assert "Inconclusive, provisional: positions 1 and 2 to 10." in text
    # What changed comes first, then what a table costs now.
    assert text.index(improved) < text.index("a table in a transaction of 1")
    assert tally(analysis) == "2 improved, 2 inconclusive, 1 no measurable change"
    assert headline(analysis) == (
        "positions 301 to 500 and 1 more improved, provisional: positions 301 to 500 1.04 → 0.312"
        " ms (ratio 0.300, 95% 0.285 to 0.315) since session 22"
    )


def test_unlike_passports_are_named_and_the_costs_are_said_all_the_same(tmp_path: Path) -> None:
    workspace, run = Workspace(tmp_path), make_batch_run()
    unlike = (Difference("upstream.tables", "3000", "3600"),)
    analysis = compared(run, cells={}, differences=unlike)
    text = render_entry(workspace, entry_of(workspace, run, analysis))
    assert "Not compared with session 22: `upstream.tables` differs." in text
    assert "No cell could be measured" not in text
    assert "costs 166 ms" in text
    assert "upstream.clean" not in text
    message = render_message(workspace, "change", entry_of(workspace, run, analysis), "x")
    assert "intervals). Not compared with session 22, since" in " ".join(message.split())


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("", "4", "there was no source before; `upstream.clean` takes the source away"),
        ("4", "", "there was a source before; `upstream.connect` makes one"),
        ("9", "4", "with the tables made from it; `upstream.connect` makes it anew."),
    ],
)
def test_a_source_that_one_side_lacks_is_named_with_what_mends_it(
    tmp_path: Path, before: str, after: str, words: str
) -> None:
    workspace, run = Workspace(tmp_path), make_batch_run()
    unlike = (Difference("objects.upstream", before, after),)
    analysis = compared(run, cells={}, differences=unlike)
    text = render_entry(workspace, entry_of(workspace, run, analysis))
    assert "- `objects.upstream`: " in text
    assert words in text
    assert words in render_results(workspace, analysis)


@pytest.mark.parametrize("differences", [(), (Difference("upstream.tables", "3", "4"),)])
def test_a_run_that_belongs_to_no_session_is_called_one_kept_aside(
    tmp_path: Path, differences: tuple[Difference, ...]
) -> None:
    workspace, run = Workspace(tmp_path), make_batch_run(sizes=(1, 10, 500))
    changes = {"cells": {}, "differences": differences} if differences else {}
    analysis = compared(run, session=0, **changes)
    said = render_results(workspace, analysis) + headline(analysis)
    assert "Against the run kept aside:" in said
    assert "session 0" not in said.lower()
    table = "| The run kept aside " if differences else "since the run kept aside"
    assert table in said


@pytest.mark.parametrize("kind", ["change", "prompt", "log"])
def test_messages_are_whole(tmp_path: Path, kind: str) -> None:
    workspace, run = Workspace(tmp_path), make_batch_run()
    entry = entry_of(workspace, run, make_batch_analysis(run))
    message = render_message(workspace, kind, entry, headline(entry.runs[0].analysis))
    joined = " ".join(message.split())
    assert all(len(line) <= 72 for line in message.split("\n"))
    if kind == "change":
        assert "Measured on postgres at 1,000 objects: create-table-from-source takes" in joined
        assert "166 ms (160 to 172) in transactions of 1, 114 ms (" in joined
        assert "(geometric means of the repetitions with 95% intervals)" in joined
    if kind == "prompt":
        assert "grows by 0.900 ms per position, so O(n²)." in joined


def test_a_single_repetition_has_no_interval_anywhere(tmp_path: Path) -> None:
    workspace, run = Workspace(tmp_path), make_batch_run(repetitions=1, slope_ns=0)
    analysis = make_batch_analysis(run, fit=CONSTANT)
    entry = entry_of(workspace, run, analysis)
    text = render_entry(workspace, entry)
    assert "; fewer than three repetitions carry no interval (n = 1)." in text
    assert "Fewer than three repetitions carry no interval." in text
    message = " ".join(render_message(workspace, "change", entry, "x").split())
    assert "(single repetitions, which carry no interval)" in message


def test_the_cost_of_a_table_and_the_total_are_one_quantity(tmp_path: Path) -> None:
    run = make_batch_run(sizes=(1, 5), repetitions=3)
    assert run.batch is not None
    # Uneven repetitions, whose median and geometric mean are far apart.
    uneven = tuple(
        msgspec.structs.replace(batch, commit_ns=batch.commit_ns * 10 ** (batch.repetition // 3))
        for batch in run.batch.batches
    )
    record = msgspec.structs.replace(run.batch, batches=uneven)
    results = sections(tmp_path, msgspec.structs.replace(run, batch=record))["results"]
    one, five = row(results, "1"), row(results, "5")
    assert one[4] == one[2]
    assert abs(float(five[4]) / float(five[2]) - 5) < 0.05
    assert "Both are geometric means of the n repetitions that count" in results


def test_the_object_count_is_that_of_user_objects(tmp_path: Path) -> None:
    run = make_batch_run(**{"objects.upstream": "4"})
    setup = sections(tmp_path, run)["setup"]
    assert "1,000 user objects (table 1,000) and 4 that read an upstream" in setup
    assert measured_title(run).endswith("on postgres at 1,000 objects")


@pytest.mark.parametrize(("target", "number"), [("postgres", 1), ("materialize", 123)])
def test_without_a_goal_the_title_fits_a_changes_first_line(
    tmp_path: Path, target: str, number: int
) -> None:
    workspace = Workspace(tmp_path)
    run = msgspec.structs.replace(make_batch_run(number), target=target)
    file = evidence.write_run(workspace, run)
    entry, _ = compose(
        workspace, number=number, session="S", goal="", date="", runs=[file], notes=()
    )
    assert entry.title == f"Batches of create-table-from-source on {target}"
    for kind in ("change", "log"):
        subject = render_message(workspace, kind, entry, "x").partition("\n")[0]
        assert subject.lower().endswith(f"session {number}: {entry.title}".lower())


def test_figures_that_show_shapes_alone_are_marked_and_set_in_no_proportion(tmp_path: Path) -> None:
    workspace, run = Workspace(tmp_path), make_batch_run(sweep=(100, 3000))
    analysis = make_batch_analysis(run, shapes_only="debug build")
    text = render_entry(workspace, entry_of(workspace, run, analysis))
    body = text.split("**Results**")[1]
    assert not re.search(r"\d ms(?!†)", body)
    assert "Per table (ms)†" in body
    assert "ms† by position" in body
    assert "† debug build: these figures show shapes" in body
    findings = body.split("**Findings**")[1]
    assert "O(n²)" in findings
    assert "times that" not in findings
    assert "%" not in findings.replace("95%", "")
    assert headline(analysis).endswith("(† debug build: shapes only)")


def test_a_void_run_says_so(tmp_path: Path) -> None:
    workspace, run = Workspace(tmp_path), make_batch_run(void="the server was lost")
    analysis = make_batch_analysis(run)
    text = render_entry(workspace, entry_of(workspace, run, analysis))
    assert "**This run is void:** the server was lost." in text
    assert "Void, and compared with nothing." in text
    assert headline(analysis) == "the run is void: the server was lost"


def test_what_was_not_carried_out_or_does_not_count_is_told(tmp_path: Path) -> None:
    run = make_batch_run()
    analysis = make_batch_analysis(run)
    assert analysis.batch is not None
    batch = msgspec.structs.replace(
        analysis.batch, carried_out=20, void=("2 × the server was restarted",)
    )
    workspace = Workspace(tmp_path)
    made = msgspec.structs.replace(analysis, batch=batch)
    text = render_entry(workspace, entry_of(workspace, run, made))
    assert "Carried out: 20 of the 27 transactions planned." in text
    assert "**Void:** 2 × the server was restarted." in text
    assert "Failed or void" in text
    assert "7 of 27 transactions were not carried out." in text


@pytest.mark.parametrize("failures", [(), FAILURES])
def test_markdown_is_whole(tmp_path: Path, failures: tuple[Any, ...]) -> None:
    workspace = Workspace(tmp_path)
    run = make_batch_run(failures=failures, sweep=(100, 3000), unknown=("a | b\n### c",))
    text = render_entry(workspace, entry_of(workspace, run, make_batch_analysis(run)))
    lines = text.split("\n")
    assert [each.attributes["region"] for each in parse_regions(text)] == [*REGIONS, "evidence"]
    assert "\n\n\n" not in text
    assert not any(line != line.rstrip() for line in lines)
    assert sum(line.startswith("```") for line in lines) % 2 == 0
    assert sum(line.startswith("###") for line in lines) == 1
    previous = ""
    columns = 0
    for line in lines:
        if line.startswith("|"):
            count = line.replace("\\|", "").count("|")
            # A table stands apart from what is around it, and each row has all columns.
            first = previous == "" or previous.startswith("<!-- lab:derived ")
            assert first or count == columns
            columns = count
        else:
            assert not previous.startswith("|") or line == "" or line.startswith("<!-- /lab:")
        previous = line


def test_results_on_a_terminal(tmp_path: Path) -> None:
    run = make_batch_run()
    text = render_results(Workspace(tmp_path), make_batch_analysis(run, fit=LINEAR))
    assert "```" not in text
    assert "**" not in text
    assert "ms by position" in text
    assert "| 301 to 500 " in text
    assert "a transaction of n statements costs O(n²)" in text


def test_it_is_the_same_each_time(tmp_path: Path) -> None:
    run = make_batch_run(failures=FAILURES, sweep=(100, 3000))
    assert sections(tmp_path, run) == sections(
        tmp_path, make_batch_run(failures=FAILURES, sweep=(100, 3000))
    )
