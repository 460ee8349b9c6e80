"""Figures of a debug build carry a mark; those of others look as they did."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from log_support import write_entry
from notebook_support import comparison, make_analysis, make_run

from lab.core.workspace import Workspace
from lab.measure.findings import Analysis, Difference, Measured, ReadingCost
from lab.measure.record import Block, Passport, Run, Sample
from lab.metrics.reading import Kind, Series
from lab.notebook.comparisons import comparison_remarks, comparison_table, in_words, verdict_text
from lab.notebook.costs import cost_lines, cost_table, reading_line
from lab.notebook.render import render_results
from lab.notebook.sentences import findings, headline, medians, tally
from lab.notebook.shapes import marked
from lab.notebook.verify import verify_log
from lab.notebook.views import results_table
from lab.stats.summary import Verdict

LEGEND = (
    "† debug build: these figures show shapes (what grows, what is nested), neither absolute"
    " latencies nor proportions"
)
DEBUG = {
    "build.profile": "debug",
    "build.self-checks": "on",
    "build.shapes-only": "debug build",
}
OPTIMIZED = {"build.profile": "optimized", "build.self-checks": "off"}
FLUSH = "subject.io.wal.normal.fsync_time"


def of_build(build: str, session: int, facts: dict[str, str], *, factor: float = 1.0) -> Run:
    """Return a run of a build, with a block for costs that the parts overfill."""
    run = make_run(session, f"20260218T09{session:02}00-{build}", factor=factor, **facts)
    noted = {**run.passport.noted, "build.id": build, "build.commit": "e7ac38b33"}
    passport = Passport(alike=run.passport.alike, noted=noted)
    return msgspec.structs.replace(run, passport=passport, blocks=(*run.blocks, costs(run)))


def costs(run: Run) -> Block:
    def at(ns: float, taken_ns: int) -> object:
        series = (Series(FLUSH, Kind.COUNTER, "ns", ns),)
        return msgspec.structs.replace(run.blocks[0].before, series=series, taken_ns=taken_ns)

    samples = tuple(Sample("create-table", turn, turn * 10, 1_000_000) for turn in range(20))
    return msgspec.structs.replace(
        run.blocks[0],
        index=4,
        purpose="cost",
        statements=("create-table",),
        samples=samples,
        before=at(0, 0),
        after=at(16_000_000, 10**9),
    )


def entries(root: Path, *runs: Run) -> tuple[Workspace, list[str]]:
    """Write an entry for each run; return their texts."""
    workspace = Workspace(root)
    for number, run in enumerate(runs, start=1):
        write_entry(workspace, number, [run])
    return workspace, workspace.log.read_text().split("\n### Session ")[1:]


def regions(text: str) -> str:
    """Return what an entry says between its regions' comments."""
    return "\n".join(re.findall(r"<!-- lab:derived .*? -->\n(.*?)<!-- /lab", text, re.DOTALL))


def test_every_figure_of_a_debug_build_is_marked(tmp_path: Path) -> None:
    workspace, (first, second) = entries(
        tmp_path, of_build("aa", 1, DEBUG), of_build("bb", 2, DEBUG, factor=0.8)
    )
    for text in (first, second):
        said = regions(text)
        assert not re.search(r"\d ms(?!†)", said)
        assert not re.search(r"\(ms\)(?!†)", said)
        assert "(ms)†" in said
        assert f"- {LEGEND}." in said
        costs_said = text[text.index("**Costs**") : text.index("**Comparison**")]
        assert "%" not in costs_said
        assert "largest part" not in costs_said
        assert "neither ranked nor given as shares" in costs_said
    assert "shapes-only" not in first
    assert verify_log(workspace).problems == ()


def test_nothing_of_another_build_is_marked(tmp_path: Path) -> None:
    _, (first, second) = entries(
        tmp_path, of_build("aa", 1, OPTIMIZED), of_build("bb", 2, OPTIMIZED, factor=0.8)
    )
    assert "†" not in first + second
    assert "takes 80% of `create-table`" in first


def test_two_debug_builds_get_a_verdict_that_is_marked_and_named(tmp_path: Path) -> None:
    _, (_, second) = entries(
        tmp_path, of_build("aa", 1, DEBUG), of_build("bb", 2, DEBUG, factor=0.8)
    )
    said = regions(second)
    assert re.search(
        r"\*\*`create-table` improved, provisional, debug build:\*\* 1\.0\d → 0\.8\d+ ms†", said
    )
    assert (
        "- Two builds: session 1 measured build `aa` (commit e7ac38b33), this one build `bb`"
        " (commit e7ac38b33)." in said
    )
    assert "† debug build: ratios are of like builds" in said


def test_debug_and_optimized_are_not_compared_and_the_debug_builds_are(tmp_path: Path) -> None:
    workspace, (_, second, third) = entries(
        tmp_path,
        of_build("aa", 1, DEBUG),
        of_build("bb", 2, OPTIMIZED, factor=0.2),
        of_build("cc", 3, DEBUG),
    )
    refusal = "Compared with nothing: session 1 measured a debug build, this one an optimized build"
    assert f"\n{refusal}. Where the passports differ (run `20260218T090100-aa`" in second
    assert f"- {refusal}; `build.self-checks` differs, too." in second
    assert "- At 1,000 objects, medians go from 0.104 ms" in second
    assert "improved" not in second
    assert "Against session 1 (run" in third
    assert "Session 2" not in third
    assert verify_log(workspace).problems == ()


def shaped(analysis: Analysis) -> Analysis:
    assert analysis.comparison is not None
    against = msgspec.structs.replace(analysis.comparison, shapes_only="debug build")
    return msgspec.structs.replace(analysis, shapes_only="debug build", comparison=against)


IMPROVED = {"create-table": comparison(Verdict.IMPROVED, 0.87)}


def test_the_headline_and_what_stands_in_messages_say_so() -> None:
    made = shaped(make_analysis(cells=IMPROVED))
    assert headline(made) == (
        "create-table improved, provisional, debug build: 1.04 → 0.905 ms† (ratio 0.870, 95% 0.827"
        " to 0.913) since session 1, at 1,000 objects († debug build: shapes only)"
    )
    assert tally(made) == "1 improved, debug build"
    assert medians(made).startswith("create-table 1.04 ms† (")
    assert findings(made)[-1] == f"{LEGEND}."


def test_the_headline_names_profiles_that_prevent_a_comparison() -> None:
    unlike = (Difference("build.profile", "debug", "optimized"), Difference("a", "1", "2"))
    assert headline(make_analysis(differences=unlike)).endswith(
        "; compared with nothing: session 1 measured a debug build, this one an optimized build"
    )
    assert tally(shaped(make_analysis(differences=unlike))) == ""


@pytest.mark.parametrize(
    ("differences", "words"),
    [
        ((Difference("host.cores", "2", "4"),), ""),
        ((Difference("build.profile", "", "debug"),), ""),
        (
            (Difference("mode", "autocommit", "transaction"),),
            "in autocommit mode, this one in transaction mode",
        ),
    ],
)
def test_only_what_has_words_is_put_into_words(
    differences: tuple[Difference, ...], words: str
) -> None:
    assert in_words(differences) == words


def test_a_settled_verdict_of_a_debug_build_is_provisional_all_the_same() -> None:
    settled = msgspec.structs.replace(comparison(Verdict.IMPROVED, 0.8), provisional=False)
    assert verdict_text(settled, "debug build") == "improved, provisional, debug build"


def test_tables_of_a_debug_build() -> None:
    made = shaped(make_analysis(cells=IMPROVED))
    assert made.comparison is not None
    assert "Median (ms)†" in results_table(made)
    assert "Before (ms)†" in comparison_table(made.comparison)
    table = cost_table(made.costs, made.shapes_only)
    assert "Mean (ms)†" in table
    assert "%" not in table
    assert "0.610" in table
    assert "54%" in cost_table(made.costs)
    assert not any("%" in line for line in cost_lines(made.costs, made.shapes_only))


def test_builds_are_named_where_there_are_several() -> None:
    made = make_analysis(cells=IMPROVED)
    assert made.comparison is not None
    assert not any("uild" in each for each in comparison_remarks(made))
    one, other = Measured(build="aa"), Measured(build="bb", commit="e7ac", dirty="9c1")

    def remark(*builds: Measured) -> str:
        against = msgspec.structs.replace(made.comparison, builds=builds)
        return comparison_remarks(msgspec.structs.replace(made, comparison=against))[0]

    stray = Measured(build="", version="v26.24 (e7ac)", commit="e7ac")
    assert remark(one, stray) == (
        "Two builds: session 1 measured build `aa`, this one a build that the lab does not keep,"
        " version v26.24 (e7ac)."
    )
    assert "One build" not in remark(stray, stray)
    assert remark(one, one) == "One build: both runs measured build `aa`."
    assert remark(one, other) == (
        "Two builds: session 1 measured build `aa`, this one build `bb` (commit e7ac*,"
        " changed since: 9c1)."
    )


def test_a_mark_stands_at_figures_alone_and_once() -> None:
    assert marked("1.2 ms and 3 ms†, in ms; 4 msec", "x") == "1.2 ms† and 3 ms†, in ms; 4 msec"
    assert marked("1.2 ms", "") == "1.2 ms"


def test_what_reading_the_counters_cost_is_said_where_it_is_much(tmp_path: Path) -> None:
    dear = ReadingCost(times=28, each_ns=2.1e8, bytes=3.9e6)
    assert reading_line(dear) == (
        "The server's counters were read 28 times, at 210 ms and 3.90 MB each (mean), outside of"
        " what is timed."
    )
    assert reading_line(ReadingCost(times=28, each_ns=4e6, bytes=0)) == ""
    assert reading_line(None) == ""
    run = of_build("aa", 1, OPTIMIZED)
    slow = [
        msgspec.structs.replace(
            block,
            before=msgspec.structs.replace(block.before, cost_ns=80_000_000),
            after=msgspec.structs.replace(block.after, cost_ns=80_000_000),
        )
        for block in run.blocks
    ]
    _, (text,) = entries(tmp_path, msgspec.structs.replace(run, blocks=tuple(slow)))
    costs_said = text[text.index("**Costs**") : text.index("**Comparison**")]
    assert "The server's counters were read 8 times, at 80.0 ms each (mean)" in costs_said


def in_transactions(run: Run) -> Run:
    blocks = tuple(
        msgspec.structs.replace(
            block,
            samples=tuple(
                msgspec.structs.replace(each, commit_ns=each.duration_ns // 4)
                for each in block.samples
            ),
        )
        for block in run.blocks
    )
    plan = msgspec.structs.replace(run.plan, mode="transaction")
    return msgspec.structs.replace(run, blocks=blocks, plan=plan)


def test_an_entry_in_mode_transaction_says_so_and_shows_the_commit(tmp_path: Path) -> None:
    made = in_transactions(make_run(1, "20260218T090000-a", mode="transaction"))
    workspace, (text,) = entries(tmp_path, made)
    row = next(line for line in text.split("\n") if line.startswith("| `create-table`"))
    assert row.rstrip("| ").endswith("25%")
    assert "COMMIT |" in text
    assert "**Target:** postgres, transaction mode, 1,000 user objects" in text
    assert "alone between BEGIN and COMMIT" in text
    assert verify_log(workspace).problems == ()
    write_entry(workspace, 2, [make_run(2, "20260218T100000-b")])
    second = workspace.log.read_text().split("\n### Session ")[2]
    assert "COMMIT" not in second
    assert "**Target:** postgres, autocommit mode" in second
    assert "session 1 measured in transaction mode, this one in autocommit mode" in second


def test_the_headline_of_a_run_in_transactions_names_the_mode() -> None:
    made = make_analysis(compared=False)
    cells = tuple(msgspec.structs.replace(each, mode="transaction") for each in made.cells)
    made = msgspec.structs.replace(made, cells=cells)
    assert headline(made).endswith("at 1,000 objects in transaction mode")
    assert "COMMIT" not in render_results(Workspace(Path()), made)


def test_counters_watched_at_rest_are_in_method_and_course(tmp_path: Path) -> None:
    run = of_build("aa", 1, OPTIMIZED)
    idle = msgspec.structs.replace(
        run.blocks[0], index=5, purpose="idle", statements=(), samples=(), duration_ns=5 * 10**9
    )
    _, (text,) = entries(tmp_path, msgspec.structs.replace(run, blocks=(*run.blocks, idle)))
    assert "3 blocks for latency, 1 at rest and 1 for costs" in text
    assert "within 5.0 s before that, is taken off the costs" in text
