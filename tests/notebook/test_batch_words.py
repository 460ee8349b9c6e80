"""How the cost by position is named, and what is said where it cannot be known well."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from batch_support import CONSTANT, FAILURES, LINEAR, make_batch_analysis, make_batch_run

from lab.measure.findings import BatchFinding
from lab.notebook.batch_sentences import batch_findings, batch_means
from lab.notebook.sentences import headline
from lab.stats.positions import PositionFit, Shape

RUN = make_batch_run()


def finding(fit: PositionFit | None, **changes: Any) -> BatchFinding:
    batch = make_batch_analysis(RUN, fit=fit).batch
    assert batch is not None
    return msgspec.structs.replace(batch, **changes)


def said(fit: PositionFit | None, word: str, **changes: Any) -> str:
    return next(each for each in batch_findings(finding(fit, **changes)) if word in each)


def test_costs_are_given_for_the_smallest_the_largest_and_the_cheapest_size() -> None:
    assert batch_findings(finding(LINEAR))[0] == (
        "`create-table-from-source` costs 166 ms (95% 160 to 172) a table in a transaction of 1,"
        " 324 ms (95% 323 to 324) in one of 500; least in one of 10, 110 ms (95% 109 to 111)."
    )


def test_a_linear_growth_is_named_as_a_replay() -> None:
    assert said(LINEAR, "by position") == (
        "**Linear by position** (2 to 500). A statement's cost grows by 0.900 ms per position"
        " (95% 0.871 to 0.932): a transaction of n statements costs O(n²), as where each statement"
        " carries out those before it anew. By the fit a statement takes 100 ms at position 2 and"
        " 548 ms at position 500, 5.5 times that."
    )


def test_a_constant_cost_is_named_with_what_could_have_been_seen() -> None:
    assert said(CONSTANT, "by position") == (
        "**Constant by position** (2 to 500): a transaction of n statements costs O(n). A slope"
        " from 0.0110 ms per position on would have been told from none."
    )


def test_a_constant_cost_that_could_hide_a_slope_says_so() -> None:
    coarse = msgspec.structs.replace(CONSTANT, detectable_ns=0.1e6)
    text = said(coarse, "Constant by position")
    assert "**That is coarse:** up to 49.8 ms, 51% more at position 500 could hide" in text
    unproportioned = batch_findings(finding(coarse), "debug build")[1]
    assert "up to 49.8 ms at position 500" in unproportioned


def test_a_quadratic_growth_is_of_the_third_order() -> None:
    fit = msgspec.structs.replace(
        LINEAR, shape=Shape.QUADRATIC, slope_ns=0.0, curvature_ns=2_000.0, growth=6.1
    )
    text = said(fit, "by position")
    assert text.startswith("**Quadratic by position** (2 to 500).")
    assert "by 0.00200 ms · p²" in text
    assert "a transaction of n statements costs O(n³)." in text
    assert "598 ms at position 500" in text


@pytest.mark.parametrize(
    ("low_ns", "high_ns", "words"),
    [
        (-0.06e6, -0.04e6, "later statements are cheaper: the slope is −0.0600 to −0.0400 ms per"),
        (0.005e6, 0.009e6, "What slope there is, 0.00500 to 0.00900 ms per position, adds little."),
    ],
)
def test_a_slope_that_makes_no_order_is_told_all_the_same(
    low_ns: float, high_ns: float, words: str
) -> None:
    fit = msgspec.structs.replace(CONSTANT, slope_low_ns=low_ns, slope_high_ns=high_ns)
    text = said(fit, "by position")
    assert "a transaction of n statements costs O(n)." in text
    assert words in text
    assert "coarse" not in text


def test_too_few_positions_have_no_shape() -> None:
    assert said(None, "position").startswith("How the cost depends on the position cannot be said")
    assert headline(make_batch_analysis(RUN, fit=None)) == (
        "create-table-from-source 166 ms a table in a transaction of 1, 324 ms in one of 500"
    )


def test_the_headline_names_size_and_shape() -> None:
    assert headline(make_batch_analysis(RUN)) == (
        "create-table-from-source 166 ms a table in a transaction of 1, 324 ms in one of 500;"
        " grows by 0.900 ms per position, so O(n²)"
    )
    assert headline(make_batch_analysis(RUN, fit=CONSTANT)).endswith(
        "constant by position, so O(n)"
    )


@pytest.mark.parametrize(
    ("connections", "words"),
    [
        (None, "queries. Answering"),
        (0.0, "queries. Answering"),
        (0.049, "queries. Answering"),
        (0.5, "queries and opens 0.500 connections to it."),
        (0.981, "queries and opens one connection to it."),
        (1.019, "queries and opens one connection to it."),
        (1.1, "queries and opens 1.10 connections to it."),
        (2.0, "queries and opens 2 connections to it."),
    ],
)
def test_connections_are_counted_where_there_are_any(connections: float | None, words: str) -> None:
    assert words in said(LINEAR, "asks the upstream", connections=connections)


@pytest.mark.parametrize(
    ("repetitions", "count", "means"),
    [
        (1, "(n = 1)", "single repetitions, which carry no interval"),
        (2, "(n = 2)", "geometric means of 2 repetitions, too few for an interval"),
    ],
)
def test_few_repetitions_are_counted(repetitions: int, count: str, means: str) -> None:
    batch = make_batch_analysis(make_batch_run(repetitions=repetitions)).batch
    assert batch is not None
    costs = batch_findings(batch)[0]
    assert costs.endswith(f"; fewer than three repetitions carry no interval {count}.")
    assert batch_means(batch) == means


def test_sizes_that_lost_repetitions_have_means_without_intervals() -> None:
    lost = (FAILURES[0], msgspec.structs.replace(FAILURES[0], size=5))
    some = make_batch_analysis(make_batch_run(failures=lost)).batch
    fewer = make_batch_analysis(
        make_batch_run(sizes=(1, 5), repetitions=2, failures=lost[1:])
    ).batch
    assert some is not None
    assert fewer is not None
    assert batch_means(some).endswith("with 95% intervals where these are three or more")
    assert "no interval" not in batch_findings(some)[0]
    assert batch_means(fewer) == "geometric means of 1 to 2 repetitions, too few for an interval"


def test_the_first_statement_is_set_against_the_next() -> None:
    said_first = said(LINEAR, "The first statement")
    assert "143 ms (median), 39.6 ms more than the median at positions 2 to 10;" in said_first
    alike = said(LINEAR, "The first statement", first_ns=101e6)
    assert alike == (
        "The first statement of a transaction takes 101 ms (median); it is not in the fit."
    )
    assert "83.1 ms less than" in said(LINEAR, "The first statement", first_ns=20e6)
    alone = said(LINEAR, "The first statement", bins=finding(LINEAR).bins[:1])
    assert alone.endswith("143 ms (median); it is not in the fit.")


@pytest.mark.parametrize(
    ("rows", "upstream_ns", "named"),
    [
        ((212, 6012), (2e6, 11e6), "Grows with the published tables"),
        ((12, 12), (2e6, 11e6), "Takes longer with more published tables, for as many rows"),
        ((12, 12), (2e6, 2.1e6), "No growth seen with the published tables"),
    ],
)
def test_growth_with_the_published_tables_is_named(
    rows: tuple[float, float], upstream_ns: tuple[float, float], named: str
) -> None:
    swept = make_batch_analysis(make_batch_run(sizes=(1,), sweep=(100, 3000))).batch
    assert swept is not None
    sweep = tuple(
        msgspec.structs.replace(each, rows=count, upstream_ns=ns)
        for each, count, ns in zip(swept.sweep, rows, upstream_ns, strict=True)
    )
    text = said(LINEAR, "from 100 to 3,000", sweep=sweep)
    assert text.startswith(f"**{named}:** from 100 to 3,000 of them")
    assert "101 → 110 ms" in text


def test_one_number_of_published_tables_is_no_sweep() -> None:
    batch = make_batch_analysis(make_batch_run(sweep=(100,))).batch
    assert batch is not None
    assert not any("published tables:" in each for each in batch_findings(batch))


def test_what_the_upstream_answers_is_summed_up() -> None:
    assert said(LINEAR, "asks the upstream") == (
        "On average a statement asks the upstream 9.02 queries and opens 2 connections to it."
        " Answering them takes 10.4 ms there, most of it for publication, and returns 6,007 rows,"
        " with 3,600 tables published."
    )
