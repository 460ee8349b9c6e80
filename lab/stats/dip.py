"""The dip of a sample: how far it is from the nearest distribution with a single mode.

Written from the description of the algorithm in J. A. Hartigan and P. M. Hartigan, "The dip test of
unimodality", Annals of Statistics 13 (1985), section 3.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


def dip(ordered: Sequence[float]) -> float:
    """Return the dip of a sorted, non-empty sample: 1/(2n) at least, 1/4 at most.

    It is the largest distance between the empirical distribution and the unimodal one nearest to
    it. The modal interval is narrowed until the greatest convex minorant and the least concave
    majorant over it lie no further apart than the misfit outside it. Values must be distinct
    (`lab.stats.modes` spreads ties).
    """
    n = len(ordered)
    low, high, misfit = 0, n - 1, 1.0
    while low < high:
        below = _hull(ordered, low, high, lower=True)
        above = _hull(ordered, low, high, lower=False)
        apart, left, right = _widest(ordered, below, above)
        if apart <= misfit:
            break
        convex = max(i + 1 - _height(ordered, below, i, 0) for i in range(low, left + 1))
        concave = max(_height(ordered, above, i, 1) - i for i in range(right, high + 1))
        misfit = max(misfit, convex, concave)
        if (left, right) == (low, high):
            break
        low, high = left, right
    return misfit / (2 * n)


def _hull(ordered: Sequence[float], low: int, high: int, *, lower: bool) -> list[int]:
    """Return the vertices of the convex minorant (``lower``) or concave majorant of (x[i], i)."""
    sign = 1 if lower else -1
    hull: list[int] = []
    for i in range(low, high + 1):
        while len(hull) > 1:
            a, b = hull[-2], hull[-1]
            turn = (b - a) * (ordered[i] - ordered[b]) - (i - b) * (ordered[b] - ordered[a])
            if sign * turn < 0:
                break
            hull.pop()
        hull.append(i)
    return hull


def _height(ordered: Sequence[float], hull: list[int], i: int, lift: int) -> float:
    """Return the hull's height at sample ``i``, raised by ``lift`` steps."""
    at = bisect_left(hull, i)
    if hull[at] == i:
        return i + lift
    a, b = hull[at - 1], hull[at]
    share = (ordered[i] - ordered[a]) / (ordered[b] - ordered[a])
    return a + (b - a) * share + lift


def _widest(ordered: Sequence[float], below: list[int], above: list[int]) -> tuple[float, int, int]:
    """Return the largest distance between the two hulls, and the modal interval it leaves.

    The distance is attained at a vertex; the interval runs from the minorant's vertex to the
    majorant's next one, or to the majorant's vertex from the minorant's last one before it.
    """
    apart, left, right = 0.0, below[0], above[-1]
    for i in below:
        gap = _height(ordered, above, i, 1) - i
        if gap > apart:
            apart, left, right = gap, i, above[bisect_left(above, i)]
    for i in above:
        gap = i + 1 - _height(ordered, below, i, 0)
        if gap > apart:
            start = bisect_left(below, i)
            apart, left, right = gap, below[start if below[start] == i else start - 1], i
    return apart, left, right
