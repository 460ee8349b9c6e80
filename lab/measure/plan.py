"""What a run sets out to do, and in which order: pure, and the same again for the same seed."""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence
from typing import TypeVar

from lab.core.config import MeasureConfig
from lab.core.errors import UsageError
from lab.core.nearest import did_you_mean
from lab.measure.record import EVIDENCE_BYTES, MODES, Plan
from lab.targets.base import Cycle, Operation

T = TypeVar("T")

ROUNDS_PER_BLOCK = 10
"""How many rounds a block has, but for the blocks that a run of very many samples begins with."""

MOST_OPENING = 20
"""How many blocks the least number of samples is taken in at most."""

COST_TURNS = 20
"""How many statements of one kind run alone between two readings of the counters."""

# What the parts of a record take at most in JSON, generously. A sample is its kind's name, five
# numbers and, where the statement fails again as it did before, an SQLSTATE.
SAMPLE_BYTES = 85
BLOCK_BYTES = 16_384
FRAME_BYTES = 16_384


def make_plan(config: MeasureConfig, *, seed: int | None = None) -> Plan:
    """Return the plan that ``config`` describes; the order is random unless a ``seed`` is given.

    Raises
    ------
    UsageError
        No statement is named, the mode is unknown, or the raw samples would not fit into one
        evidence file.

    """
    statements = tuple(dict.fromkeys(config.statements))
    if not statements:
        raise UsageError(
            "There is no statement to measure.",
            code="measure.no-statement",
            why="The list of statements is empty.",
            remedy="Name at least one, such as create-table.",
        )
    if config.mode not in MODES:
        raise UsageError(
            f"There is no mode `{config.mode}`.",
            code="measure.mode",
            why=f"Known: {', '.join(MODES)}.",
            remedy=did_you_mean(config.mode, MODES, "Choose from these."),
        )
    plan = Plan(
        statements=statements,
        samples=config.samples,
        most_samples=max(config.samples, config.most_samples),
        warmups=config.warmups,
        precision=config.precision,
        seed=secrets.randbits(32) if seed is None else seed,
        budget_s=config.budget_s,
        mode=config.mode,
    )
    _require_room(plan, config.most_samples)
    return plan


def _require_room(plan: Plan, most_samples: int) -> None:
    """Refuse a plan that may not fit; ``most_samples`` is what the configuration says."""
    least = plan.samples
    if _fits(plan, least, plan.most_samples):
        return
    if _fits(plan, least, least):
        asked, settings = plan.most_samples, "measure.most_samples"
        most = next(n for n in range(asked, 0, -1) if _fits(plan, least, n))
    else:
        asked, settings = least, "measure.samples"
        most = next((n for n in range(asked, 0, -1) if _fits(plan, n, n)), 0)
        if most_samples > most:
            settings += " and measure.most_samples"
    fewer = "measure fewer kinds of statement at a time; a session may hold several runs."
    raise UsageError(
        f"{asked:,} samples of each statement do not fit into one run.",
        code="measure.too-many-samples",
        why="The raw samples are kept as evidence in one file of less than 1 MiB, and "
        f"{len(plan.statements)} kinds of statement are to be measured, each create with its drop.",
        remedy=f"Set {settings} to {most:,} or less, or {fewer}" if most else fewer.capitalize(),
    )


def _fits(plan: Plan, samples: int, most_samples: int) -> bool:
    return _bytes_at_most(plan, samples, most_samples) < EVIDENCE_BYTES


def _bytes_at_most(plan: Plan, samples: int, most_samples: int) -> int:
    """Return what a run's file may take if each cell needs ``most_samples``.

    Each kind may bring another one, as a create does its drop: which do, the target alone knows.
    """
    added = -(-max(0, most_samples - samples) // ROUNDS_PER_BLOCK)
    latency = len(opening_blocks(samples)) + added
    each = 2 * sum(len(kind) + SAMPLE_BYTES for kind in plan.statements)
    rounds = plan.warmups + most_samples + COST_TURNS
    blocks = latency + 2 * len(plan.statements) + 1  # for costs, and at rest
    return FRAME_BYTES + blocks * BLOCK_BYTES + rounds * each


def opening_blocks(samples: int) -> tuple[int, ...]:
    """Return the rounds of the blocks that ``samples`` are taken in, as alike as can be.

    Several, since only blocks show what varies from block to block.
    """
    count = min(MOST_OPENING, -(-samples // ROUNDS_PER_BLOCK))
    each, more = divmod(samples, count)
    return tuple(each + (index < more) for index in range(count))


def foreseen_statements(plan: Plan, cycles: Sequence[Cycle]) -> int:
    """Return how many statements a run of ``plan`` times at least: warm-ups, samples, costs."""
    return rounds_foreseen(plan) * sum(len(cycle.templates) for cycle in cycles)


def rounds_foreseen(plan: Plan) -> int:
    """Return how often each statement is executed at least, in all blocks together."""
    return plan.warmups + plan.samples + COST_TURNS


def rounds(
    cycles: Sequence[Cycle], seed: int, first: int, count: int
) -> tuple[tuple[Operation, ...], ...]:
    """Return the statements of ``count`` rounds, of which the first has the number ``first``.

    Each round holds every cycle once, in an order of its own that follows from ``seed`` and the
    round's number alone. A cycle stays together, so that what it makes it takes away at once.
    """
    return tuple(
        tuple(
            operation
            for cycle in permuted(cycles, seed, number)
            for operation in cycle.operations(number)
        )
        for number in range(first, first + count)
    )


def permuted(items: Sequence[T], seed: int, number: int) -> list[T]:
    """Return ``items`` in an order that follows from ``seed`` and ``number`` alone."""
    # Of the generator's methods only random() is promised to give the same numbers in every
    # version of Python; shuffle() is not.
    generator = random.Random(f"{seed}:{number}")
    keys = [generator.random() for _ in items]
    return [items[index] for index in sorted(range(len(items)), key=keys.__getitem__)]
