"""Two runs compared cell by cell, where their samples are not paired: an earlier run against this.

A change is taken to be a factor that is common to the whole cell. What varies from block to block
is in the intervals (`lab.stats.effect`); what varies from boot to boot cannot be seen in a run of
one boot, which caps a verdict at provisional.

*Effect* and its interval: `lab.stats.effect.find_effect`.

*Family.* Verdicts make claims of several kinds (beyond the margin, within it, other than 1), so
the intervals are simultaneous: each of m cells has one of level 1 − 0.05/m (Bonferroni), and
with 95% confidence all claims of a report hold together. Holm's procedure, which would be
sharper, tests one kind of claim, "no difference at all", and gives no intervals; it is not
used, and no p value is computed.

*Margin.* The largest of 3%, ``least_ns`` as a share of the median before, and ``noise_floor``.

*Trend.* Where latencies of a side drifted by more than the margin while they were taken
(`lab.stats.drift`), the sides differ by when they were taken: nothing is claimed.

*One block* on each side shows nothing of what varies between blocks: nothing is claimed.

*Few samples.* Below six on a side, or where the family's level needs more, no interval exists:
the verdict is inconclusive.

*Simulated* (60 to 200 families of 9 cells each; 10% noise within blocks of ten). A/A with
noise of 5, 10 and 15% from block to block, common to the cells or of each its own: a change of
any size is claimed somewhere in at most 4% of families with 2, 3, 5, 18 or 20 blocks a side,
and with the interval by sample alone in up to 87% of those with 3 blocks and 53% of those with
20. (From one block of 30 a side, claims would be made in 37 to 100% of families.) A true change
of 15% (5% noise within blocks, none between) is found with 3 blocks a side in 91% of cells, one
of 10% with 5 blocks in 97%.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from lab.stats.cell import summarize
from lab.stats.effect import Blocks, Effect, find_effect
from lab.stats.summary import Comparison, Summary, Verdict

_ALPHA = 0.05
_LEAST_SHARE = 0.03

TREND = "trend"
ONE_BLOCK = "one block"
"""Reasons of a verdict: a trend on one of the sides; one block on each side."""


def compare_family(
    pairs: Mapping[str, tuple[Blocks, Blocks]],
    *,
    boots: tuple[int, int],
    noise_floor: float = 0.0,
    least_ns: int = 2_000_000,
) -> dict[str, Comparison]:
    """Compare each cell of a report with its earlier self.

    Parameters
    ----------
    pairs:
        For each cell, the latencies before and after, in ns, block by block and in order; at least
        one on each side.
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

    """
    comparisons = {}
    for name, (before, after) in pairs.items():
        sides = (summarize(_joined(before)), summarize(_joined(after)))
        effect = find_effect(before, after, _ALPHA / len(pairs))
        margin = least_change(sides[0].median_ns, least_ns, noise_floor)
        comparisons[name] = judged(sides, effect, margin, provisional=min(boots) <= 1)
    return comparisons


def _joined(blocks: Blocks) -> Sequence[int]:
    durations = tuple(chain.from_iterable(blocks))
    if not durations:
        raise ValueError("nothing to compare: a side has no samples")
    return durations


def least_change(median_ns: float, least_ns: int, noise_floor: float) -> float:
    """Return the margin (δ): the share of change that counts, of a cell of that median before."""
    return max(_LEAST_SHARE, least_ns / max(median_ns, 1), noise_floor)


def judged(
    sides: tuple[Summary, Summary], effect: Effect, margin: float, *, provisional: bool
) -> Comparison:
    """Return the comparison of two ``sides``, with the verdict that ``effect`` carries."""
    trend = any(side.drift is not None and abs(side.drift.total) > margin for side in sides)
    found = ((TREND, trend), (ONE_BLOCK, not effect.replicated))
    reasons = tuple(reason for reason, holds in found if holds)
    return Comparison(
        verdict=Verdict.INCONCLUSIVE if reasons else _verdict(effect, margin),
        before=sides[0],
        after=sides[1],
        ratio=effect.ratio,
        low=effect.low,
        high=effect.high,
        margin=margin,
        detectable=effect.detectable,
        provisional=provisional,
        reasons=reasons,
    )


def _verdict(effect: Effect, margin: float) -> Verdict:
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
