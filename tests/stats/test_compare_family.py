"""Before and after: test and interval against scipy, verdicts by simulation."""

import math
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from lab.stats.compare import compare_family, holm, mann_whitney
from lab.stats.summary import Comparison, Verdict

BOOTS = (2, 2)
CLAIMS = {Verdict.IMPROVED, Verdict.REGRESSED, Verdict.SMALL_CHANGE}

durations = st.lists(st.integers(min_value=1, max_value=10**10), min_size=1, max_size=40)
tied_durations = st.lists(st.integers(min_value=0, max_value=4), min_size=1, max_size=40)
sides = st.one_of(
    st.tuples(durations, durations),
    st.tuples(tied_durations, tied_durations),
)


def cell(rng: np.random.Generator, n: int, sigma: float, median_ms: float = 100) -> list[int]:
    return np.round(median_ms * 1e6 * np.exp(sigma * rng.standard_normal(n))).astype(int).tolist()


def compare_one(before: list[int], after: list[int], **options: Any) -> Comparison:
    keywords: dict[str, Any] = {"boots": BOOTS, "least_ns": 0} | options
    return compare_family({"cell": (before, after)}, **keywords)["cell"]


@given(sides)
def test_p_is_that_of_scipy(pair: tuple[list[int], list[int]]) -> None:
    before, after = pair
    if len({*before, *after}) == 1:
        assert mann_whitney(before, after) == 1
        return
    theirs = stats.mannwhitneyu(before, after, method="asymptotic").pvalue
    assert mann_whitney(before, after) == pytest.approx(theirs, rel=1e-9)


def test_holm_by_hand() -> None:
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert adjusted == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})


@given(st.lists(st.floats(min_value=0, max_value=1), min_size=1, max_size=12))
def test_holm_lies_between_p_and_bonferroni(p_values: list[float]) -> None:
    family = {str(i): p for i, p in enumerate(p_values)}
    adjusted = holm(family)
    for name, p in family.items():
        assert p <= adjusted[name] <= min(1, p * len(family))
    by_p = sorted(family, key=family.__getitem__)
    assert [adjusted[name] for name in by_p] == sorted(adjusted.values())


@given(sides)
def test_the_interval_contains_the_ratio(pair: tuple[list[int], list[int]]) -> None:
    comparison = compare_one(*pair)
    assert comparison.low <= comparison.ratio <= comparison.high
    figures = (comparison.low, comparison.high, comparison.margin, comparison.detectable)
    assert all(math.isfinite(figure) and figure >= 0 for figure in figures)


@given(
    st.lists(st.integers(min_value=10**6, max_value=2 * 10**6), min_size=14, unique=True),
    st.integers(min_value=6, max_value=8),
)
def test_without_ties_the_interval_excludes_1_exactly_where_the_test_rejects(
    values: list[int], cut: int
) -> None:
    comparison = compare_one(values[:cut], values[cut:])
    assert (comparison.low > 1 or comparison.high < 1) == (comparison.p <= 0.05)


@settings(max_examples=40)
@given(st.lists(sides, min_size=1, max_size=5))
def test_a_claim_of_change_is_never_at_odds_with_holm(
    pairs: list[tuple[list[int], list[int]]],
) -> None:
    family = compare_family({str(i): p for i, p in enumerate(pairs)}, boots=BOOTS, least_ns=0)
    for comparison in family.values():
        if comparison.verdict in CLAIMS:
            assert comparison.p_adjusted <= 0.05


@settings(max_examples=50)
@given(sides, st.sampled_from([3, 1000]))
def test_the_unit_does_not_matter(pair: tuple[list[int], list[int]], factor: int) -> None:
    # A duration of 0 counts as 1 ns, which is another share in another unit.
    assume(0 not in {*pair[0], *pair[1]})
    one = compare_one(*pair)
    other = compare_one(*([factor * d for d in side] for side in pair))
    for field in ("ratio", "low", "high", "p", "detectable"):
        assert getattr(other, field) == pytest.approx(getattr(one, field), rel=1e-6, abs=1e-9)


@given(sides)
def test_swapping_the_sides_inverts_the_ratio(pair: tuple[list[int], list[int]]) -> None:
    forth, back = compare_one(*pair), compare_one(*pair[::-1])
    assert back.ratio == pytest.approx(1 / forth.ratio)
    assert (back.low, back.high) == pytest.approx((1 / forth.high, 1 / forth.low))
    assert back.p == pytest.approx(forth.p)


@settings(max_examples=50)
@given(sides, st.randoms(use_true_random=False))
def test_the_order_of_samples_does_not_matter(
    pair: tuple[list[int], list[int]], random: Random
) -> None:
    shuffled = tuple(list(side) for side in pair)
    for side in shuffled:
        random.shuffle(side)
    one, other = compare_one(*pair), compare_one(*shuffled)
    assert (one.verdict, one.ratio, one.low, one.high, one.p) == (
        other.verdict,
        other.ratio,
        other.low,
        other.high,
        other.p,
    )


@pytest.mark.parametrize(
    ("change", "sigma", "verdict"),
    [
        (0.80, 0.02, Verdict.IMPROVED),
        (1.25, 0.02, Verdict.REGRESSED),
        (1.015, 0.002, Verdict.SMALL_CHANGE),
        (1.00, 0.02, Verdict.NO_MEASURABLE_CHANGE),
        (1.00, 0.30, Verdict.INCONCLUSIVE),
        (1.04, 0.05, Verdict.INCONCLUSIVE),
        (0.96, 0.05, Verdict.INCONCLUSIVE),
        (1.03, 0.01, Verdict.INCONCLUSIVE),
        (0.97, 0.01, Verdict.INCONCLUSIVE),
    ],
)
def test_the_five_verdicts(change: float, sigma: float, verdict: Verdict) -> None:
    rng = np.random.default_rng(1)
    before, after = cell(rng, 40, sigma), cell(rng, 40, sigma, 100 * change)
    assert compare_one(before, after).verdict is verdict


def test_identical_samples_show_no_measurable_change() -> None:
    before = cell(np.random.default_rng(1), 50, 0.01)
    comparison = compare_one(before, before)
    assert comparison.verdict is Verdict.NO_MEASURABLE_CHANGE
    assert comparison.ratio == 1
    assert comparison.p == 1


@pytest.mark.parametrize("value", [0, 1, 10**9])
def test_constant_cells_are_compared(value: int) -> None:
    comparison = compare_one([value] * 20, [value] * 20)
    assert comparison.verdict is Verdict.NO_MEASURABLE_CHANGE
    assert (comparison.low, comparison.ratio, comparison.high, comparison.p) == (1, 1, 1, 1)


def test_constant_cells_that_differ_are_told_apart() -> None:
    comparison = compare_one([100] * 20, [150] * 20)
    assert comparison.verdict is Verdict.REGRESSED
    assert comparison.ratio == pytest.approx(1.5)


@pytest.mark.parametrize(("m", "n"), [(1, 1), (5, 100), (100, 5), (1, 6)])
def test_few_samples_prove_nothing(m: int, n: int) -> None:
    comparison = compare_one([100] * m, [900 + i for i in range(n)])
    assert comparison.verdict is Verdict.INCONCLUSIVE
    assert comparison.detectable >= 1
    assert comparison.ratio == pytest.approx((900 + (n - 1) / 2) / 100, rel=1e-3)


def test_six_samples_carry_one_cell_but_not_a_large_family() -> None:
    pair = (list(range(100, 106)), list(range(900, 906)))
    alone = compare_family({"a": pair}, boots=BOOTS, least_ns=0)
    many = compare_family({str(i): pair for i in range(20)}, boots=BOOTS, least_ns=0)
    assert alone["a"].verdict is Verdict.REGRESSED
    assert {comparison.verdict for comparison in many.values()} == {Verdict.INCONCLUSIVE}


@pytest.mark.parametrize("pair", [([], [1]), ([1], []), ([], [])])
def test_a_side_without_samples_is_an_error(pair: tuple[list[int], list[int]]) -> None:
    with pytest.raises(ValueError, match="no samples"):
        compare_family({"cell": pair}, boots=BOOTS)


def test_no_cells_give_no_comparisons() -> None:
    assert compare_family({}, boots=BOOTS) == {}


@pytest.mark.parametrize(
    ("boots", "provisional"), [((1, 1), True), ((1, 5), True), ((5, 1), True), ((2, 2), False)]
)
def test_one_boot_makes_it_provisional(boots: tuple[int, int], provisional: bool) -> None:
    assert compare_one([1] * 6, [1] * 6, boots=boots).provisional is provisional


@pytest.mark.parametrize(
    ("median_ms", "options", "margin"),
    [
        (250, {}, 0.03),
        (10, {}, 0.2),
        (1, {}, 2.0),
        (1, {"least_ns": 50_000}, 0.05),
        (250, {"noise_floor": 0.07}, 0.07),
        (10, {"noise_floor": 0.07}, 0.2),
    ],
)
def test_the_margin_is_the_largest_of_three(
    median_ms: int, options: dict[str, Any], margin: float
) -> None:
    before = [median_ms * 1_000_000] * 20
    family = compare_family({"cell": (before, before)}, boots=BOOTS, **options)
    assert family["cell"].margin == pytest.approx(margin)


def test_a_change_below_the_margin_is_not_called_an_improvement() -> None:
    before, after = [1_000_000 + i for i in range(30)], [900_000 + i for i in range(30)]
    assert compare_one(before, after, least_ns=2_000_000).verdict is Verdict.SMALL_CHANGE
    assert compare_one(before, after, least_ns=50_000).verdict is Verdict.IMPROVED


def test_the_order_of_cells_is_kept() -> None:
    names = ["z", "a", "m"]
    family = compare_family({name: ([1] * 6, [1] * 6) for name in names}, boots=BOOTS)
    assert list(family) == names


def test_a_family_that_did_not_change_raises_no_alarm() -> None:
    rng = np.random.default_rng(5)
    trials, cells = 80, 8
    alarms = claims = 0
    for _ in range(trials):
        pairs = {str(i): (cell(rng, 40, 0.08), cell(rng, 40, 0.08)) for i in range(cells)}
        verdicts = {c.verdict for c in compare_family(pairs, boots=BOOTS).values()}
        alarms += bool(verdicts & {Verdict.IMPROVED, Verdict.REGRESSED})
        claims += bool(verdicts & CLAIMS)
    assert alarms / trials < 0.05
    # Any claim at all, small changes included, is made in at most 5% of families.
    assert claims / trials < 0.09


def test_intervals_of_a_family_hold_together() -> None:
    rng = np.random.default_rng(6)
    trials, change = 150, 1.10
    held = 0
    for _ in range(trials):
        pairs = {str(i): (cell(rng, 25, 0.1), cell(rng, 25, 0.1, 110)) for i in range(5)}
        family = compare_family(pairs, boots=BOOTS)
        held += all(c.low <= change <= c.high for c in family.values())
    assert 0.91 <= held / trials <= 0.99


@pytest.mark.parametrize("change", [0.9, 1.1])
def test_a_change_of_ten_percent_is_found_in_a_family_of_ten(change: float) -> None:
    rng = np.random.default_rng(7)
    trials = 30
    found = 0
    for _ in range(trials):
        pairs = {str(i): (cell(rng, 40, 0.05), cell(rng, 40, 0.05)) for i in range(9)}
        pairs["changed"] = (cell(rng, 40, 0.05), cell(rng, 40, 0.05, 100 * change))
        verdict = compare_family(pairs, boots=BOOTS)["changed"].verdict
        found += verdict is (Verdict.IMPROVED if change < 1 else Verdict.REGRESSED)
    assert found / trials >= 0.9


def test_an_effect_of_the_detectable_size_is_told_from_none_four_times_out_of_five() -> None:
    rng = np.random.default_rng(9)
    trials = 200
    sizes = [compare_one(cell(rng, 40, 0.1), cell(rng, 40, 0.1)).detectable for _ in range(50)]
    factor = 1 + float(np.median(sizes))
    seen = 0
    for _ in range(trials):
        comparison = compare_one(cell(rng, 40, 0.1), cell(rng, 40, 0.1, 100 * factor))
        seen += comparison.low > 1
    assert 0.72 <= seen / trials <= 0.88
