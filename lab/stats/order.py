"""Order statistics: quantiles of a sorted sample and the distribution-free interval of the median.

Plain Python, because a sampler asks for the interval between two rounds and must not be held up by
loading numpy.
"""

from __future__ import annotations

from collections.abc import Sequence


def quantile(ordered: Sequence[float], percent: int) -> float:
    """Return the ``percent``-th percentile (1 to 99) of a sorted, non-empty sample.

    Definition: the smallest sample with at least ``percent``% of the samples at or below it; where
    exactly ``percent``% are, the mean of that sample and the next (the inverse of the empirical
    distribution, averaged at its steps: definition 2 of Hyndman and Fan, The American Statistician
    50, 1996). At 50 it is the usual median.
    """
    whole, rest = divmod(len(ordered) * percent, 100)
    if rest:
        return float(ordered[whole])
    return (ordered[whole - 1] + ordered[whole]) / 2


def median_rank(n: int) -> int:
    """Return the rank r for which samples r and n + 1 − r bound the median with 95% confidence.

    The largest r with P(B < r) ≤ 2.5%, B binomial(n, ½); 0 where there is none (n below 6). Exact,
    in integers, and valid for any distribution (Conover, Practical Nonparametric Statistics, §3.2).
    """
    rank, ways, below = 0, 1, 1
    while 40 * below <= 1 << n:
        rank += 1
        ways = ways * (n - rank + 1) // rank
        below += ways
    return rank


def median_interval(ordered: Sequence[int]) -> tuple[int, int] | None:
    """Return the 95% interval of the median of a sorted sample; None below six samples."""
    rank = median_rank(len(ordered))
    if rank == 0:
        return None
    return ordered[rank - 1], ordered[-rank]
