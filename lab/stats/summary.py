"""The shapes of what the statistics say: one cell summarised, two cells compared."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Drift(msgspec.Struct, frozen=True):
    """A trend over the samples of a cell, in order.

    ``total`` is the change over the run along the fitted curve, as a share of where that begins
    (0.05 is +5%; always above −1); ``p`` is that of the Mann–Kendall test.
    """

    total: float
    p: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One cell in figures, all in ns; nothing was excluded by value.

    ``low_ns`` and ``high_ns`` bound the median with 95% confidence, from order statistics; they are
    None where n carries no such interval (below 6). ``spread_ns`` is the interquartile range. A
    percentile is None where n does not carry it (p90 from 50, p95 from 100, p99 from 500).
    ``modes_ns`` holds two or more positions where the cell has more than one mode, else nothing.
    """

    n: int
    median_ns: float
    low_ns: float | None
    high_ns: float | None
    spread_ns: float
    min_ns: int
    max_ns: int
    p90_ns: float | None = None
    p95_ns: float | None = None
    p99_ns: float | None = None
    drift: Drift | None = None
    modes_ns: tuple[float, ...] = ()


class Verdict(StrEnum):
    """The five answers to "did it change?"."""

    IMPROVED = "improved"
    REGRESSED = "regressed"
    SMALL_CHANGE = "small change"
    NO_MEASURABLE_CHANGE = "no measurable change"
    INCONCLUSIVE = "inconclusive"
    INVALID = "invalid"


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One cell against an earlier one.

    ``ratio`` is after / before (Hodges–Lehmann on logarithms) with its interval ``low`` to
    ``high``, 95% for all cells of the family together; ``margin`` is the share of change (δ, 0.03
    is 3%) that counts; ``detectable`` is the smallest share that could have been seen.
    ``provisional`` where a side has only one boot. ``reasons`` say what prevents a claim, whatever
    the interval (``trend``, ``one block``, ``noisy host``); the verdict is inconclusive then.
    """

    verdict: Verdict
    before: Summary
    after: Summary
    ratio: float
    low: float
    high: float
    margin: float
    detectable: float
    provisional: bool
    reasons: tuple[str, ...] = ()
