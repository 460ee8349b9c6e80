"""The record of a run: raw samples and everything needed to judge them. Immutable once written."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from lab.measure.batch_record import BatchRecord
from lab.measure.host_noise import HostNoise
from lab.metrics.reading import Reading
from lab.targets.base import ObjectCounts, Workload

SCHEMA_VERSION = 1

LATENCY = "latency"
COST = "cost"
IDLE = "idle"

AUTOCOMMIT = "autocommit"
TRANSACTION = "transaction"
MODES = (AUTOCOMMIT, TRANSACTION)
"""How a statement is sent: alone, or between BEGIN and COMMIT."""

NO_SESSION = 0
"""The session of a run that is kept aside and not logged."""

EVIDENCE_BYTES = 1024 * 1024
"""A run's file must stay below this: jj leaves larger new files out of a change."""


class Passport(msgspec.Struct, frozen=True, kw_only=True):
    """What must be alike for two runs to be compared (``alike``), and what is noted besides.

    Keys are dotted: ``server.version``, ``setting.fsync``, ``state.id``, ``objects.table``,
    ``host.cores``, ``client.psycopg``.
    """

    alike: dict[str, str]
    noted: dict[str, str]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run set out to do.

    ``statements`` are the kinds asked for; a create's drop is executed and recorded besides.
    ``samples`` is the least number a cell takes, ``most_samples`` the greatest; sampling goes on
    until the 95% interval of the median of each kind asked for is within ±``precision`` of it, and
    no block is added for that once the run has taken ``budget_s`` seconds. ``mode`` is one of
    `MODES`.
    """

    statements: tuple[str, ...]
    samples: int
    most_samples: int
    warmups: int
    precision: float
    seed: int
    budget_s: float = 40.0
    mode: str = AUTOCOMMIT


class Stop(StrEnum):
    """Why no more samples were taken."""

    PRECISE = "precise"  # each statement asked for is known as well as was asked for
    MOST = "most samples"  # the plan's greatest number was reached
    BUDGET = "budget"  # the plan's time was used
    SIZE = "size"  # the run's file would have become too large
    CHANGED = "changed"  # the object count changed: what came then would be another cell's
    LOST = "lost"  # the server was lost


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One statement, timed: from sending it to the server's ready message.

    ``round`` counts the passes over all statements, warm-ups included; ``offset_ns`` is when it was
    sent, from the block's beginning; ``error`` is the server's SQLSTATE and message. In mode
    transaction ``duration_ns`` is the time of the statement and of the COMMIT after it, of which
    ``commit_ns`` is the COMMIT's part; BEGIN is in neither.
    """

    statement: str
    round: int
    offset_ns: int
    duration_ns: int
    warmup: bool = False
    error: str = ""
    commit_ns: int = 0


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """Samples taken in one go within one boot of the environment.

    ``purpose`` is ``latency`` (statements permuted within rounds), ``cost`` (one kind of statement
    alone between two metrics readings, so that its costs are its own) or ``idle`` (no statement
    between the readings: what moves then is nobody's cost). Where a reading is long, that of a
    latency block keeps only the series that costs are made of.
    ``void`` says why the block does not count; its samples are kept all the same.
    """

    index: int
    purpose: str
    statements: tuple[str, ...]
    seed: int
    boot: str
    started_at: str
    duration_ns: int
    connection_ns: int
    objects_before: ObjectCounts
    objects_after: ObjectCounts | None
    samples: tuple[Sample, ...]
    noise: HostNoise
    before: Reading
    after: Reading | None
    void: str = ""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement as planned and carried out.

    ``workload`` holds the SQL that was executed: fixtures, and the statements as templates with
    ``{i}`` for a number, those that belong together side by side. ``stopped`` says why sampling
    ended. A batch benchmark has its transactions in ``batch``, and no blocks.
    """

    schema_version: int
    id: str
    session: int
    created_at: str
    lab_version: str
    target: str
    passport: Passport
    plan: Plan
    blocks: tuple[Block, ...]
    workload: Workload = Workload(setup=(), cycles=(), teardown=(), fixtures=0)
    stopped: Stop | None = None
    void: str = ""
    batch: BatchRecord | None = None


def sql_of(run: Run, statement: str) -> tuple[str, ...]:
    """Return the SQL of ``statement`` as ``run`` executed it: templates, in their turns' order."""
    return tuple(
        dict.fromkeys(
            operation.sql
            for cycle in run.workload.cycles
            for operation in (*cycle.templates, *cycle.alternate)
            if operation.statement == statement
        )
    )


def counted(blocks: Iterable[Block], statement: str) -> list[int]:
    """Return the latencies of ``statement`` in ``blocks``, in ns, in order, that count."""
    return [sample.duration_ns for block in blocks for sample in counted_in(block, statement)]


def counted_in(block: Block, statement: str) -> list[Sample]:
    """Return the samples of ``statement`` in ``block``, in order, that count.

    Left out by recorded cause only: warm-ups, errors, void blocks, and blocks of another purpose.
    """
    if block.purpose != LATENCY or block.void:
        return []
    return [
        sample
        for sample in block.samples
        if sample.statement == statement and not sample.warmup and not sample.error
    ]
