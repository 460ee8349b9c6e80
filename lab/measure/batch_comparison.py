"""Two batch benchmarks compared: by size of transaction, and by position in it."""

from __future__ import annotations

from collections.abc import Sequence

from lab.measure.batch_analysis import per_table_ns
from lab.measure.batch_record import Batch
from lab.measure.plan import permuted
from lab.measure.record import Run
from lab.stats.summary import Comparison

_SEED = 1
_MOST = 3_000
"""Samples of a side that are compared at most: all pairs of two sides are looked at."""


def common_sizes(before: Run, after: Run) -> tuple[int, ...]:
    """Return the sizes that both runs have a transaction of that counts, in ascending order."""
    one, other = ({batch.size for batch in counting(run)} for run in (before, after))
    return tuple(sorted(one & other))


def counting(run: Run) -> tuple[Batch, ...]:
    """Return the transactions of ``run`` that count, but for those of a sweep."""
    batches = run.batch.batches if run.batch else ()
    return tuple(batch for batch in batches if batch.counts and not batch.swept)


def batch_cells(
    before: Run, after: Run, *, boots: tuple[int, int], least_ns: int
) -> dict[str, Comparison]:
    """Compare what a table costs by size, and what a statement takes by position.

    Both families have intervals of their own: with 95% confidence all claims about sizes hold
    together, and all claims about positions do. A position's samples come in blocks: one for each
    transaction that has all positions of the range, so that all are alike. Where a side has very
    many, as many of each block are picked at random.

    Samples are compared in no order. Tables pile up in the course of a run, on both sides in the
    same way: such a trend is no sign that the sides differ by when they were taken, and what it
    adds from transaction to transaction is in the intervals.
    """
    from lab.stats.batches import compare_costs
    from lab.stats.compare import compare_family

    one, other = counting(before), counting(after)
    by_size = {
        f"transaction of {size:,}": (_of_size(one, size), _of_size(other, size))
        for size in common_sizes(before, after)
    }
    by_position = {
        _name(first, last): sides
        for first, last in _ranges(other)
        if all(sides := (_within(one, first, last), _within(other, first, last)))
    }
    return {
        **compare_costs(by_size, boots=boots, least_ns=least_ns),
        **compare_family(by_position, boots=boots, least_ns=least_ns),
    }


def _name(first: int, last: int) -> str:
    return f"positions {first:,} to {last:,}" if last > first else f"position {first:,}"


def _ranges(batches: Sequence[Batch]) -> tuple[tuple[int, int], ...]:
    from lab.stats.positions import bins

    return tuple((each.first, each.last) for each in bins([each.statements_ns for each in batches]))


def _of_size(batches: Sequence[Batch], size: int) -> list[float]:
    return permuted(per_table_ns(batches, size), _SEED, size)


def _within(batches: Sequence[Batch], first: int, last: int) -> list[list[int]]:
    """Return the times of the statements at these positions, a block for each transaction."""
    long = [batch for batch in batches if batch.size >= last]
    each = max(1, _MOST // max(1, len(long)))
    blocks = [
        permuted(batch.statements_ns[first - 1 : last], _SEED, batch.index)[:each] for batch in long
    ]
    return permuted(blocks, _SEED, first)
