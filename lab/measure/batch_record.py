"""The record of a batch benchmark: transactions of several statements, timed by position."""

from __future__ import annotations

import msgspec

from lab.measure.host_noise import HostNoise
from lab.metrics.reading import Delta


class BatchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch benchmark set out to do.

    Each of ``sizes`` (statements a transaction) is tried ``repetitions`` times, in an order that
    follows from ``seed``, on ``tables_needed`` tables of which none is used twice. At each of
    ``sweep`` (numbers of published tables, each in a database of its own) transactions of
    ``sweep_size`` statements are repeated besides.
    """

    statement: str
    sizes: tuple[int, ...]
    repetitions: int
    seed: int
    sweep: tuple[int, ...] = ()
    sweep_size: int = 10

    @property
    def tables_needed(self) -> int:
        """How many published tables the sizes need, without the sweep's."""
        return sum(self.sizes) * self.repetitions


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction of ``size`` statements, on as many published tables in a row.

    Its first is the upstream's table number ``first``; numbers that are not published are passed
    over.

    ``statements_ns`` holds the time of each statement by its position, as far as it came;
    ``begin_ns`` and ``commit_ns`` those of BEGIN and COMMIT. ``error`` is why it failed (SQLSTATE
    and message, or that COMMIT answered ROLLBACK), at the position ``failed_at`` (from 1; ``size``
    + 1 is COMMIT, 0 is BEGIN; None where it did not fail). ``void`` says why it does not count
    although it did not fail. ``published`` is how many tables the upstream published; a batch
    of the sweep has ``swept``. ``server`` is what moved in those of the target's counters that
    costs are made of, over the whole transaction; ``purified`` is what moved upstream before COMMIT
    was sent, ``committed`` from then to its answer. They are None where they could not be read, the
    transaction failed, or the file has no room for them. ``objects`` counts all objects before it,
    those made for batches included.
    """

    index: int
    repetition: int
    size: int
    first: int
    published: int
    boot: str
    started_at: str
    objects: int
    begin_ns: int
    statements_ns: tuple[int, ...]
    commit_ns: int
    noise: HostNoise
    server: Delta | None = None
    purified: Delta | None = None
    committed: Delta | None = None
    swept: bool = False
    error: str = ""
    failed_at: int | None = None
    void: str = ""

    @property
    def counts(self) -> bool:
        """Whether it is a sample: it neither failed nor is void."""
        return not self.error and not self.void

    @property
    def total_ns(self) -> int:
        """Statements and COMMIT together; BEGIN is not in it."""
        return sum(self.statements_ns) + self.commit_ns


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """What reaching the upstream takes, by the target's own way: raw times in ns.

    ``connect_ns`` of new connections, ``round_trip_ns`` of an empty statement on an open one.
    """

    connect_ns: tuple[int, ...]
    round_trip_ns: tuple[int, ...]


class BatchRecord(msgspec.Struct, frozen=True, kw_only=True):
    """All batches of a run in the order in which they were carried out.

    ``product`` names what was measured, in words. ``probe`` was taken before the first batch,
    ``late_probe`` after the last. ``shapes`` maps each kind of query that the upstream was seen to
    answer to the text of one, normalised. ``unknown`` are texts that fit no kind. ``idle`` is what
    moved in the target's counters while nothing was asked; None where they stand still then.
    ``readings`` is how often they were read, ``readings_ns`` and ``readings_bytes`` what that took
    altogether. ``notes`` say what a reader of the figures should know, a sentence each.
    """

    plan: BatchPlan
    product: str
    batches: tuple[Batch, ...]
    probe: Probe
    late_probe: Probe | None = None
    shapes: dict[str, str] = {}
    unknown: tuple[str, ...] = ()
    idle: Delta | None = None
    readings: int = 0
    readings_ns: int = 0
    readings_bytes: int = 0
    notes: tuple[str, ...] = ()
