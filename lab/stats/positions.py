"""How the cost of a statement depends on its position in a transaction.

The curve and what is known of it: `lab.stats.curve`.

*Shape.* A slope is claimed where the interval of the linear fit lies above 0 and the fitted cost
grows by at least 10% over the measured range; a curvature where its interval lies above 0 too and
it adds at least 10% to where the line on which the curve begins would end. What falls with the
position is called constant: it makes no transaction O(n²); ``slope_high_ns`` below 0 tells of it.

*Simulated* (300 to 500 runs of 1, 5, 10, 25, 50, 100, 200, 300, 500 statements × 3; from statement
to statement 15% lognormal noise with 2% stalls of 5×, from transaction to transaction 5%; without
and with autoregressive noise of 5% (φ 0.98) or 10% (φ 0.9) within transactions). Constant is called
constant in over 99%. A slope of 0.9 ms on a floor of 100 ms is found always, and so is one of
0.1 ms; the interval covers the truth in 92 to 97%, that of a slope of 5 ms, too. Linear is taken
for quadratic in at most 3%; a curvature that doubles the cost at 500 is named in all runs, upon a
slope or alone. Of 1, 5, 10, 20 statements × 2: constant in over 99%; a slope that doubles the cost
at 20 is found in 64 to 84%, one that makes it fivefold in all; covered in 96 to 98%; a curvature
that doubles it is named as such in 14 to 55%, and mostly as a slope otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import count

import msgspec

from lab.stats.curve import fit_curve, take_samples
from lab.stats.order import median_interval, quantile

_LEAST_STATEMENTS = 5
_LEAST_TRANSACTIONS = 2
_LEAST_SAMPLES = 6
_LEAST_GROWTH = 0.1


class Shape(StrEnum):
    """How the cost of a statement grows with its position; the whole transaction is one order up.

    A cost that grows linearly by position makes a transaction of n statements O(n²): as where each
    statement carries out those before it anew.
    """

    CONSTANT = "constant"
    LINEAR = "linear"
    QUADRATIC = "quadratic"


class PositionBin(msgspec.Struct, frozen=True, kw_only=True):
    """The statements at positions ``first`` to ``last``, in ns: their median and its interval.

    ``n`` statements of ``transactions`` transactions; the interval (95%) is None where these are
    too few to carry one.
    """

    first: int
    last: int
    n: int
    transactions: int
    median_ns: float
    low_ns: float | None
    high_ns: float | None


class PositionFit(msgspec.Struct, frozen=True, kw_only=True):
    """The curve that the cost by position follows: floor + slope · p + curvature · p².

    ``floor_ns`` is the fitted cost at position 0; where it is constant, that of the median
    transaction, each by the statements that it stands for. ``slope_ns`` is per position,
    ``curvature_ns`` per position squared; what the shape has not is 0. ``slope_low_ns`` and
    ``slope_high_ns`` bound the slope of the linear fit with 95% confidence, whatever the shape.
    ``growth`` is the fitted cost at ``last`` over that at ``first``. ``detectable_ns`` is the
    smallest slope that could have been told from none. ``transactions`` is how many stand behind
    it.
    """

    shape: Shape
    first: int
    last: int
    transactions: int
    floor_ns: float
    slope_ns: float
    slope_low_ns: float
    slope_high_ns: float
    curvature_ns: float
    growth: float
    detectable_ns: float


def bins(transactions: Sequence[Sequence[int]]) -> tuple[PositionBin, ...]:
    """Return the statements' cost by ranges of positions, in ns.

    The ranges are 1, 2–10, 11–25, 26–50, 51–100, 101–200 and so on, from there with bounds at 1, 2,
    3 and 5 times powers of ten; the last one ends where the data do. The interval is that of the
    median of these very statements, from order statistics: given where at least six stand behind
    it, of two transactions or more, and no wider for what a transaction's statements have in
    common.
    """
    found = []
    for first, end in _ranges(max(map(len, transactions), default=0)):
        parts = [part for part in (each[first - 1 : end] for each in transactions) if part]
        ordered = sorted(duration for part in parts for duration in part)
        carried = len(ordered) >= _LEAST_SAMPLES and len(parts) >= _LEAST_TRANSACTIONS
        low_ns, high_ns = (median_interval(ordered) if carried else None) or (None, None)
        found.append(
            PositionBin(
                first=first,
                last=end,
                n=len(ordered),
                transactions=len(parts),
                median_ns=quantile(ordered, 50),
                low_ns=low_ns,
                high_ns=high_ns,
            )
        )
    return tuple(found)


def fit_positions(transactions: Sequence[Sequence[int]]) -> PositionFit | None:
    """Return the curve of cost by position; None with fewer than two transactions of 5 or more.

    Parameters
    ----------
    transactions:
        For each transaction, what its statements took, in ns, by position. A duration of 0 counts
        as 1 ns. Transactions of fewer than three statements add nothing, and are not counted.

    """
    if sum(len(each) >= _LEAST_STATEMENTS for each in transactions) < _LEAST_TRANSACTIONS:
        return None
    samples = take_samples([each for each in transactions if len(each) > 2])
    linear = fit_curve(samples, 1)
    shape, chosen = Shape.CONSTANT, fit_curve(samples, 0)
    if linear.claimed and linear.growth >= 1 + _LEAST_GROWTH:
        shape, chosen = Shape.LINEAR, linear
        bent = fit_curve(samples, 2)
        if bent.claimed and bent.bend >= _LEAST_GROWTH:
            shape, chosen = Shape.QUADRATIC, bent
    floor, slope, curvature = chosen.coefficients
    return PositionFit(
        shape=shape,
        first=samples.first,
        last=samples.last,
        transactions=len(samples.starts),
        floor_ns=floor,
        slope_ns=slope,
        slope_low_ns=linear.low,
        slope_high_ns=linear.high,
        curvature_ns=curvature,
        growth=chosen.growth,
        detectable_ns=linear.detectable,
    )


def _ranges(longest: int) -> Iterator[tuple[int, int]]:
    """Yield first and last of the ranges that ``longest`` positions fall into."""
    first = 1
    for end in _bounds():
        if first > longest:
            return
        yield first, min(end, longest)
        first = end + 1


def _bounds() -> Iterator[int]:
    yield from (1, 10, 25, 50)
    for exponent in count(2):
        yield from (step * 10**exponent for step in (1, 2, 3, 5))
