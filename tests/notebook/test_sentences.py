"""The headline and the findings: what matters most, said in the same figures as the tables."""

from __future__ import annotations

import re

import msgspec
import pytest
from notebook_support import comparison, make_analysis, summary

from lab.measure.findings import Analysis, CellFinding, Difference
from lab.notebook.comparisons import comparison_remarks, comparison_table, verdict_text
from lab.notebook.sentences import findings, headline, medians
from lab.stats.summary import Comparison, Drift, Verdict

TABLE, DROP = "create-table", "drop-table"


def analysis(table: Comparison, drop: Comparison, **changes: object) -> Analysis:
    made = make_analysis(cells={TABLE: table, DROP: drop})
    assert made.comparison is not None
    compared = msgspec.structs.replace(made.comparison, **changes)
    return msgspec.structs.replace(made, comparison=compared)


def cell(verdict: Verdict, ratio: float, *reasons: str) -> Comparison:
    return msgspec.structs.replace(comparison(verdict, ratio), reasons=reasons)


SAME = cell(Verdict.NO_MEASURABLE_CHANGE, 1.0)


@pytest.mark.parametrize(
    ("table", "drop", "line"),
    [
        (
            SAME,
            SAME,
            "create-table 1.04 ms (95% 1.02 to 1.06, n=30) at 1,000 objects; "
            "no measurable change, provisional, since session 1",
        ),
        (
            SAME,
            cell(Verdict.REGRESSED, 1.5),
            "drop-table regressed, provisional: 1.04 → 1.56 ms (ratio 1.500, 95% 1.425 to 1.575)"
            " since session 1, at 1,000 objects",
        ),
        (
            cell(Verdict.IMPROVED, 0.5),
            cell(Verdict.REGRESSED, 1.5),
            "drop-table regressed, provisional: 1.04 → 1.56 ms (ratio 1.500, 95% 1.425 to 1.575); "
            "create-table improved, provisional: 1.04 → 0.520 ms (ratio 0.500, 95% 0.475 to 0.525)"
            " since session 1, at 1,000 objects",
        ),
        (
            cell(Verdict.IMPROVED, 0.9),
            cell(Verdict.IMPROVED, 0.5),
            "drop-table and 1 more improved, provisional: drop-table 1.04 → 0.520 ms"
            " (ratio 0.500, 95% 0.475 to 0.525) since session 1, at 1,000 objects",
        ),
        (
            SAME,
            cell(Verdict.INCONCLUSIVE, 0.99, "noisy host"),
            "drop-table 0.520 ms (95% 0.510 to 0.530, n=50) at 1,000 objects; "
            "drop-table inconclusive (noisy host), provisional, since session 1",
        ),
    ],
)
def test_the_headline_is_about_the_gravest_verdict(
    table: Comparison, drop: Comparison, line: str
) -> None:
    assert headline(analysis(table, drop)) == line


def test_an_interval_reads_alike_in_headline_and_table() -> None:
    made = analysis(SAME, cell(Verdict.REGRESSED, 1.2345))
    assert made.comparison is not None
    interval = re.search(r"95% ([\d.]+ to [\d.]+)", headline(made))
    assert interval is not None
    assert interval[1] in comparison_table(made.comparison)
    assert any(interval[1] in said for said in findings(made))


def test_one_boot_is_said_in_the_headline() -> None:
    assert headline(analysis(SAME, SAME, same_boot=True)).endswith("since session 1, on one boot")


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_verdict_can_be_said(verdict: Verdict) -> None:
    assert verdict.value in headline(analysis(cell(verdict, 1.1), cell(verdict, 1.2)))


def test_the_headline_names_what_prevents_a_comparison() -> None:
    one = (Difference("host.cores", "4", "2"),)
    line = headline(make_analysis(differences=one))
    assert line.startswith("create-table 1.04 ms (95% 1.02 to 1.06, n=30) at 1,000 objects; ")
    assert line.endswith("; not compared with session 1: host.cores differs")
    line = headline(make_analysis(differences=(*one, Difference("setting.fsync", "on", "off"))))
    assert line.endswith("host.cores and 1 more differ")
    reworded = analysis(SAME, SAME, cells={}, reworded=(TABLE,))
    assert headline(reworded).endswith("; nothing of it can be compared with session 1")


def only(*cells: CellFinding, void: str = "") -> Analysis:
    made = make_analysis(compared=False)
    return msgspec.structs.replace(made, cells=cells, costs=(), warnings=(), void=void)


def test_the_headline_of_a_small_cell_claims_no_interval() -> None:
    few = msgspec.structs.replace(summary(1e6, n=5), low_ns=None, high_ns=None)
    found = CellFinding(statement=TABLE, objects=1, summary=few)
    assert headline(only(found)) == "create-table 1.00 ms (n=5) at 1 object"


def test_void_is_said_before_any_figure() -> None:
    good = CellFinding(statement=TABLE, objects=1000, summary=summary(1e6))
    bad = CellFinding(statement=DROP, objects=1000, summary=summary(2e6), void="too many errors")
    assert headline(only()) == "nothing was measured"
    assert headline(only(good, void="the server was lost")) == (
        "the run is void: the server was lost"
    )
    assert headline(only(bad)) == "drop-table void at 1,000 objects: too many errors"
    assert headline(only(bad, good)).startswith("create-table 1.00 ms")
    # Neither stands among the medians of the change's description.
    assert medians(only(bad, good)) == "create-table 1.00 ms (0.980 to 1.02)"
    (said,) = findings(only(good, void="the server was lost"))
    assert said.startswith("Void, and compared with nothing: ")


def test_trends_and_modes_are_one_sentence_each() -> None:
    drifting = msgspec.structs.replace(summary(1e6), drift=Drift(total=-0.1234, p=1e-6))
    both = msgspec.structs.replace(drifting, drift=Drift(total=0.4, p=1e-3), modes_ns=(1e6, 3.4e6))
    made = only(
        CellFinding(statement=TABLE, objects=1, summary=drifting),
        CellFinding(statement=DROP, objects=1, summary=both),
    )
    _, trends, modes = findings(made)
    assert trends == (
        "Trend over the run (Mann–Kendall p < 0.01): `create-table` −12%, `drop-table` +40%."
    )
    assert modes == "More than one mode, which the median hides: `drop-table` at 1.00 and 3.40 ms."


def test_verdicts_say_why_they_claim_nothing() -> None:
    noisy = cell(Verdict.INCONCLUSIVE, 1.0, "trend", "noisy host")
    assert verdict_text(noisy) == "inconclusive (trend, noisy host), provisional"
    settled = msgspec.structs.replace(SAME, provisional=False)
    assert verdict_text(settled) == "no measurable change"
    said = findings(analysis(noisy, SAME))
    assert "Inconclusive (trend, noisy host), provisional: `create-table`." in said
    assert "No measurable change, provisional: `drop-table` (±3%)." in said


def remarks(**changes: object) -> str:
    return "\n".join(comparison_remarks(analysis(SAME, SAME, **changes)))


def test_the_comparison_itself_says_what_limits_it() -> None:
    assert "oisy" not in remarks()
    noisy = remarks(noisy=("the earlier run", "this run"))
    assert "**Noisy host:** something else disturbed the earlier run and this run" in noisy
    assert "**Same boot:**" in remarks(same_boot=True)
    assert "**Same boot:**" not in remarks()
    reworded = remarks(cells={TABLE: SAME}, reworded=(DROP,))
    assert "Not compared, since their SQL was another: `drop-table`." in reworded
    assert "Not measured before, or void then: `drop-table`." in remarks(cells={TABLE: SAME})
    trend = cell(Verdict.INCONCLUSIVE, 1.0, "trend")
    assert "Trend: while a side was measured" in remarks(cells={TABLE: trend, DROP: trend})
    block = cell(Verdict.INCONCLUSIVE, 1.0, "one block")
    assert "One block: neither side shows" in remarks(cells={TABLE: block})


def test_intervals_of_several_statements_are_said_to_hold_together() -> None:
    assert "hold for all statements together (Bonferroni)" in remarks()
    assert "Bonferroni" not in remarks(cells={TABLE: SAME})
    assert "A change counts from ±3%. " in remarks()
    wide = msgspec.structs.replace(SAME, margin=0.08)
    assert "counts from ±3% to ±8%, by statement" in remarks(cells={TABLE: SAME, DROP: wide})
