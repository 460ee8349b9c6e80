"""What a table costs in transactions of one size: few repetitions, each of many statements.

A repetition is one value: the time of a transaction over its statements. Three of them are the
habit, which is too few for order statistics, so everything here is Student's t on logarithms.

*Variance.* With three values a side, a size's own spread is known to a factor of two. But sizes
resemble each other, as shares: so the variance is pooled over both sides of all sizes, and a size
whose own (both sides together) is larger is given its own. The quantile is that of the pooled
degrees of freedom either way: where all sizes are alike, a size exceeds the pooled variance by
chance and only gets a wider interval; where one is noisier, being given the larger of the two
makes up for the degrees of freedom that it has not.

*Family.* Each of m sizes has an interval of level 1 − 0.05/m (Bonferroni), as in
`lab.stats.compare`, whose margins and verdicts these are.

*Simulated* (2,500 families each). All intervals of a family hold together in 96% of nine sizes with
three repetitions a side and equal noise; in 94 to 96% where noise differs up to threefold (one size
alone; all of them; 15% a statement besides 5% a transaction, which makes 16% of size 1 and 5% of
size 500); in 96 to 98% where besides 2% of statements stall fivefold. With two to four sizes of two
or three repetitions, 93 to 97%. (Welch's intervals, size by size, hold in 97% and are 1.4 to 2.2
times as wide at the median; pooling alone holds in 79 to 96%.)

*What can be found* in nine sizes of three repetitions a side: with 2% noise from repetition to
repetition, a change of 10% is called improved or regressed in 88% of sizes (5%: 4%); with 5% noise
one of 20% in 89% (10%: 10%); with 10% noise one of 40% in 98% (20%: 24%). *No measurable change*
within 3% cannot be shown at all from so few: sizes that did not change are inconclusive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from lab.stats.cell import summarize
from lab.stats.compare import judged, least_change
from lab.stats.effect import Effect
from lab.stats.student import student_quantile
from lab.stats.summary import Comparison, Summary

_ALPHA = 0.05
_POWER = 0.8
_LEAST_FOR_INTERVAL = 3

# A factor of a million either way says that nothing is known, and can still be computed with.
_WIDEST = math.log(1e6)


class TableCost(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of one table in transactions of one size, in ns; one value a repetition.

    ``ns`` is the geometric mean of the ``n`` repetitions, ``low_ns`` and ``high_ns`` its 95%
    interval (Student's t on logarithms), None with fewer than three repetitions.
    """

    n: int
    ns: float
    low_ns: float | None
    high_ns: float | None
    min_ns: float
    max_ns: float


def table_cost(per_table_ns: Sequence[float]) -> TableCost:
    """Return what a table costs, from the cost per table of each repetition, in ns.

    A value below 1 ns counts as 1 ns. The interval stands by its own repetitions alone: of three it
    is ±2.5 standard deviations, and covers in 95% (simulated with 2,000 of 5% to 30% noise). That
    of two would be ±9, which at 30% noise spans from a fifteenth to fifteenfold: none is given. (A
    variance pooled over sizes, as below, makes narrower ones, but covers size 1 in 82 to 85% where
    its noise is three times that of size 500, as it is where statements vary by themselves.)

    Raises
    ------
    ValueError
        There is no repetition.

    """
    side = _side(per_table_ns)
    low = high = None
    if side.n >= _LEAST_FOR_INTERVAL:
        t = student_quantile(1 - _ALPHA / 2, side.n - 1)
        half = min(t * math.sqrt(side.squares / (side.n - 1) / side.n), _WIDEST)
        low, high = math.exp(side.mean - half), math.exp(side.mean + half)
    return TableCost(
        n=side.n,
        ns=math.exp(side.mean),
        low_ns=low,
        high_ns=high,
        min_ns=min(per_table_ns),
        max_ns=max(per_table_ns),
    )


def compare_costs(
    pairs: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    boots: tuple[int, int],
    noise_floor: float = 0.0,
    least_ns: int = 2_000_000,
) -> dict[str, Comparison]:
    """Compare the cost per table with its earlier self, size by size.

    Parameters
    ----------
    pairs:
        For each size, the costs per table before and after, in ns: one value a repetition, at
        least one on each side. A side with one alone is inconclusive, whatever the others show.
    boots, noise_floor, least_ns:
        As for `lab.stats.compare.compare_family`.

    Returns
    -------
    dict
        One comparison per size, in the order of ``pairs``. Its ``ratio`` is that of the geometric
        means. `lab.stats.summary.Verdict.INVALID` is never among them: it is the caller's.

    Raises
    ------
    ValueError
        A size has no repetition on one side.

    """
    sides = {name: (_side(before), _side(after)) for name, (before, after) in pairs.items()}
    pooled = _pooled([side for pair in sides.values() for side in pair])
    comparisons = {}
    for name, pair in sides.items():
        effect = _effect(*pair, pooled, _ALPHA / len(pairs))
        summaries = (_summary(pairs[name][0]), _summary(pairs[name][1]))
        margin = least_change(summaries[0].median_ns, least_ns, noise_floor)
        provisional = min(boots) <= 1
        comparisons[name] = judged(summaries, effect, margin, provisional=provisional)
    return comparisons


class _Side(NamedTuple):
    """The logarithms of one side: their mean, and the sum of squares about it."""

    n: int
    mean: float
    squares: float


class _Spread(NamedTuple):
    """A variance of logarithms with its degrees of freedom; 0 and 0 where nothing is known."""

    variance: float
    freedom: int


def _side(values: Sequence[float]) -> _Side:
    if not values:
        raise ValueError("nothing to compare: a side has no repetitions")
    logs = [math.log(max(value, 1)) for value in values]
    mean = math.fsum(logs) / len(logs)
    return _Side(len(logs), mean, math.fsum((each - mean) ** 2 for each in logs))


def _summary(values: Sequence[float]) -> Summary:
    return summarize([round(value) for value in values])


def _pooled(sides: Sequence[_Side]) -> _Spread:
    freedom = sum(side.n - 1 for side in sides)
    return _Spread(math.fsum(side.squares for side in sides) / max(freedom, 1), freedom)


def _effect(before: _Side, after: _Side, pooled: _Spread, alpha: float) -> Effect:
    """Return the ratio of geometric means with its interval of level 1 − ``alpha``.

    Without an interval where a side has one repetition alone: it then spans a factor of a million.
    """
    centre = after.mean - before.mean
    carried = min(before.n, after.n) > 1
    half = power = _WIDEST
    if carried:
        own = _pooled((before, after))
        variance = max(own.variance, pooled.variance)
        error = math.sqrt(variance * (1 / before.n + 1 / after.n))
        half = min(student_quantile(1 - alpha / 2, pooled.freedom) * error, _WIDEST)
        power = min(student_quantile(_POWER, pooled.freedom) * error, _WIDEST)
    return Effect(
        ratio=math.exp(centre),
        low=math.exp(centre - half),
        high=math.exp(centre + half),
        detectable=math.expm1(half + power),
        carried=carried,
        replicated=True,
    )
