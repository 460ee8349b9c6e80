"""Modes: the dip against its definition, false alarms and power by simulation."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from lab.stats.dip import dip
from lab.stats.modes import find_modes

Sampler = Callable[[np.random.Generator, int], np.ndarray]


def nearest_unimodal(x: list[float]) -> float:
    """Return the dip by its definition: the nearest unimodal distribution, by linear programming.

    The unknowns are the distribution's values at the samples, its value after the jump that it may
    make at its mode, and the distance.
    """
    return min(_nearest_with_mode(x, mode) for mode in range(len(x)))


def _nearest_with_mode(x: list[float], mode: int) -> float:
    n = len(x)
    rows: list[np.ndarray] = []
    bounds: list[float] = []
    unit = np.eye(n + 2)
    jump, distance = unit[n], unit[n + 1]

    def at_most(row: np.ndarray, bound: float) -> None:
        rows.append(row)
        bounds.append(bound)

    for i in range(n):
        before = unit[i]
        after = jump if i == mode else unit[i]
        for value, height in ((before, i / n), (after, (i + 1) / n)):
            at_most(value - distance, height)
            at_most(-value - distance, -height)
    left = [*unit[:mode], unit[mode]]
    right = [jump, *unit[mode + 1 : n]]
    for values, xs, sign in ((left, x[: mode + 1], 1), (right, x[mode:], -1)):
        slopes = [
            (b - a) / (xb - xa)
            for a, b, xa, xb in zip(values, values[1:], xs, xs[1:], strict=False)
        ]
        for slope in slopes:
            at_most(-slope, 0)
        for one, other in pairwise(slopes):
            at_most(sign * (one - other), 0)
    at_most(unit[mode] - jump, 0)
    result = linprog(distance, A_ub=np.array(rows), b_ub=bounds, bounds=[(0, 1)] * (n + 2))
    assert result.success
    return float(result.fun)


def cell(sampler: Sampler, rng: np.random.Generator, n: int) -> list[int]:
    return np.sort(np.minimum(np.round(sampler(rng, n)), 1e13).astype(np.int64)).tolist()


def share_named(sampler: Sampler, n: int, trials: int, seed: int = 4) -> float:
    rng = np.random.default_rng(seed)
    return sum(bool(find_modes(cell(sampler, rng, n))) for _ in range(trials)) / trials


def mixture(share: float, ratio: float, sigma: float) -> Sampler:
    def sample(rng: np.random.Generator, n: int) -> np.ndarray:
        slow = rng.random(n) < share
        return 1e6 * np.where(slow, ratio, 1) * np.exp(sigma * rng.standard_normal(n))

    return sample


def coarse(tick: float) -> Sampler:
    def sample(rng: np.random.Generator, n: int) -> np.ndarray:
        return np.round(1e6 * (1 + 0.05 * rng.standard_normal(n)) / tick) * tick

    return sample


@settings(max_examples=30)
@given(st.integers(min_value=2, max_value=9), st.integers(min_value=0, max_value=10**6))
def test_the_dip_is_the_distance_to_the_nearest_unimodal_distribution(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.sort(rng.random(n) + (rng.random(n) < 0.4) * rng.integers(0, 4)).tolist()
    assert dip(x) == pytest.approx(nearest_unimodal(x), abs=1e-7)


@pytest.mark.parametrize("n", [1, 2, 3, 20, 101])
def test_evenly_spaced_samples_have_the_least_dip(n: int) -> None:
    assert dip(list(range(n))) == pytest.approx(1 / (2 * n))


def test_two_far_points_of_equal_weight_have_the_greatest_dip() -> None:
    tight = [i * 1e-9 for i in range(50)]
    assert dip([*tight, *(1 + x for x in tight)]) == pytest.approx(0.25, abs=0.011)


def test_the_dip_of_a_mirrored_sample_is_the_same() -> None:
    x = np.sort(np.random.default_rng(2).lognormal(size=80))
    assert dip(x.tolist()) == pytest.approx(dip((-x[::-1]).tolist()))


def test_the_bound_is_the_99_percent_point_for_uniform_samples() -> None:
    rng = np.random.default_rng(6)
    n, trials = 200, 800
    beyond = sum(n**0.5 * dip(np.sort(rng.random(n)).tolist()) > 0.60 for _ in range(trials))
    assert 0.003 <= beyond / trials <= 0.018


@pytest.mark.parametrize("n", [30, 60, 200])
@pytest.mark.parametrize(
    "sampler",
    [
        pytest.param(lambda rng, n: 1e6 * (1 + rng.random(n)), id="uniform"),
        pytest.param(lambda rng, n: 1e6 * np.exp(0.05 * rng.standard_normal(n)), id="narrow"),
        pytest.param(lambda rng, n: 1e6 * np.exp(rng.standard_normal(n)), id="lognormal"),
        pytest.param(lambda rng, n: 1e6 * (1 + rng.exponential(0.1, n)), id="exponential"),
        pytest.param(lambda rng, n: 1e6 * (1 + rng.pareto(1.5, n)), id="pareto"),
        pytest.param(lambda rng, n: 1e6 * (10 + abs(rng.standard_cauchy(n)) / 3), id="cauchy"),
        pytest.param(coarse(1_000), id="1 us clock"),
        pytest.param(coarse(10_000), id="10 us clock"),
        pytest.param(coarse(50_000), id="50 us clock"),
    ],
)
def test_one_mode_is_seldom_taken_for_more(sampler: Sampler, n: int) -> None:
    # True rates are under 2% (see lab.stats.modes); 150 trials leave room for chance.
    assert share_named(sampler, n, trials=150 if n < 200 else 40) <= 0.06


@pytest.mark.parametrize(
    ("sampler", "n", "least"),
    [
        pytest.param(mixture(0.5, 2, 0.1), 30, 0.75, id="half, 30"),
        pytest.param(mixture(0.3, 2, 0.1), 30, 0.6, id="a third, 30"),
        pytest.param(mixture(0.3, 2, 0.1), 60, 0.9, id="a third, 60"),
        pytest.param(mixture(0.2, 2, 0.1), 200, 0.85, id="a fifth, 200"),
        pytest.param(mixture(0.3, 10, 0.1), 30, 0.75, id="far, 30"),
        pytest.param(mixture(0.5, 1.3, 0.05), 100, 0.9, id="close, 100"),
    ],
)
def test_separate_modes_are_found(sampler: Sampler, n: int, least: float) -> None:
    assert share_named(sampler, n, trials=100) >= least


def test_modes_are_placed_where_they_are() -> None:
    modes = find_modes(cell(mixture(0.4, 3, 0.05), np.random.default_rng(1), 100))
    assert modes == pytest.approx((1e6, 3e6), rel=0.03)


def test_three_modes_are_three() -> None:
    def sampler(rng: np.random.Generator, n: int) -> np.ndarray:
        return 1e6 * 2.0 ** rng.integers(0, 3, n) * np.exp(0.05 * rng.standard_normal(n))

    modes = find_modes(cell(sampler, np.random.default_rng(3), 120))
    assert modes == pytest.approx((1e6, 2e6, 4e6), rel=0.05)


@pytest.mark.parametrize(
    "ordered",
    [
        pytest.param([5] * 100, id="constant"),
        pytest.param([0] * 100, id="zero"),
        pytest.param([10**12] * 199 + [10**12 + 1], id="finer than a float"),
        pytest.param([0] * 50 + [1] * 50, id="two ticks"),
        pytest.param([100] * 10 + [200] * 9, id="nineteen samples"),
        pytest.param([100_000 + 10 * i + 3_000 * (i >= 50) for i in range(100)], id="4% apart"),
        pytest.param([1000 + i for i in range(46)] + [90_000 + i for i in range(4)], id="outliers"),
    ],
)
def test_these_have_one_mode(ordered: list[int]) -> None:
    assert find_modes(ordered) == ()


@given(st.lists(st.integers(min_value=0, max_value=10**13), min_size=0, max_size=80).map(sorted))
def test_modes_ascend_within_the_cell(ordered: list[int]) -> None:
    modes = find_modes(ordered)
    assert len(modes) != 1
    assert list(modes) == sorted(modes)
    assert all(ordered[0] <= mode <= ordered[-1] for mode in modes)


@given(st.integers(min_value=0, max_value=10**6), st.sampled_from([7, 1000]))
def test_modes_scale_with_the_unit(seed: int, factor: int) -> None:
    ordered = cell(mixture(0.4, 2, 0.1), np.random.default_rng(seed), 40)
    scaled = find_modes([factor * value for value in ordered])
    assert scaled == pytest.approx(tuple(factor * mode for mode in find_modes(ordered)))
