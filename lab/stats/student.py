"""Student's t distribution, for whole degrees of freedom."""

from __future__ import annotations

import math

_HALVINGS = 60  # leaves less of the interval than a float resolves


def student_quantile(p: float, freedom: int) -> float:
    """Return the ``p``-quantile (½ ≤ p < 1) of Student's t with ``freedom`` ≥ 1 degrees of freedom.

    Found by halving the interval of the angle θ = atan(t/√freedom), in which the distribution is a
    finite sum (Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4).
    """
    low, high = 0.0, math.pi / 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _within(middle, freedom) < 2 * p - 1:
            low = middle
        else:
            high = middle
    return math.sqrt(freedom) * math.tan(low)


def _within(angle: float, freedom: int) -> float:
    """Return the probability of |T| < √freedom · tan(angle)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = term if freedom > 1 else 0.0
    for power in range(odd + 2, freedom - 1, 2):
        term *= cosine**2 * (power - 1) / power
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
