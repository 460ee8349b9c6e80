"""One cell in figures: what it says, what it withholds, and whether the interval keeps its word."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.stats.cell import is_precise, summarize
from lab.stats.order import median_interval

cells = st.lists(st.integers(min_value=0, max_value=10**12), min_size=1, max_size=120)


def lognormal(rng: np.random.Generator, n: int, sigma: float = 0.5) -> list[int]:
    return np.round(1e6 * np.exp(sigma * rng.standard_normal(n))).astype(int).tolist()


def covers(durations: list[int]) -> bool:
    """Return whether the interval holds the true median of the lognormal cells, 1 ms."""
    interval = median_interval(sorted(durations))
    assert interval is not None
    return interval[0] <= 1e6 <= interval[1]


def test_a_small_cell_by_hand() -> None:
    summary = summarize([5, 1, 4, 2, 3, 100])
    assert (summary.n, summary.min_ns, summary.max_ns) == (6, 1, 100)
    assert summary.median_ns == 3.5
    assert (summary.low_ns, summary.high_ns) == (1, 100)
    assert summary.spread_ns == 5 - 2
    assert (summary.p90_ns, summary.drift, summary.modes_ns) == (None, None, ())


def test_one_sample_is_a_cell_without_interval() -> None:
    summary = summarize([7])
    assert (summary.median_ns, summary.spread_ns, summary.low_ns, summary.high_ns) == (
        7,
        0,
        None,
        None,
    )


def test_no_sample_is_no_cell() -> None:
    with pytest.raises(ValueError, match="without samples"):
        summarize([])


@pytest.mark.parametrize(
    ("n", "given_percentiles"),
    [(49, 0), (50, 1), (99, 1), (100, 2), (499, 2), (500, 3)],
)
def test_percentiles_appear_where_n_carries_them(n: int, given_percentiles: int) -> None:
    summary = summarize(np.random.default_rng(1).permutation(n).tolist())
    figures = [summary.p90_ns, summary.p95_ns, summary.p99_ns]
    assert [figure is not None for figure in figures] == [i < given_percentiles for i in range(3)]
    assert all(figure < summary.max_ns for figure in figures if figure is not None)


def test_percentiles_of_the_first_hundred_numbers() -> None:
    summary = summarize(list(range(1, 101)))
    assert (summary.p90_ns, summary.p95_ns) == (90.5, 95.5)


@given(cells)
def test_figures_are_in_order(durations: list[int]) -> None:
    summary = summarize(durations)
    assert summary.min_ns <= summary.median_ns <= summary.max_ns
    assert summary.spread_ns >= 0
    if summary.low_ns is not None and summary.high_ns is not None:
        assert summary.min_ns <= summary.low_ns <= summary.median_ns
        assert summary.median_ns <= summary.high_ns <= summary.max_ns
    else:
        assert summary.n < 6


@given(cells, st.sampled_from([2, 3, 1000]))
def test_the_unit_does_not_matter(durations: list[int], factor: int) -> None:
    before, after = summarize(durations), summarize([factor * d for d in durations])
    assert after.median_ns == pytest.approx(factor * before.median_ns)
    assert after.spread_ns == pytest.approx(factor * before.spread_ns)
    assert (after.low_ns, after.high_ns) == (
        (None, None)
        if before.low_ns is None or before.high_ns is None
        else (factor * before.low_ns, factor * before.high_ns)
    )


@given(cells, st.randoms(use_true_random=False))
def test_only_drift_depends_on_the_order(durations: list[int], random: Random) -> None:
    shuffled = list(durations)
    random.shuffle(shuffled)
    one, other = summarize(durations), summarize(shuffled)
    for field in set(one.__struct_fields__) - {"drift"}:
        assert getattr(one, field) == getattr(other, field)


@pytest.mark.parametrize("n", [10, 20, 30, 100])
def test_the_interval_covers_the_median_of_skewed_cells(n: int) -> None:
    rng = np.random.default_rng(n)
    trials = 1000
    covered = sum(covers(lognormal(rng, n, sigma=1.0)) for _ in range(trials))
    # The binomial makes it 97.9% at n = 10, and 95 to 97% above.
    assert 0.93 <= covered / trials <= (0.99 if n == 10 else 0.98)


def test_stopping_when_precise_leaves_the_interval_its_coverage() -> None:
    rng = np.random.default_rng(8)
    trials = 400
    covered, lengths = 0, []
    for _ in range(trials):
        durations = lognormal(rng, 200, sigma=0.12)
        n = next((n for n in range(20, 200, 10) if is_precise(durations[:n], 0.03)), 200)
        covered += covers(durations[:n])
        lengths.append(n)
    assert 20 < np.median(lengths) < 200
    assert 0.92 <= covered / trials <= 0.98


@pytest.mark.parametrize(
    ("durations", "precision", "precise"),
    [
        ([], 0.03, False),
        ([100] * 5, 0.03, False),
        ([100] * 6, 0.0, True),
        ([0] * 6, 0.03, True),
        ([97, 100, 100, 100, 100, 103], 0.03, True),
        ([96, 100, 100, 100, 100, 103], 0.03, False),
        ([97, 100, 100, 100, 100, 104], 0.03, False),
        # The interval of ten leaves out the extremes.
        ([1, *[100] * 8, 10_000], 0.03, True),
    ],
)
def test_precise_is_an_interval_within_bounds(
    durations: list[int], precision: float, precise: bool
) -> None:
    assert is_precise(durations, precision) is precise
