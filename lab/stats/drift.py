"""Whether a cell drifted while it was measured."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from lab.stats.summary import Drift

_LEAST_SAMPLES = 10
_GREATEST_P = 0.01
_LEAST_TOTAL = 0.03


def find_drift(durations_ns: Sequence[int]) -> Drift | None:
    """Return the drift of samples in the order in which they were taken, or None.

    Named only where the Mann–Kendall test gives p < 0.01 **and** the trend over the run is above
    3%: neighbouring samples resemble each other, which alone makes small trends look significant.
    The trend is exp(slope × (n − 1)) − 1 with the Theil–Sen slope of the logarithms, since a
    latency cannot fall by more than all of itself. A duration of 0 counts as 1 ns. Below ten
    samples nothing is named.
    """
    n = len(durations_ns)
    if n < _LEAST_SAMPLES:
        return None
    p = mann_kendall(durations_ns)
    if p >= _GREATEST_P:
        return None
    logs = [math.log(max(duration, 1)) for duration in durations_ns]
    total = math.expm1(theil_sen(logs) * (n - 1))
    return Drift(total=total, p=p) if abs(total) > _LEAST_TOTAL else None


def mann_kendall(values: Sequence[int]) -> float:
    """Return the two-sided p value of the Mann–Kendall test for a trend.

    Normal approximation with continuity correction and the variance corrected for ties (Kendall,
    Rank Correlation Methods, 1975); 1 where all values are equal.
    """
    import numpy as np

    array = np.asarray(values, dtype=np.int64)
    n = len(array)
    score = sum(int(np.sign(array[i + 1 :] - array[i]).sum()) for i in range(n - 1))
    ties = Counter(values).values()
    variance = (_pairs_term(n) - sum(_pairs_term(count) for count in ties)) / 18
    if variance == 0:
        return 1.0
    z = max(abs(score) - 1, 0) / math.sqrt(variance)
    return math.erfc(z / math.sqrt(2))


def theil_sen(values: Sequence[float]) -> float:
    """Return the median of the slopes between all pairs of values, per step.

    Needs n(n − 1)/2 floats of memory. At least two values.
    """
    import numpy as np

    array = np.asarray(values, dtype=np.float64)
    slopes = [(array[lag:] - array[:-lag]) / lag for lag in range(1, len(array))]
    return float(np.median(np.concatenate(slopes)))


def _pairs_term(count: int) -> int:
    return count * (count - 1) * (2 * count + 5)
