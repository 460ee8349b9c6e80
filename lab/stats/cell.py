"""One cell: its samples in figures, and whether they suffice."""

from __future__ import annotations

from collections.abc import Sequence

from lab.stats.drift import find_drift
from lab.stats.modes import find_modes
from lab.stats.order import median_interval, quantile
from lab.stats.summary import Summary

# A percentile is given from this many samples on, so that at least five lie above it. With fewer it
# would be the maximum under another name.
_PERCENTILE_FROM = {90: 50, 95: 100, 99: 500}


def summarize(durations_ns: Sequence[int]) -> Summary:
    """Return the figures of one cell.

    Parameters
    ----------
    durations_ns:
        The latencies that count, in ns and in the order in which they were taken (only the drift
        depends on the order). At least one.

    Returns
    -------
    Summary
        Median, interquartile range and percentiles as `lab.stats.order.quantile` defines them; the
        interval of the median from order statistics, at least 95% whatever the distribution; drift
        and modes only where they are clear (`lab.stats.drift`, `lab.stats.modes`).

    Raises
    ------
    ValueError
        There is no sample.

    """
    if not durations_ns:
        raise ValueError("a cell without samples has no figures")
    ordered = sorted(durations_ns)
    median_ns = quantile(ordered, 50)
    low_ns, high_ns = median_interval(ordered) or (None, None)
    return Summary(
        n=len(ordered),
        median_ns=median_ns,
        low_ns=low_ns,
        high_ns=high_ns,
        spread_ns=quantile(ordered, 75) - quantile(ordered, 25),
        min_ns=ordered[0],
        max_ns=ordered[-1],
        p90_ns=_percentile(ordered, 90),
        p95_ns=_percentile(ordered, 95),
        p99_ns=_percentile(ordered, 99),
        drift=find_drift(durations_ns),
        modes_ns=find_modes(ordered),
    )


def is_precise(durations_ns: Sequence[int], precision: float) -> bool:
    """Return whether the 95% interval of the median lies within ±``precision`` (0.03 is 3%) of it.

    Never with fewer than six samples. To be asked after every ten samples or so; stopping by this
    rule leaves the interval its coverage, unlike stopping by a p value.
    """
    ordered = sorted(durations_ns)
    interval = median_interval(ordered)
    if interval is None:
        return False
    median_ns = quantile(ordered, 50)
    allowed_ns = precision * median_ns
    return interval[0] >= median_ns - allowed_ns and interval[1] <= median_ns + allowed_ns


def _percentile(ordered: Sequence[int], percent: int) -> float | None:
    return quantile(ordered, percent) if len(ordered) >= _PERCENTILE_FROM[percent] else None
