"""What a change amounts to, and how well it is known: after over before, from blocks of samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

from lab.stats.student import student_quantile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Blocks = Sequence[Sequence[int]]
"""The latencies of one side in ns: one sequence for each block, in order."""

_POWER = 0.8
_LEAST_SAMPLES = 6

# A factor of a million either way says that nothing is known, and can still be computed with.
_WIDEST = math.log(1e6)


class Effect(NamedTuple):
    """After over before, with its interval; both positive.

    ``detectable`` is the smallest change, as a share, that an interval of this width would have
    told from none four times out of five. ``carried`` is False where there are too few samples for
    an interval: ``low`` and ``high`` are the extreme ratios then, and ``detectable`` is at least 1.
    ``replicated`` says that what varies from block to block is in the interval.
    """

    ratio: float
    low: float
    high: float
    detectable: float
    carried: bool
    replicated: bool


class _Width(NamedTuple):
    """An interval on logarithms, with the quantiles of its level and of the power."""

    low: float
    high: float
    level: float
    power: float


def find_effect(before: Blocks, after: Blocks, alpha: float) -> Effect:
    """Return the ratio of ``after`` to ``before`` with its interval of level 1 − ``alpha``.

    The ratio is the Hodges–Lehmann estimate on logarithms: the median of all after/before ratios.
    A duration of 0 counts as 1 ns. Of two intervals the wider one on either side is taken:

    - *by sample*, bounded by the ratios of rank k and mn + 1 − k, where k is the critical value of
      the Mann–Whitney statistic (normal approximation with continuity correction; ties only make it
      wider). It takes all samples of a side to be independent.
    - *by block*: the ratio ± t × its standard error as the blocks show it. A block's position is
      the Hodges–Lehmann location of its logarithms; the variance s² of positions about their side's
      mean is pooled over both sides (df = blocks − 2, for which t stands), and the error is
      s √Σ(n_k/n)² over the blocks of both sides, n_k of a side's n samples being in block k. So
      whatever makes the samples of one block alike (a busy second of the host) widens it.

    Where neither side has two blocks, the second is unknown, and ``replicated`` False.
    Needs mn floats of memory.
    """
    import numpy as np

    logs_before, logs_after = (
        [_logs(block) for block in side if block] for side in (before, after)
    )
    ones, others = np.concatenate(logs_before), np.concatenate(logs_after)
    differences = np.sort(np.subtract.outer(others, ones), axis=None)
    centre = float(np.median(differences))
    by_sample = _by_sample(differences, len(ones), len(others), alpha)
    by_block = _by_block((logs_before, logs_after), centre, alpha)
    widths = [width for width in (by_sample, by_block) if width is not None]
    carried = by_sample is not None
    if not carried:
        widths.append(_Width(float(differences[0]), float(differences[-1]), 1.0, 0.0))
    detectable = max(math.expm1(_half(each) * (1 + each.power / each.level)) for each in widths)
    return Effect(
        ratio=math.exp(centre),
        low=math.exp(min(each.low for each in widths)),
        high=math.exp(max(each.high for each in widths)),
        detectable=detectable if carried else max(detectable, 1.0),
        carried=carried,
        replicated=by_block is not None,
    )


def _logs(block: Sequence[int]) -> NDArray[np.float64]:
    import numpy as np

    logs: NDArray[np.float64] = np.log(np.maximum(np.asarray(block, dtype=np.float64), 1))
    return logs


def _half(width: _Width) -> float:
    return (width.high - width.low) / 2


def _by_sample(differences: NDArray[np.float64], m: int, n: int, alpha: float) -> _Width | None:
    """Return the Mann–Whitney interval of sorted differences; None where n carries none."""
    z = NormalDist().inv_cdf(1 - alpha / 2)
    rank = math.floor(m * n / 2 + 0.5 - z * math.sqrt(m * n * (m + n + 1) / 12))
    if min(m, n) < _LEAST_SAMPLES or rank < 1:
        return None
    low, high = float(differences[rank - 1]), float(differences[-rank])
    return _Width(low, high, z, NormalDist().inv_cdf(_POWER))


def _by_block(
    sides: tuple[list[NDArray[np.float64]], ...], centre: float, alpha: float
) -> _Width | None:
    """Return the interval around ``centre`` by block; None where no side has two blocks."""
    import numpy as np

    freedom = sum(len(side) - 1 for side in sides)
    if freedom < 1:
        return None
    squares = shares = 0.0
    for side in sides:
        positions = np.array([_location(block) for block in side])
        weights = np.array([len(block) for block in side]) / sum(len(block) for block in side)
        squares += float(((positions - weights @ positions) ** 2).sum())
        shares += float((weights**2).sum())
    t = student_quantile(1 - alpha / 2, freedom)
    half = min(t * math.sqrt(squares / freedom * shares), _WIDEST)
    return _Width(centre - half, centre + half, t, student_quantile(_POWER, freedom))


def _location(logs: NDArray[np.float64]) -> float:
    """Return the Hodges–Lehmann location: the median of the means of all pairs, each with itself.

    Nearly as sharp as the mean where there are no outliers, and hardly moved by those there are.
    """
    import numpy as np

    first, second = np.triu_indices(len(logs))
    return float(np.median((logs[first] + logs[second]) / 2))
