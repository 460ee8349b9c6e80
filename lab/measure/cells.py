"""The cells of a run: which there are, and which of their samples count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from lab.measure.record import Block, Run, durations

MOST_EXCLUDED = 0.05
"""The share of samples that may be left out before the cell is void."""


class CellSamples(msgspec.Struct, frozen=True, kw_only=True):
    """The samples of one cell. ``durations`` are in ns and in order.

    ``excluded`` counts the samples left out by recorded cause (warm-ups are no samples in this
    sense), ``reasons`` names the causes. ``void`` says why the cell does not count.
    """

    durations: tuple[int, ...]
    objects: int
    excluded: int
    reasons: tuple[str, ...]
    void: str


def asked_and_drops(run: Run) -> tuple[str, ...]:
    """Return the kinds of statement of ``run``: as asked for, each create followed by its drop.

    What else was executed comes last.
    """
    executed = dict.fromkeys(statement for block in run.blocks for statement in _statements(block))
    ordered: dict[str, None] = {}
    for statement in run.plan.statements:
        ordered[statement] = None
        what = statement.removeprefix("create-")
        if what != statement and f"drop-{what}" in executed:
            ordered[f"drop-{what}"] = None
    return tuple(ordered | executed)


def _statements(block: Block) -> Iterator[str]:
    yield from block.statements
    for sample in block.samples:
        yield sample.statement


def cell_samples(run: Run, statement: str) -> CellSamples:
    """Return what counts of ``statement`` in ``run``, and what was left out, and why.

    Blocks count or not by themselves: where the server was lost late in a run, which is void then,
    what was measured before stays.
    """
    kept = tuple(durations(run, statement))
    blocks = [
        block
        for block in run.blocks
        if block.purpose == "latency"
        and any(sample.statement == statement for sample in block.samples)
    ]
    reasons: Counter[str] = Counter()
    for block in blocks:
        for sample in block.samples:
            if sample.statement != statement or sample.warmup:
                continue
            if block.void:
                reasons[f"block {block.index} is void: {block.void}"] += 1
            elif sample.error:
                reasons[sample.error] += 1
    counts = tuple(dict.fromkeys(block.objects_before.total for block in blocks if not block.void))
    excluded = reasons.total()
    return CellSamples(
        durations=kept,
        objects=counts[0] if counts else _objects(run, blocks),
        excluded=excluded,
        reasons=tuple(f"{count} × {reason}" for reason, count in reasons.items()),
        void=_void(len(kept), excluded, counts),
    )


def _objects(run: Run, blocks: list[Block]) -> int:
    found = blocks or list(run.blocks)
    return found[0].objects_before.total if found else 0


def _void(kept: int, excluded: int, counts: tuple[int, ...]) -> str:
    if not kept + excluded:
        return "no samples"
    share = excluded / (kept + excluded)
    if share > MOST_EXCLUDED:
        return f"{share:.1%} of the samples are excluded, more than {MOST_EXCLUDED:.0%}"
    if len(counts) > 1:
        numbers = " and ".join(f"{count:,}" for count in counts)
        return f"measured at more than one object count ({numbers})"
    return ""
