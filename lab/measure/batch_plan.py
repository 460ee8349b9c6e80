"""What a batch benchmark sets out to do, and in which order; pure."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from itertools import accumulate

import msgspec

from lab.core.config import BatchConfig
from lab.core.errors import StateMismatchError, UsageError
from lab.measure.batch_record import BatchPlan
from lab.measure.plan import permuted
from lab.measure.record import EVIDENCE_BYTES
from lab.metrics.reading import Change, Delta, Reading

# What the parts of a record take at most in JSON, generously.
_STATEMENT_BYTES = 13  # its time, in ns
_BATCH_BYTES = 900  # without its statements and what moved in the counters
_FRAME_BYTES = 65_536  # passport, probes, and a text of each shape of query
_LONG_AMOUNT = 123_456_789_012.5


class BatchOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction to be carried out: on the tables ``first`` to ``first + size - 1``.

    Tables are counted from 1 among those that the plan uses. ``index`` counts transactions from 1.
    """

    index: int
    repetition: int
    size: int
    first: int


def make_batch_plan(config: BatchConfig, statement: str, *, seed: int | None = None) -> BatchPlan:
    """Return the plan that ``config`` describes; the order is random unless a ``seed`` is given.

    Raises
    ------
    UsageError
        There is no size, a number is below 1, the sweep needs more tables than it publishes, or
        the raw samples would not fit into one evidence file.

    """
    plan = BatchPlan(
        statement=statement,
        sizes=tuple(dict.fromkeys(config.sizes)),
        repetitions=config.repetitions,
        seed=secrets.randbits(32) if seed is None else seed,
        sweep=tuple(dict.fromkeys(config.sweep)),
        sweep_size=config.sweep_size,
    )
    _require_sense(plan)
    require_room(plan)
    return plan


def order(plan: BatchPlan) -> tuple[tuple[int, int, int], ...]:
    """Return size, repetition and first table of each transaction, in the order to be taken.

    Each repetition holds every size once, in an order of its own that follows from the seed and
    the repetition's number alone. Tables are numbered from 1; none is used twice.
    """
    taken = [
        (size, repetition)
        for repetition in range(1, plan.repetitions + 1)
        for size in permuted(plan.sizes, plan.seed, repetition)
    ]
    used = accumulate((size for size, _ in taken), initial=0)
    return tuple(
        (size, repetition, 1 + before)
        for (size, repetition), before in zip(taken, used, strict=False)
    )


def orders(plan: BatchPlan) -> tuple[BatchOrder, ...]:
    """Return the transactions of the sizes, in order; see `order`."""
    return tuple(
        BatchOrder(index=index, repetition=repetition, size=size, first=first)
        for index, (size, repetition, first) in enumerate(order(plan), 1)
    )


def sweep_orders(plan: BatchPlan, index: int) -> tuple[BatchOrder, ...]:
    """Return the transactions at one number of published tables; the first has number ``index``."""
    return tuple(
        BatchOrder(
            index=index + turn,
            repetition=turn + 1,
            size=plan.sweep_size,
            first=1 + turn * plan.sweep_size,
        )
        for turn in range(plan.repetitions)
    )


def sweep_tables(plan: BatchPlan) -> int:
    """Return how many tables are used at each number of published tables; 0 without a sweep."""
    return plan.sweep_size * plan.repetitions if plan.sweep else 0


def transactions(plan: BatchPlan) -> int:
    """Return how many transactions ``plan`` has, the sweep's included."""
    return (len(plan.sizes) + len(plan.sweep)) * plan.repetitions


def require_tables(plan: BatchPlan, published: Collection[int]) -> None:
    """Refuse a plan that needs more tables than are ``published``.

    Raises
    ------
    StateMismatchError
        There are too few.

    """
    needed, there = plan.tables_needed, len(published)
    if there >= needed:
        return
    sizes = " + ".join(f"{size:,}" for size in plan.sizes)
    raise StateMismatchError(
        f"The plan needs {needed:,} published tables, and {there:,} are there.",
        code="batch.too-few-tables",
        why=f"No table is used twice: {plan.repetitions} × ({sizes}) statements.",
        remedy=f"`upstream.up --tables {needed}` adds what is missing, and so does --grow; or take "
        "fewer sizes or repetitions.",
    )


def require_room(plan: BatchPlan) -> None:
    """Refuse a plan whose raw samples do not fit into the file of one run.

    Raises
    ------
    UsageError
        They do not fit.

    """
    if _bytes(plan) < EVIDENCE_BYTES:
        return
    most = (EVIDENCE_BYTES - 1 - _FRAME_BYTES) // _repetition_bytes(plan)
    fits = (EVIDENCE_BYTES - _FRAME_BYTES) // _STATEMENT_BYTES // 1000 * 1000
    raise UsageError(
        f"{plan.repetitions:,} repetitions of {plan.tables_needed // plan.repetitions:,} "
        "statements do not fit into one run.",
        code="batch.too-large",
        why="The time of each statement is kept as evidence in one file of less than 1 MiB: that "
        f"is room for about {fits:,} statements.",
        remedy=f"Take {most:,} repetitions or fewer of these sizes."
        if most
        else "Take fewer or smaller sizes; a session may hold several runs.",
    )


def kept_deltas(plan: BatchPlan, bytes_each: int) -> frozenset[int]:
    """Return the transactions, by index, that have room for what moved in the counters.

    ``bytes_each`` is what that takes for one. All have room in most plans; where they do not, those
    of the sweep come first, which is about nothing else, and then the others in order.
    """
    room = max(0, (EVIDENCE_BYTES - 1 - _bytes(plan)) // max(1, bytes_each))
    indices = range(1, transactions(plan) + 1)
    by_size = len(plan.sizes) * plan.repetitions
    return frozenset([*indices[by_size:], *indices[:by_size]][:room])


def delta_bytes(server: Reading, upstream: Reading, telling: Collection[str]) -> int:
    """Return what the counters of one transaction take at most in its file.

    The server's are kept where costs are made of them (``telling``), the upstream's all, twice:
    up to COMMIT, and during it.
    """
    kept = [each for each in server.series if each.name in telling]
    changes = tuple(
        Change(each.name, each.unit, _LONG_AMOUNT)
        for each in (*kept, *upstream.series, *upstream.series)
    )
    return len(msgspec.json.encode(Delta(duration_ns=0, changes=changes)))


def _bytes(plan: BatchPlan) -> int:
    return _FRAME_BYTES + plan.repetitions * _repetition_bytes(plan)


def _repetition_bytes(plan: BatchPlan) -> int:
    statements = sum(plan.sizes) + len(plan.sweep) * plan.sweep_size
    batches = len(plan.sizes) + len(plan.sweep)
    return batches * _BATCH_BYTES + statements * _STATEMENT_BYTES


def _require_sense(plan: BatchPlan) -> None:
    if not plan.sizes or min(plan.sizes) < 1:
        raise UsageError(
            "There is no size of transaction to try."
            if not plan.sizes
            else f"A transaction of {min(plan.sizes)} statements cannot be tried.",
            code="batch.sizes",
            why="A size is how many statements stand in one transaction: 1 or more.",
            remedy="Name sizes such as 1,10,100.",
        )
    if plan.repetitions < 1 or plan.sweep_size < 1:
        raise UsageError(
            "Each size has to be tried at least once, with at least one statement.",
            code="batch.repetitions",
            why=f"repetitions is {plan.repetitions}, sweep_size is {plan.sweep_size}.",
            remedy="Set both to 1 or more.",
        )
    needed = sweep_tables(plan)
    if plan.sweep and min(plan.sweep) < needed:
        raise UsageError(
            f"A sweep over {min(plan.sweep):,} published tables cannot be carried out.",
            code="batch.sweep",
            why=f"No table is used twice, and {plan.repetitions:,} transactions of "
            f"{plan.sweep_size:,} statements need {needed:,}.",
            remedy=f"Sweep from {needed:,} tables on, or take fewer repetitions.",
        )
