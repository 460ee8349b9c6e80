"""Quantiles and the interval of the median, against tables, numpy and scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lab.stats.order import median_interval, median_rank, quantile

samples = st.lists(st.integers(min_value=0, max_value=10**12), min_size=1, max_size=250).map(sorted)


@pytest.mark.parametrize(
    ("n", "rank", "confidence"),
    [
        # Distribution-free intervals of the median, as in the tables of textbooks.
        (6, 1, 0.969),
        (7, 1, 0.984),
        (8, 1, 0.992),
        (9, 2, 0.961),
        (10, 2, 0.979),
        (11, 2, 0.988),
        (12, 3, 0.961),
        (15, 4, 0.965),
        (20, 6, 0.959),
        (25, 8, 0.957),
        (30, 10, 0.957),
        (50, 18, 0.967),
        (100, 40, 0.965),
    ],
)
def test_ranks_are_those_of_the_tables(n: int, rank: int, confidence: float) -> None:
    assert median_rank(n) == rank
    assert 1 - 2 * stats.binom.cdf(rank - 1, n, 0.5) == pytest.approx(confidence, abs=0.0006)


def test_ten_samples_are_bounded_by_the_second_and_the_ninth_at_97_85_percent() -> None:
    assert median_interval(list(range(1, 11))) == (2, 9)
    assert 1 - 2 * stats.binom.cdf(1, 10, 0.5) == pytest.approx(0.9785, abs=5e-5)


@pytest.mark.parametrize("n", range(6))
def test_below_six_samples_there_is_no_interval(n: int) -> None:
    assert median_interval(list(range(n))) is None


@pytest.mark.parametrize("n", [*range(6, 60), 199, 200, 1001, 5000])
def test_the_rank_is_the_largest_that_carries_95_percent(n: int) -> None:
    rank = median_rank(n)
    assert stats.binom.cdf(rank - 1, n, 0.5) <= 0.025
    assert stats.binom.cdf(rank, n, 0.5) > 0.025


@pytest.mark.parametrize("n", [6, 10, 20, 33, 200])
def test_the_interval_is_that_of_scipy(n: int) -> None:
    values = np.sort(np.random.default_rng(n).integers(1, 10**9, n))
    theirs = stats.quantile_test(values, p=0.5).confidence_interval(0.95)
    assert median_interval(values.tolist()) == (theirs.low, theirs.high)


# numpy reckons in floats, which hold these shares exactly; at others it may miss a step.
@given(samples, st.sampled_from([25, 50, 75]))
def test_quantiles_are_those_of_numpy(ordered: list[int], percent: int) -> None:
    expected = np.quantile(ordered, percent / 100, method="averaged_inverted_cdf")
    assert quantile(ordered, percent) == expected


@given(samples, st.integers(min_value=1, max_value=99))
def test_a_quantile_has_its_share_at_or_below_and_the_rest_at_or_above(
    ordered: list[int], percent: int
) -> None:
    value = quantile(ordered, percent)
    assert 100 * sum(sample <= value for sample in ordered) >= percent * len(ordered)
    assert 100 * sum(sample >= value for sample in ordered) >= (100 - percent) * len(ordered)
