"""Whether a cell has more than one mode, and where they are.

Two criteria, either of which suffices, because each is blind where the other sees. Both look at
logarithms, since latencies spread in proportion to their size.

- *A gap* between two groups that is wide against the groups' own spread: sees well separated modes
  from 20 samples on, and is blind once a few stragglers lie between them.
- *The dip* of Hartigan and Hartigan, beyond what a uniform distribution, the worst single mode,
  gives in 1% of cells: sees modes in larger cells, stragglers or not.

Simulated (1,000 cells each of 30 to 200 samples, clocks fine and coarse), more than one mode is
named where there is one in at most 1% of uniform, normal, lognormal, exponential and Pareto cells,
and in 2% of cells with Cauchy tails. Modes at 1 and 2 with 10% spread, the slower in 30% of
samples, are named in 70% of cells of 30 and in 98% of cells of 60.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, pairwise

from lab.stats.dip import dip
from lab.stats.order import quantile

_LEAST_SAMPLES = 20

# A mode holds this share of the samples, and this many: fewer are outliers, which the maximum and
# the upper percentiles show.
_LEAST_SHARE = 0.15
_LEAST_MEMBERS = 5

# Modes closer than 5% are one to whoever reads the figures, however distinct the groups are.
_LEAST_DISTANCE = math.log(1.05)

# The gap in units of the two groups' interquartile ranges, 33/n but at least 0.5: a null sample's
# widest gap shrinks as log(n)/n, and the worst (Cauchy tails) stays below this in 98% of cells.
_GAP_TIMES_N = 33.0
_LEAST_GAP = 0.5

# The 99% point of sqrt(n) × dip for uniform samples, simulated (4,000 to 40,000 each): 0.540 at
# n = 20, 0.571 at 50, 0.590 at 100, 0.598 at 200, 0.603 at 500, 0.601 at 1,000. One value for all n
# errs on the side of one mode.
_DIP_BOUND = 0.60


def find_modes(ordered: Sequence[int]) -> tuple[float, ...]:
    """Return the modes of a sorted cell in ns, ascending; empty where it has only one.

    A mode is given as the median of its group. Each group is searched again, so there may be more
    than two. Below 20 samples nothing is named.
    """
    groups = _groups(ordered, _spread_logs(ordered))
    if len(groups) == 1:
        return ()
    return tuple(quantile(group, 50) for group in groups)


def _groups(ordered: Sequence[int], logs: list[float]) -> list[Sequence[int]]:
    """Return the samples parted into one group for each mode."""
    cut = _cut(logs)
    if cut is None:
        return [ordered]
    return _groups(ordered[:cut], logs[:cut]) + _groups(ordered[cut:], logs[cut:])


def _cut(logs: list[float]) -> int | None:
    """Return where a second mode's samples begin, or None where there is only one mode."""
    n = len(logs)
    if n < _LEAST_SAMPLES:
        return None
    cut = _gap(logs)
    if cut is None and math.sqrt(n) * dip(logs) > _DIP_BOUND:
        cut = _valley(logs)
    if cut is None or quantile(logs[cut:], 50) - quantile(logs[:cut], 50) < _LEAST_DISTANCE:
        return None
    return cut


def _gap(logs: list[float]) -> int | None:
    """Return the cut at the gap that is widest against the groups beside it, if wide enough."""
    n = len(logs)
    members = max(_LEAST_MEMBERS, math.ceil(_LEAST_SHARE * n))
    bound = max(_GAP_TIMES_N / n, _LEAST_GAP)

    def clearance(cut: int) -> float:
        gap = logs[cut] - logs[cut - 1]
        return gap - bound * (_quartile_range(logs[:cut]) + _quartile_range(logs[cut:]))

    best = max(range(members, n - members + 1), key=clearance)
    return best if clearance(best) > 0 else None


def _valley(logs: list[float]) -> int:
    """Return the cut at the sparsest place, measured against the densest on either side of it.

    Density is that of windows of n/10 spacings, and each side holds at least a tenth of the cell.
    """
    width = max(3, len(logs) // 10)
    density = [width / (b - a) for a, b in zip(logs, logs[width:], strict=False)]
    left = list(accumulate(density, max))
    right = list(accumulate(reversed(density), max))[::-1]
    sparsest = max(
        range(width, len(density) - width),
        key=lambda i: min(left[i - width], right[i + width]) / density[i],
    )
    return max(range(sparsest + 1, sparsest + width + 1), key=lambda cut: logs[cut] - logs[cut - 1])


def _quartile_range(logs: Sequence[float]) -> float:
    return quantile(logs, 75) - quantile(logs, 25)


def _spread_logs(ordered: Sequence[int]) -> list[float]:
    """Return the logarithms of sorted samples, equal ones spread evenly over one tick of the clock.

    A coarse clock makes many modes out of one; the tick is the least difference that occurs.
    """
    tick = min((b - a for a, b in pairwise(ordered) if b > a), default=1)
    spread = [
        math.log(value + tick * (i + 0.5) / count)
        for value, count in Counter(ordered).items()
        for i in range(count)
    ]
    # Beyond the resolution of a float the spread values would be equal again.
    return list(accumulate(spread, lambda last, value: max(value, math.nextafter(last, math.inf))))
