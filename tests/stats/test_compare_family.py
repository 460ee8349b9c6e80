"""Before and after: test and interval against scipy, verdicts by simulation."""

import math
from collections.abc import Mapping
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from lab.stats.compare import ONE_BLOCK, TREND, compare_family
from lab.stats.effect import find_effect
from lab.stats.student import student_quantile
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


def blocks(durations: list[int], size: int = 10) -> list[list[int]]:
    """Return the samples in blocks of ``size``: two at least where there are two samples."""
    size = min(size, max(1, len(durations) // 2))
    return [durations[i : i + size] for i in range(0, len(durations), size)]


def compare_one(before: list[int], after: list[int], **options: Any) -> Comparison:
    keywords: dict[str, Any] = {"boots": BOOTS, "least_ns": 0} | options
    return compare_family({"cell": (blocks(before), blocks(after))}, **keywords)["cell"]


def joined(side: list[list[int]]) -> list[int]:
    return [duration for block in side for duration in block]


def family_of(pairs: Mapping[Any, tuple[list[int], list[int]]]) -> dict[str, Any]:
    """Return a family of the cells ``pairs``, each side in blocks."""
    return {str(name): (blocks(before), blocks(after)) for name, (before, after) in pairs.items()}


def in_blocks(
    rng: np.random.Generator, sizes: list[int], sigma: float, between: float, ms: float = 100
) -> list[list[int]]:
    """Return blocks of those sizes whose levels differ by ``between``, a share."""
    return [cell(rng, n, sigma, ms * math.exp(between * rng.standard_normal())) for n in sizes]


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
def test_from_one_block_the_interval_excludes_1_exactly_where_mann_whitney_rejects(
    values: list[int], cut: int
) -> None:
    before, after = values[:cut], values[cut:]
    effect = find_effect([before], [after], 0.05)
    p = stats.mannwhitneyu(before, after, method="asymptotic").pvalue
    assert (effect.low > 1 or effect.high < 1) == (p <= 0.05)
    assert not effect.replicated


@given(st.lists(st.integers(min_value=10**5, max_value=10**7), min_size=4, max_size=8, unique=True))
def test_by_block_the_interval_is_students(levels: list[int]) -> None:
    # Samples that are alike within their block leave the blocks' own spread as the only one.
    before, after = ([[level] * 10 for level in side] for side in (levels[:2], levels[2:]))
    effect = find_effect(before, after, 0.05)
    sides = [np.log([block[0] for block in side]) for side in (before, after)]
    theirs = stats.ttest_ind(*sides[::-1]).confidence_interval(0.95)
    half = (theirs.high - theirs.low) / 2
    assert math.log(effect.high / effect.ratio) >= half * (1 - 1e-9)
    assert math.log(effect.ratio / effect.low) >= half * (1 - 1e-9)
    assert effect.replicated


@pytest.mark.parametrize("p", [0.5, 0.6, 0.8, 0.95, 0.975, 0.9972, 0.99999])
def test_students_quantiles_are_those_of_scipy(p: float) -> None:
    for freedom in (*range(1, 40), 200, 1001):
        theirs = stats.t.ppf(p, freedom)
        assert student_quantile(p, freedom) == pytest.approx(theirs, rel=1e-9, abs=1e-9)


@settings(max_examples=40)
@given(st.lists(sides, min_size=1, max_size=5))
def test_no_change_is_claimed_that_mann_whitney_denies_the_family(
    pairs: list[tuple[list[int], list[int]]],
) -> None:
    family = compare_family(family_of(dict(enumerate(pairs))), boots=BOOTS, least_ns=0)
    for i, pair in enumerate(pairs):
        if family[str(i)].verdict in CLAIMS:
            p = stats.mannwhitneyu(*pair, method="asymptotic").pvalue
            assert p * len(pairs) <= 0.05 * (1 + 1e-9)


@settings(max_examples=50)
@given(sides, st.sampled_from([3, 1000]))
def test_the_unit_does_not_matter(pair: tuple[list[int], list[int]], factor: int) -> None:
    # A duration of 0 counts as 1 ns, which is another share in another unit.
    assume(0 not in {*pair[0], *pair[1]})
    one = compare_one(*pair)
    other = compare_one(*([factor * d for d in side] for side in pair))
    for field in ("ratio", "low", "high", "detectable"):
        assert getattr(other, field) == pytest.approx(getattr(one, field), rel=1e-6, abs=1e-9)


@given(sides)
def test_swapping_the_sides_inverts_the_ratio(pair: tuple[list[int], list[int]]) -> None:
    forth, back = compare_one(*pair), compare_one(*pair[::-1])
    assert back.ratio == pytest.approx(1 / forth.ratio)
    assert (back.low, back.high) == pytest.approx((1 / forth.high, 1 / forth.low))


@settings(max_examples=50)
@given(sides, st.randoms(use_true_random=False))
def test_the_order_of_blocks_and_of_samples_in_them_does_not_matter(
    pair: tuple[list[int], list[int]], random: Random
) -> None:
    before, after = (blocks(side) for side in pair)
    one = find_effect(before, after, 0.05)
    for block in (*before, *after):
        random.shuffle(block)
    for side in (before, after):
        random.shuffle(side)
    other = find_effect(before, after, 0.05)
    assert other.ratio == one.ratio
    assert (other.low, other.high) == pytest.approx((one.low, one.high))


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


@pytest.mark.parametrize("value", [0, 1, 10**9])
def test_constant_cells_are_compared(value: int) -> None:
    comparison = compare_one([value] * 20, [value] * 20)
    assert comparison.verdict is Verdict.NO_MEASURABLE_CHANGE
    assert (comparison.low, comparison.ratio, comparison.high) == (1, 1, 1)


def test_constant_cells_that_differ_are_told_apart() -> None:
    comparison = compare_one([100] * 20, [150] * 20)
    assert comparison.verdict is Verdict.REGRESSED
    assert comparison.ratio == pytest.approx(1.5)


def test_two_blocks_that_have_nothing_in_common_show_nothing() -> None:
    pairs = {str(i): ([[1]], [[1], [300_000]]) for i in range(5)}
    for comparison in compare_family(pairs, boots=BOOTS).values():
        assert comparison.verdict is Verdict.INCONCLUSIVE
        assert comparison.high / comparison.low > 1e6
        assert math.isfinite(comparison.detectable)


@pytest.mark.parametrize(("m", "n"), [(1, 1), (5, 100), (100, 5), (1, 6)])
def test_few_samples_prove_nothing(m: int, n: int) -> None:
    comparison = compare_one([100] * m, [900 + i for i in range(n)])
    assert comparison.verdict is Verdict.INCONCLUSIVE
    assert comparison.detectable >= 1
    assert comparison.ratio == pytest.approx((900 + (n - 1) / 2) / 100, rel=1e-3)


def test_six_samples_carry_one_cell_but_not_a_large_family() -> None:
    pair = (list(range(100, 106)), list(range(900, 906)))
    alone = compare_family(family_of({"a": pair}), boots=BOOTS, least_ns=0)
    many = compare_family(family_of(dict.fromkeys(range(20), pair)), boots=BOOTS, least_ns=0)
    assert alone["a"].verdict is Verdict.REGRESSED
    assert {comparison.verdict for comparison in many.values()} == {Verdict.INCONCLUSIVE}


@pytest.mark.parametrize("pair", [([], [1]), ([1], []), ([], [])])
def test_a_side_without_samples_is_an_error(pair: tuple[list[int], list[int]]) -> None:
    with pytest.raises(ValueError, match="no samples"):
        compare_family(family_of({"cell": pair}), boots=BOOTS)
    with pytest.raises(ValueError, match="no samples"):
        compare_family({"cell": ([[], pair[0]], [[], pair[1]])}, boots=BOOTS)


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
    family = compare_family({"cell": ([before], [before])}, boots=BOOTS, **options)
    assert family["cell"].margin == pytest.approx(margin)


def test_a_change_below_the_margin_is_not_called_an_improvement() -> None:
    before = [1_000_000 + i % 7 for i in range(30)]
    after = [900_000 + i % 7 for i in range(30)]
    assert compare_one(before, after, least_ns=2_000_000).verdict is Verdict.SMALL_CHANGE
    assert compare_one(before, after, least_ns=50_000).verdict is Verdict.IMPROVED


def test_the_order_of_cells_is_kept() -> None:
    names = ["z", "a", "m"]
    family = compare_family({name: ([[1] * 6], [[1] * 6]) for name in names}, boots=BOOTS)
    assert list(family) == names


def test_a_family_that_did_not_change_raises_no_alarm() -> None:
    rng = np.random.default_rng(5)
    trials, cells = 80, 8
    alarms = claims = 0
    for _ in range(trials):
        pairs = {str(i): (cell(rng, 40, 0.08), cell(rng, 40, 0.08)) for i in range(cells)}
        verdicts = {c.verdict for c in compare_family(family_of(pairs), boots=BOOTS).values()}
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
        pairs = {str(i): (cell(rng, 60, 0.1), cell(rng, 60, 0.1, 110)) for i in range(5)}
        family = compare_family(family_of(pairs), boots=BOOTS)
        held += all(c.low <= change <= c.high for c in family.values())
    assert 0.91 <= held / trials <= 0.99


@pytest.mark.parametrize("change", [0.9, 1.1])
def test_a_change_of_ten_percent_is_found_in_a_family_of_ten(change: float) -> None:
    rng = np.random.default_rng(7)
    trials = 30
    found = 0
    for _ in range(trials):
        pairs = {str(i): (cell(rng, 50, 0.05), cell(rng, 50, 0.05)) for i in range(9)}
        pairs["changed"] = (cell(rng, 50, 0.05), cell(rng, 50, 0.05, 100 * change))
        verdict = compare_family(family_of(pairs), boots=BOOTS)["changed"].verdict
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


@pytest.mark.parametrize("between", [0.05, 0.15])
@pytest.mark.parametrize("common", [True, False], ids=["common", "own"])
@pytest.mark.parametrize("count", [2, 3, 18])
def test_what_varies_from_block_to_block_is_not_taken_for_a_change(
    count: int, between: float, common: bool
) -> None:
    """A/A with noise between blocks of ten, common to the cells of a run or of each its own."""
    rng = np.random.default_rng(11)
    families, cells = 30, 6
    false = 0
    for _ in range(families):
        sides = []
        for _ in range(2):
            levels = between * rng.standard_normal((count, 1 if common else cells))
            levels = np.broadcast_to(levels, (count, cells))
            sides.append(
                [
                    [cell(rng, 10, 0.1, 100 * math.exp(level)) for level in levels[:, i]]
                    for i in range(cells)
                ]
            )
        pairs = {str(i): (sides[0][i], sides[1][i]) for i in range(cells)}
        family = compare_family(pairs, boots=BOOTS, least_ns=0)
        false += any(each.verdict in CLAIMS for each in family.values())
    # At most 5% is wanted; of 30 families with 5%, three or fewer are false 94% of the time.
    assert false <= 3


def test_samples_taken_for_independent_would_see_changes_everywhere() -> None:
    """What the interval by block is for: the one by sample alone fails where blocks differ."""
    rng = np.random.default_rng(12)
    trials, alone, together = 60, 0, 0
    for _ in range(trials):
        before, after = (in_blocks(rng, [10] * 6, 0.05, 0.15) for _ in range(2))
        pooled = find_effect([joined(before)], [joined(after)], 0.05)
        alone += not pooled.low <= 1 <= pooled.high
        effect = find_effect(before, after, 0.05)
        together += not effect.low <= 1 <= effect.high
        assert effect.low <= pooled.low
        assert effect.high >= pooled.high
    assert alone / trials > 0.4
    assert together / trials < 0.12


def test_where_blocks_are_alike_the_interval_is_hardly_wider() -> None:
    rng = np.random.default_rng(13)
    widths = []
    for _ in range(60):
        before, after = (in_blocks(rng, [10] * 10, 0.1, 0.0) for _ in range(2))
        pooled = find_effect([joined(before)], [joined(after)], 0.05)
        effect = find_effect(before, after, 0.05)
        widths.append(math.log(effect.high / effect.low) / math.log(pooled.high / pooled.low))
    assert np.median(widths) < 1.15


def test_one_block_on_each_side_claims_nothing() -> None:
    pair = ([[100] * 30], [[200] * 30])
    comparison = compare_family({"cell": pair}, boots=BOOTS, least_ns=0)["cell"]
    assert comparison.verdict is Verdict.INCONCLUSIVE
    assert comparison.reasons == (ONE_BLOCK,)
    # Two on one side show what varies.
    one, other = pair[0], [[200] * 15] * 2
    comparison = compare_family({"cell": (one, other)}, boots=BOOTS, least_ns=0)["cell"]
    assert (comparison.verdict, comparison.reasons) == (Verdict.REGRESSED, ())


@pytest.mark.parametrize("drifting", ["before", "after"])
@pytest.mark.parametrize("level", [100, 300])
def test_nothing_is_claimed_where_a_side_drifted_by_more_than_counts(
    drifting: str, level: int
) -> None:
    rng = np.random.default_rng(14)
    steady = cell(rng, 60, 0.01)
    ramp = np.linspace(1, 1.3, 60)
    moving = [
        round(each * factor) for each, factor in zip(cell(rng, 60, 0.01, level), ramp, strict=True)
    ]
    pair = (moving, steady) if drifting == "before" else (steady, moving)
    found = compare_one(*pair)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.reasons == (TREND,)
    # A drift within the margin does no harm.
    assert compare_one(*pair, noise_floor=0.5).reasons == ()
