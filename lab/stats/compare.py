"""Two runs compared cell by cell, where their samples are not paired: an earlier run against this.

Intervals and p values come from the Mann–Whitney distribution and take a change to be a factor that
is common to the whole cell. Samples within a boot share that boot's noise, which no test on samples
can see; therefore one boot on either side caps a verdict at provisional.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import NamedTuple

from lab.stats.cell import summarize
from lab.stats.summary import Comparison, Verdict

_ALPHA = 0.05
_POWER = 0.8
_LEAST_SAMPLES = 6
_LEAST_SHARE = 0.03


class _Effect(NamedTuple):
    """after / before with its interval; ``carried`` is False where n is too small for one."""

    ratio: float
    low: float
    high: float
    detectable: float
    carried: bool


def compare_family(
    pairs: Mapping[str, tuple[Sequence[int], Sequence[int]]],
    *,
    boots: tuple[int, int],
    noise_floor: float = 0.0,
    least_ns: int = 2_000_000,
) -> dict[str, Comparison]:
    """Compare each cell of a report with its earlier self.

    Parameters
    ----------
    pairs:
        For each cell, the latencies before and after, in ns; at least one on each side.
    boots:
        How many boots of the server stand behind before and after.
    noise_floor:
        The share of change that an A/A run shows on this host.
    least_ns:
        A smaller change of the median than this is of no interest. A target with fast statements
        declares its own: 2 ms is twice a statement that takes 1 ms, and then nothing can improve.

    Returns
    -------
    dict
        One comparison per cell, in the order of ``pairs``. `Verdict.INVALID` is never among them:
        it is the caller's, who knows passports and void cells.

    Raises
    ------
    ValueError
        A cell has no samples on one side.

    Notes
    -----
    *Effect.* The ratio is the Hodges–Lehmann estimate on logarithms: the median of all after/before
    ratios. Its interval is bounded by the ratios of rank k and mn + 1 − k, where k is the critical
    value of the Mann–Whitney statistic (normal approximation with continuity correction; ties only
    make it wider). A duration of 0 counts as 1 ns.

    *Family.* Verdicts make claims of several kinds (beyond the margin, within it, other than 1), so
    the intervals are simultaneous: each of m cells has one of level 1 − 0.05/m (Bonferroni), and
    with 95% confidence all claims of a report hold together. ``p_adjusted`` is Holm's, which is
    the sharper test of "no difference at all": whenever an interval excludes 1, p_adjusted is at
    most 0.05. The reverse may fail by a little; the interval decides.

    *Margin.* The largest of 3%, ``least_ns`` as a share of the median before, and ``noise_floor``.

    *Detectable.* The smallest change, as a share, that an interval of this width would have told
    from none four times out of five: half the interval's width on logarithms × (1 + z(0.8)/z),
    z being the normal quantile of the interval's level, z(0.8) that of the power.

    *Few samples.* Below six on a side, or where the family's level needs more, no interval exists:
    the verdict is inconclusive, ``low`` and ``high`` are the extreme ratios, and ``detectable`` is
    1 (100%) or more.

    """
    p_values = {name: mann_whitney(before, after) for name, (before, after) in pairs.items()}
    adjusted = holm(p_values)
    comparisons = {}
    for name, (before, after) in pairs.items():
        summary = summarize(before)
        effect = _effect(before, after, _ALPHA / len(pairs))
        margin = max(_LEAST_SHARE, least_ns / max(summary.median_ns, 1), noise_floor)
        comparisons[name] = Comparison(
            verdict=_verdict(effect, margin),
            before=summary,
            after=summarize(after),
            ratio=effect.ratio,
            low=effect.low,
            high=effect.high,
            margin=margin,
            detectable=effect.detectable,
            p=p_values[name],
            p_adjusted=adjusted[name],
            provisional=min(boots) <= 1,
        )
    return comparisons


def mann_whitney(before: Sequence[int], after: Sequence[int]) -> float:
    """Return the two-sided p value of the Mann–Whitney test.

    Normal approximation with continuity correction and tie-corrected variance; errs on the side of
    no difference in small samples. 1 where all values are equal.

    Raises
    ------
    ValueError
        A side has no samples.

    """
    import numpy as np

    if not before or not after:
        raise ValueError("nothing to compare: a side has no samples")
    values, codes, counts = np.unique(
        np.concatenate([np.asarray(before), np.asarray(after)]),
        return_inverse=True,
        return_counts=True,
    )
    if len(values) == 1:
        return 1.0
    m, n = len(before), len(after)
    total = m + n
    midranks = np.cumsum(counts) - (counts - 1) / 2
    statistic = float(midranks[codes[m:]].sum()) - n * (n + 1) / 2
    ties = float((counts.astype(float) ** 3 - counts).sum())
    variance = m * n / 12 * (total + 1 - ties / (total * (total - 1)))
    z = max(abs(statistic - m * n / 2) - 0.5, 0) / math.sqrt(variance)
    return math.erfc(z / math.sqrt(2))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return Holm's adjusted p values (Scandinavian Journal of Statistics 6, 1979)."""
    adjusted = {}
    highest = 0.0
    for rank, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = highest
    return adjusted


def _effect(before: Sequence[int], after: Sequence[int], alpha: float) -> _Effect:
    """Return the Hodges–Lehmann ratio with its interval of level 1 − alpha. Needs mn floats."""
    import numpy as np

    m, n = len(before), len(after)
    logs_before, logs_after = (
        np.log(np.maximum(np.asarray(side, dtype=np.float64), 1)) for side in (before, after)
    )
    differences = np.sort(np.subtract.outer(logs_after, logs_before), axis=None)
    z = NormalDist().inv_cdf(1 - alpha / 2)
    rank = math.floor(m * n / 2 + 0.5 - z * math.sqrt(m * n * (m + n + 1) / 12))
    carried = min(m, n) >= _LEAST_SAMPLES and rank >= 1
    if not carried:
        rank = 1
    low, high = float(differences[rank - 1]), float(differences[-rank])
    detectable = math.expm1((high - low) / 2 * (1 + NormalDist().inv_cdf(_POWER) / z))
    return _Effect(
        ratio=math.exp(float(np.median(differences))),
        low=math.exp(low),
        high=math.exp(high),
        detectable=detectable if carried else max(detectable, 1.0),
        carried=carried,
    )


def _verdict(effect: _Effect, margin: float) -> Verdict:
    """Judge an interval against the margin."""
    if not effect.carried:
        return Verdict.INCONCLUSIVE
    if effect.high < 1 - margin:
        return Verdict.IMPROVED
    if effect.low > 1 + margin:
        return Verdict.REGRESSED
    if effect.low < 1 - margin or effect.high > 1 + margin:
        return Verdict.INCONCLUSIVE
    if effect.low <= 1 <= effect.high:
        return Verdict.NO_MEASURABLE_CHANGE
    return Verdict.SMALL_CHANGE
