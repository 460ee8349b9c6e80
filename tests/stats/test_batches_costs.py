"""The cost of a table by size: against scipy, and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lab.stats.batches import compare_costs, table_cost
from lab.stats.compare import TREND
from lab.stats.summary import Comparison, Verdict

SIZES = (1, 5, 10, 25, 50, 100, 200, 300, 500)
CLAIMS = {Verdict.IMPROVED, Verdict.REGRESSED, Verdict.SMALL_CHANGE}
BOOTS = (2, 2)

costs = st.lists(st.integers(10**5, 10**8).map(float), min_size=2, max_size=6, unique=True)


def side(rng: np.random.Generator, sigma: float, change: float = 1.0, n: int = 3) -> list[float]:
    return [float(each) for each in 1e8 * change * np.exp(sigma * rng.standard_normal(n))]


def family(
    rng: np.random.Generator, sigmas: dict[int, float], change: float = 1.0
) -> dict[str, Comparison]:
    pairs = {
        str(size): (side(rng, sigma), side(rng, sigma, change)) for size, sigma in sigmas.items()
    }
    return compare_costs(pairs, boots=BOOTS, least_ns=0)


@given(st.lists(st.floats(1e5, 1e10), min_size=3, max_size=8))
def test_a_tables_cost_has_students_interval(values: list[float]) -> None:
    cost = table_cost(values)
    logs = np.log(values)
    assert cost.n == len(values)
    assert cost.ns == pytest.approx(stats.gmean(values))
    assert (cost.min_ns, cost.max_ns) == (min(values), max(values))
    low, high = stats.t.interval(0.95, len(values) - 1, logs.mean(), max(stats.sem(logs), 1e-300))
    assert cost.low_ns == pytest.approx(math.exp(max(low, logs.mean() - math.log(1e6))), rel=1e-6)
    assert cost.high_ns == pytest.approx(math.exp(min(high, logs.mean() + math.log(1e6))), rel=1e-6)


@pytest.mark.parametrize("values", [[5e6], [2.5e6, 10e6]])
def test_fewer_than_three_repetitions_have_no_interval(values: list[float]) -> None:
    cost = table_cost(values)
    assert (cost.ns, cost.low_ns, cost.high_ns) == (pytest.approx(5e6), None, None)
    assert cost.n == len(values)


@given(costs, costs)
def test_one_size_alone_is_compared_as_by_students_t(
    before: list[float], after: list[float]
) -> None:
    found = compare_costs({"10": (before, after)}, boots=BOOTS)["10"]
    theirs = stats.ttest_ind(np.log(after), np.log(before)).confidence_interval(0.95)
    assert found.ratio == pytest.approx(stats.gmean(after) / stats.gmean(before), rel=1e-6)
    if (theirs.high - theirs.low) / 2 < math.log(1e6):
        assert math.log(found.low) == pytest.approx(theirs.low, rel=1e-6, abs=1e-6)
        assert math.log(found.high) == pytest.approx(theirs.high, rel=1e-6, abs=1e-6)


def test_sizes_lend_each_other_their_spread_and_keep_their_own_where_it_is_larger() -> None:
    quiet, loud = ([99e6, 101e6], [99e6, 101e6]), ([70e6, 130e6], [70e6, 130e6])
    alone = compare_costs({"quiet": quiet}, boots=BOOTS)["quiet"]
    both = compare_costs({"quiet": quiet, "loud": loud}, boots=BOOTS)
    assert both["quiet"].high > alone.high
    assert both["loud"].high > both["quiet"].high


@pytest.mark.parametrize("pair", [([1e8], [5e8] * 3), ([1e8] * 3, [5e8]), ([1e8], [5e8])])
def test_one_repetition_on_a_side_proves_nothing(pair: tuple[list[float], list[float]]) -> None:
    others = {str(size): ([1e8, 1.01e8, 0.99e8], [5e8, 5.01e8, 4.99e8]) for size in SIZES[:4]}
    found = compare_costs({"one": pair, **others}, boots=BOOTS)
    assert found["one"].verdict is Verdict.INCONCLUSIVE
    assert found["one"].ratio == pytest.approx(5)
    assert found["one"].detectable >= 1
    assert {found[name].verdict for name in others} == {Verdict.REGRESSED}


@pytest.mark.parametrize("pair", [([], [1.0]), ([1.0], [])])
def test_a_side_without_repetitions_is_an_error(pair: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ValueError, match="no repetitions"):
        compare_costs({"1": pair}, boots=BOOTS)
    with pytest.raises(ValueError, match="no repetitions"):
        table_cost([])


def test_margins_boots_and_order_are_those_of_every_comparison() -> None:
    pairs = {name: ([1e7, 1.01e7, 0.99e7], [1e7, 1.01e7, 0.99e7]) for name in ("b", "a")}
    found = compare_costs(pairs, boots=(1, 3), noise_floor=0.07)
    assert list(found) == ["b", "a"]
    assert found["a"].margin == pytest.approx(0.2)  # 2 ms of 10 ms
    assert found["a"].provisional
    assert TREND not in found["a"].reasons
    assert compare_costs(pairs, boots=BOOTS, noise_floor=0.3)["a"].margin == 0.3
    assert not compare_costs(pairs, boots=BOOTS)["a"].provisional
    assert compare_costs({}, boots=BOOTS) == {}


@pytest.mark.parametrize(
    "sigmas",
    [
        dict.fromkeys(SIZES, 0.05),
        {size: math.hypot(0.05, 0.15 / math.sqrt(size)) for size in SIZES},
        {size: 0.05 * (3 if size == 1 else 1) for size in SIZES},
        dict(zip(SIZES, (0.1, 0.05, 0.07, 0.05, 0.035, 0.05, 0.07, 0.03, 0.05), strict=True)),
    ],
    ids=["alike", "by statement", "one threefold", "all differ"],
)
def test_intervals_hold_together_also_where_noise_differs_by_size(sigmas: dict[int, float]) -> None:
    rng = np.random.default_rng(1)
    trials = 250
    held = sum(
        all(each.low <= 1.2 <= each.high for each in family(rng, sigmas, 1.2).values())
        for _ in range(trials)
    )
    # 95% is wanted; of 250 families with 95%, fewer than 91% hold once in 500.
    assert held / trials >= 0.91


def test_they_are_far_narrower_than_size_by_size() -> None:
    rng = np.random.default_rng(2)
    ours, theirs = [], []
    for _ in range(40):
        pairs = {str(size): (side(rng, 0.05), side(rng, 0.05)) for size in SIZES}
        found = compare_costs(pairs, boots=BOOTS)
        for name, (before, after) in pairs.items():
            welch = stats.ttest_ind(np.log(after), np.log(before), equal_var=False)
            interval = welch.confidence_interval(1 - 0.05 / len(SIZES))
            theirs.append(interval.high - interval.low)
            ours.append(math.log(found[name].high / found[name].low))
    assert np.median(ours) < 0.6 * np.median(theirs)


def test_what_can_be_found() -> None:
    rng = np.random.default_rng(3)
    trials = 40
    for sigma, change, least in ((0.02, 0.9, 0.8), (0.05, 0.8, 0.8), (0.1, 0.6, 0.9)):
        sigmas = dict.fromkeys(SIZES, sigma)
        verdicts = [
            each.verdict for _ in range(trials) for each in family(rng, sigmas, change).values()
        ]
        assert verdicts.count(Verdict.IMPROVED) / len(verdicts) >= least


def test_families_that_did_not_change_raise_no_alarm() -> None:
    rng = np.random.default_rng(4)
    sigmas = dict.fromkeys(SIZES, 0.1)
    false = sum(
        any(each.verdict in CLAIMS for each in family(rng, sigmas).values()) for _ in range(150)
    )
    assert false / 150 <= 0.05
