"""Drift: the trend tests against scipy, false alarms and power by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lab.stats.cell import summarize
from lab.stats.drift import find_drift, mann_kendall, theil_sen

series = st.lists(st.integers(min_value=0, max_value=10**12), min_size=3, max_size=60)
tied_series = st.lists(st.integers(min_value=0, max_value=5), min_size=3, max_size=60)


def noise(rng: np.random.Generator, n: int, sigma: float, memory: float = 0.0) -> np.ndarray:
    """Return 1 ms with noise of which each sample passes on the share ``memory``."""
    shocks = rng.standard_normal(n) * math.sqrt(1 - memory**2)
    shocks[0] /= math.sqrt(1 - memory**2)
    for i in range(1, n):
        shocks[i] += memory * shocks[i - 1]
    return 1e6 * np.exp(sigma * shocks)


@given(st.one_of(series, tied_series))
def test_mann_kendall_is_kendalls_tau_against_time(values: list[int]) -> None:
    p = mann_kendall(values)
    if len(set(values)) == 1:
        assert p == 1
        return
    theirs = stats.kendalltau(np.arange(len(values)), values, method="asymptotic")
    pairs = math.comb(len(values), 2)
    untied = pairs - sum(math.comb(values.count(value), 2) for value in set(values))
    score = abs(round(theirs.statistic * math.sqrt(pairs * untied)))
    # scipy leaves out the continuity correction, which takes one from the score.
    z = stats.norm.isf(theirs.pvalue / 2) * max(score - 1, 0) / max(score, 1)
    assert p == pytest.approx(2 * stats.norm.sf(z), rel=1e-6)


@given(st.one_of(series, tied_series))
def test_theil_sen_is_scipys(values: list[int]) -> None:
    assert theil_sen(values) == pytest.approx(stats.theilslopes(values).slope)


def test_a_straight_line_is_drift_of_its_own_size() -> None:
    drift = summarize([1000 + 10 * i for i in range(21)]).drift
    assert drift is not None
    # From 1000 to 1200; the curve that is fitted is a little steeper at its beginning.
    assert drift.total == pytest.approx(0.2, abs=0.005)
    assert drift.p < 1e-9


def test_the_direction_is_kept() -> None:
    drift = summarize([1200 - 10 * i for i in range(21)]).drift
    assert drift is not None
    assert drift.total == pytest.approx(-200 / 1200, abs=0.005)


@given(st.lists(st.integers(min_value=0, max_value=10**12), min_size=10, max_size=60))
def test_no_latency_falls_by_all_of_itself_or_more(values: list[int]) -> None:
    for order in (values, sorted(values), sorted(values, reverse=True)):
        drift = find_drift(order)
        assert drift is None or drift.total > -1


def test_a_steep_fall_is_its_own_share() -> None:
    drift = find_drift([round(1e6 * 0.9**i) for i in range(30)])
    assert drift is not None
    assert drift.total == pytest.approx(0.9**29 - 1, abs=1e-3)


@given(st.lists(st.integers(min_value=1, max_value=10**9), min_size=10, max_size=40))
def test_there_and_back_is_nothing(values: list[int]) -> None:
    forth, back = find_drift(values), find_drift(values[::-1])
    # The threshold of 3% is one up and another down, so only a clear trend is seen both ways.
    if forth is not None and back is not None:
        assert (1 + forth.total) * (1 + back.total) == pytest.approx(1)


@pytest.mark.parametrize(
    "durations",
    [
        pytest.param([1000 + 10 * i for i in range(9)], id="nine samples"),
        pytest.param([100_000 + 100 * i for i in range(21)], id="2% in all"),
        pytest.param([1000] * 50, id="constant"),
        pytest.param([0] * 30 + [1] * 20, id="median zero"),
    ],
)
def test_no_drift_is_named(durations: list[int]) -> None:
    assert summarize(durations).drift is None


@pytest.mark.parametrize(
    ("n", "sigma", "memory", "tick", "most"),
    [
        (30, 0.2, 0, 1, 0.025),
        (100, 0.2, 0, 1, 0.025),
        (60, 0.1, 0, 50_000, 0.025),
        # Independent samples are what the test assumes; what neighbours share raises its alarms.
        (100, 0.03, 0.4, 1, 0.06),
    ],
    ids=["few", "many", "coarse clock", "autocorrelated"],
)
def test_false_alarms_are_rare(n: int, sigma: float, memory: float, tick: int, most: float) -> None:
    rng = np.random.default_rng(21)
    trials = 300
    alarms = 0
    for _ in range(trials):
        ticks = np.round(noise(rng, n, sigma, memory) / tick).astype(int)
        durations = (ticks * tick).tolist()
        alarms += find_drift(durations) is not None
    assert alarms / trials <= most


def test_a_real_drift_is_found() -> None:
    rng = np.random.default_rng(22)
    ramp = np.linspace(1, 1.15, 60)
    found = [summarize((noise(rng, 60, 0.05) * ramp).astype(int).tolist()).drift for _ in range(60)]
    totals = [drift.total for drift in found if drift is not None]
    assert len(totals) >= 57
    assert np.median(totals) == pytest.approx(0.15, abs=0.02)
