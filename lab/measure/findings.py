"""What a run says, as figures: the shapes that entries, tables and ``--json`` are rendered from."""

from __future__ import annotations

import msgspec

from lab.measure.record import AUTOCOMMIT, NO_SESSION
from lab.metrics.tree import Attributed
from lab.stats.batches import TableCost
from lab.stats.positions import PositionBin, PositionFit
from lab.stats.summary import Comparison, Summary

DEAR_NS = 50_000_000
DEAR_BYTES = 1_000_000
"""What one reading of the counters may cost before that is told."""


class CellFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of a run.

    ``objects`` is the exact object count while it was measured. ``excluded`` counts samples left
    out by recorded cause, ``reasons`` names the causes. ``summary`` is None where no sample counts.
    ``mode`` is how its statements were sent; ``commit_share`` is what of their time fell to COMMIT
    (0 to 1), None in autocommit. ``void`` says why the cell does not count: its figures are shown,
    and compared with nothing.
    """

    statement: str
    objects: int
    summary: Summary | None
    excluded: int = 0
    reasons: tuple[str, ...] = ()
    mode: str = AUTOCOMMIT
    commit_share: float | None = None
    void: str = ""


class Amount(msgspec.Struct, frozen=True, array_like=True):
    """An amount per statement, in ``unit`` (``bytes``, ``count``)."""

    label: str
    per_statement: float
    unit: str


class CostFinding(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time and the bytes of one kind of statement go.

    ``client_ns`` is the mean latency of the ``samples`` in its cost block, ``unattributed_ns`` what
    no node of the tree accounts for (may be negative, which is warned of). ``rest`` names what that
    is expected to be, empty where nothing is.
    """

    statement: str
    samples: int
    client_ns: float
    tree: tuple[Attributed, ...]
    unattributed_ns: float
    amounts: tuple[Amount, ...]
    rest: str = ""
    warnings: tuple[str, ...] = ()


class ReadingCost(msgspec.Struct, frozen=True, kw_only=True):
    """What reading the server's counters costs: ``times``, and ns and bytes each (mean).

    ``bytes`` is 0 where they come on no page.
    """

    times: int
    each_ns: float
    bytes: float

    @property
    def dear(self) -> bool:
        """Whether it is worth a word."""
        return self.each_ns > DEAR_NS or self.bytes > DEAR_BYTES


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """The build that a run measured: its id, what it says of itself, and the tree that it is of.

    Each is empty where it is not known, ``dirty`` also where the tree held nothing else.
    """

    build: str
    version: str = ""
    commit: str = ""
    dirty: str = ""


class Difference(msgspec.Struct, frozen=True, array_like=True):
    """A passport field in which two runs are unlike; empty text where a side lacks it."""

    field: str
    before: str
    after: str


class ComparisonFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One run against an earlier one.

    ``cells`` is empty, and ``differences`` is not, where their passports differ. ``same_boot`` says
    that both were taken on one boot of the server, which is then compared with itself later.
    ``noisy`` names the runs whose host disturbed them (``the earlier run``, ``this run``): all is
    called inconclusive then, whatever its interval. ``reworded`` names the statements that both
    measured with unlike SQL, which are not compared. ``builds`` are those of the earlier run and of
    this one, where they are known. ``shapes_only`` is that of this run's `Analysis`.
    """

    session: int
    run: str
    cells: dict[str, Comparison] = {}
    differences: tuple[Difference, ...] = ()
    same_boot: bool = False
    noisy: tuple[str, ...] = ()
    reworded: tuple[str, ...] = ()
    builds: tuple[Measured, ...] = ()
    shapes_only: str = ""

    @property
    def earlier(self) -> str:
        """What it is compared with: ``session 4``, or ``the run kept aside``."""
        return "the run kept aside" if self.session == NO_SESSION else f"session {self.session}"


class BatchFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction that failed: never a sample.

    ``failed_at`` is the position from 1; ``size`` + 1 is COMMIT, 0 is BEGIN.
    """

    size: int
    repetition: int
    failed_at: int
    error: str


class SizeFinding(msgspec.Struct, frozen=True, kw_only=True):
    """What a table costs in transactions of ``size`` statements, COMMIT included.

    ``cost`` is None where every repetition failed; ``total_ns`` and ``commit_ns`` are medians of
    the whole transaction and of its COMMIT. ``failed`` counts repetitions that do not count.
    """

    size: int
    cost: TableCost | None
    total_ns: float | None
    commit_ns: float | None
    failed: int = 0


class ShapeFinding(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of query that the upstream answered, per statement that made a table.

    ``ns`` is what planning and executing it took there, ``rows`` what it returned.
    """

    label: str
    calls: float
    ns: float
    rows: float


class SweepFinding(msgspec.Struct, frozen=True, kw_only=True):
    """Statements at one number of published tables: per statement, COMMIT left out.

    ``client_ns`` is the mean the client saw, ``upstream_ns`` what the upstream's queries took of
    it, ``rows`` what they returned.
    """

    published: int
    statements: int
    client_ns: float
    upstream_ns: float
    rows: float


class BatchFinding(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch benchmark says: cost by size, cost by position, and what happened upstream.

    ``planned`` and ``carried_out`` count transactions, the sweep's left out; ``void`` says why some
    do not count, a line each with a number in front. ``first_ns`` is the median of the first
    statements of the transactions, which are left out of ``fit``; ``fit`` is None where too few
    positions were measured. ``connections`` are those opened upstream per statement;
    ``connect_ns`` and ``round_trip_ns`` are medians of the probe.
    """

    product: str
    statement: str
    planned: int
    carried_out: int
    published: int
    sizes: tuple[SizeFinding, ...]
    bins: tuple[PositionBin, ...]
    first_ns: float | None
    fit: PositionFit | None
    failures: tuple[BatchFailure, ...]
    void: tuple[str, ...]
    shapes: tuple[ShapeFinding, ...]
    connections: float | None
    connect_ns: float
    round_trip_ns: float
    sweep: tuple[SweepFinding, ...] = ()


class Analysis(msgspec.Struct, frozen=True, kw_only=True):
    """All that a run says. A pure function of the run's file and of the earlier run's.

    ``cells`` holds the kinds asked for, in the plan's order, each create followed by its drop.
    ``void`` says why the run does not count; what was measured is in ``cells`` all the same.
    ``warnings`` tell what is not in the other figures: void blocks, a host that was not at rest.
    ``shapes_only`` says why absolute figures and proportions mislead (``debug build``), empty where
    they do not. ``readings`` is what reading the counters cost, None where no block was taken.
    ``batch`` is there for a batch benchmark alone, which has no cells; its comparison has one cell
    for each size (``transaction of 10``) and for each range of positions (``positions 2 to 10``).
    """

    run: str
    cells: tuple[CellFinding, ...]
    costs: tuple[CostFinding, ...]
    comparison: ComparisonFinding | None
    void: str = ""
    warnings: tuple[str, ...] = ()
    shapes_only: str = ""
    readings: ReadingCost | None = None
    batch: BatchFinding | None = None
