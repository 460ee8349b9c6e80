"""The cells of a run: which there are, and which of their samples count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain

import msgspec

from lab.measure.record import LATENCY, TRANSACTION, Block, Run, Sample, counted_in

MOST_EXCLUDED = 0.05
"""The share of samples that may be left out before the cell is void."""


class CellSamples(msgspec.Struct, frozen=True, kw_only=True):
    """The samples of one cell that count: ``blocks`` are in ns, each in order, none empty.

    ``excluded`` counts the samples left out by recorded cause (warm-ups are no samples in this
    sense), ``reasons`` names the causes. ``commit_share`` is what of their time fell to COMMIT,
    from 0 to 1; None where none was timed. ``void`` says why the cell does not count.
    """

    blocks: tuple[tuple[int, ...], ...]
    objects: int
    excluded: int
    reasons: tuple[str, ...]
    commit_share: float | None
    void: str

    @property
    def durations(self) -> tuple[int, ...]:
        """The latencies of all blocks, in ns and in order."""
        return tuple(chain.from_iterable(self.blocks))


def asked_and_drops(run: Run) -> tuple[str, ...]:
    """Return the kinds of statement of ``run``: as asked for, each create followed by its drop.

    The run's cycles say which drop belongs to a create. What else was executed comes last.
    """
    executed = dict.fromkeys(statement for block in run.blocks for statement in _statements(block))
    ordered: dict[str, None] = {}
    for statement in run.plan.statements:
        ordered[statement] = None
        for cycle in run.workload.cycles:
            kinds = cycle.statements
            if statement in kinds:
                after = kinds[kinds.index(statement) + 1 :]
                ordered |= dict.fromkeys(kind for kind in after if kind in executed)
    return tuple(ordered | executed)


def _statements(block: Block) -> Iterator[str]:
    yield from block.statements
    for sample in block.samples:
        yield sample.statement


def cell_samples(run: Run, statement: str) -> CellSamples:
    """Return what counts of ``statement`` in ``run``, and what was left out, and why.

    Blocks count or not by themselves: where the server was lost late in a run, which is void then,
    what was measured before stays, and the block that it was lost in voids no cell.
    """
    blocks = [
        block
        for block in run.blocks
        if block.purpose == LATENCY
        and any(sample.statement == statement for sample in block.samples)
    ]
    counting = [found for block in blocks if (found := counted_in(block, statement))]
    kept = tuple(tuple(sample.duration_ns for sample in found) for found in counting)
    void_blocks, errors = _reasons(blocks, statement)
    counts = tuple(dict.fromkeys(block.objects_before.total for block in blocks if not block.void))
    reasons = void_blocks + errors
    return CellSamples(
        blocks=kept,
        objects=counts[0] if counts else _objects(run, blocks),
        excluded=reasons.total(),
        reasons=tuple(f"{count} × {reason}" for reason, count in reasons.items()),
        commit_share=_commit_share(run, list(chain.from_iterable(counting))),
        void=_void(sum(map(len, kept)), errors if run.void else reasons, counts),
    )


def _commit_share(run: Run, samples: list[Sample]) -> float | None:
    # Sums, not medians: only these are the sum of their parts.
    total_ns = sum(sample.duration_ns for sample in samples)
    if run.plan.mode != TRANSACTION or not total_ns:
        return None
    return sum(sample.commit_ns for sample in samples) / total_ns


def _reasons(blocks: list[Block], statement: str) -> tuple[Counter[str], Counter[str]]:
    """Return why samples of ``statement`` are left out, with counts: void blocks, and errors."""
    void: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    for block in blocks:
        for sample in block.samples:
            if sample.statement != statement or sample.warmup:
                continue
            if block.void:
                void[f"block {block.index} is void: {block.void}"] += 1
            elif sample.error:
                errors[sample.error] += 1
    return void, errors


def _objects(run: Run, blocks: list[Block]) -> int:
    found = blocks or list(run.blocks)
    return found[0].objects_before.total if found else 0


def _void(kept: int, reasons: Counter[str], counts: tuple[int, ...]) -> str:
    excluded = reasons.total()
    if not kept and not excluded:
        return "no samples"
    share = excluded / (kept + excluded)
    if share > MOST_EXCLUDED:
        return f"{share:.1%} of the samples are excluded, more than {MOST_EXCLUDED:.0%}"
    if len(counts) > 1:
        numbers = " and ".join(f"{count:,}" for count in counts)
        return f"measured at more than one object count ({numbers})"
    return ""
