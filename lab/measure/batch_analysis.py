"""What a batch benchmark says: pure functions of its record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median

import msgspec

from lab.measure.batch_record import Batch, BatchRecord, Probe
from lab.measure.findings import (
    Amount,
    BatchFailure,
    BatchFinding,
    CostFinding,
    ReadingCost,
    ShapeFinding,
    SizeFinding,
    SweepFinding,
)
from lab.measure.passport import shapes_only
from lab.measure.record import TRANSACTION, Run
from lab.metrics.attribute import attribute, total
from lab.metrics.reading import Delta
from lab.metrics.tree import Node
from lab.upstream.costs import CONNECTIONS, SESSION_TIME, roots, with_round_trips
from lab.upstream.shapes import SHAPES, SNAPSHOT


def batch_finding(record: BatchRecord) -> BatchFinding:
    """Return what the transactions of ``record`` say; those of the sweep only under ``sweep``."""
    from lab.stats.positions import bins, fit_positions

    batches = [batch for batch in record.batches if not batch.swept]
    counting = [batch for batch in batches if batch.counts]
    transactions = [batch.statements_ns for batch in counting]
    voids = Counter(batch.void for batch in batches if batch.void)
    plan, moved = record.plan, _Moved.of(counting)
    return BatchFinding(
        product=record.product,
        statement=plan.statement,
        planned=len(plan.sizes) * plan.repetitions,
        carried_out=len(batches),
        published=batches[0].published if batches else 0,
        sizes=tuple(_size(size, batches) for size in sorted(plan.sizes)),
        bins=bins(transactions) if transactions else (),
        first_ns=_median([each[0] for each in transactions]) if transactions else None,
        fit=fit_positions(transactions) if transactions else None,
        failures=tuple(
            BatchFailure(
                size=batch.size,
                repetition=batch.repetition,
                failed_at=batch.failed_at or 0,
                error=batch.error,
            )
            for batch in batches
            if batch.error
        ),
        void=tuple(f"{count} × {why}" for why, count in voids.items()),
        shapes=moved.shapes(),
        connections=moved.per_statement(CONNECTIONS),
        connect_ns=_median([ns for each in _probes(record) for ns in each.connect_ns]),
        round_trip_ns=_round_trip_ns(record),
        sweep=_sweep(record),
    )


def batch_costs(run: Run, record: BatchRecord) -> tuple[CostFinding, ...]:
    """Return where the time of a statement goes, its share of COMMIT included.

    One finding, from the target's counters and the upstream's together; none where they were not
    read.
    """
    from lab.targets.registry import target

    counting = [each for each in record.batches if each.counts and not each.swept]
    moved = _Moved.of(counting, with_server=True)
    client_ns = sum(batch.total_ns for batch in moved.batches) / max(1, moved.statements)
    if not client_ns:
        return ()
    plan = record.plan
    sheet = target(run.target).cost_sheet(plan.statement, TRANSACTION)
    upstream = moved.asked(roots(sessions=moved.times_sessions))
    found = attribute(
        msgspec.structs.replace(sheet, roots=(*_of_many(sheet.roots), *upstream)),
        with_round_trips(moved.delta, _round_trip_ns(record)),
        statements=moved.statements,
        client_mean_ns=client_ns,
        idle=record.idle,
        proportions=not shapes_only(run.passport),
    )
    idle_void = record.idle.void if record.idle else ""
    return (
        CostFinding(
            statement=plan.statement,
            samples=moved.statements,
            client_ns=client_ns,
            tree=found.tree,
            unattributed_ns=found.unattributed_ns,
            rest=sheet.rest,
            amounts=tuple(
                Amount(each.label, each.per_statement, each.unit) for each in found.amounts
            ),
            warnings=(
                *found.warnings,
                *((f"the idle rate is unknown: {idle_void}",) if idle_void else ()),
            ),
        ),
    )


def _of_many(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Return ``nodes`` for statements that share a COMMIT: calls of each are no whole number."""
    return tuple(
        msgspec.structs.replace(node, whole=False, children=_of_many(node.children))
        for node in nodes
    )


def batch_readings(record: BatchRecord) -> ReadingCost | None:
    """Return what reading the target's counters cost; None where they were not read."""
    if not record.readings:
        return None
    return ReadingCost(
        times=record.readings,
        each_ns=record.readings_ns / record.readings,
        bytes=record.readings_bytes / record.readings,
    )


def per_table_ns(counting: Iterable[Batch], size: int) -> list[float]:
    """Return what a table cost, in ns, in each transaction of ``size`` among those that count."""
    return [batch.total_ns / size for batch in counting if batch.size == size]


class _Moved(msgspec.Struct, frozen=True):
    """What moved in the counters over ``batches``, those alone of which it is known."""

    batches: tuple[Batch, ...]
    delta: Delta

    @classmethod
    def of(cls, batches: Sequence[Batch], *, with_server: bool = False) -> _Moved:
        """Add up what moved upstream, and in the target's own counters where they are asked for."""
        known = []
        for batch in batches:
            parts = (batch.purified, batch.committed, *((batch.server,) if with_server else ()))
            if all(part is not None and not part.void for part in parts):
                known.append(batch)
        before = cls(tuple(known), total([each.purified for each in known if each.purified]))
        upstream = before.with_commit(total([each.committed for each in known if each.committed]))
        if not with_server:
            return cls(tuple(known), upstream)
        server = total([each.server for each in known if each.server])
        changes = (*server.changes, *upstream.changes)
        return cls(tuple(known), msgspec.structs.replace(server, changes=changes))

    @property
    def statements(self) -> int:
        return sum(batch.size for batch in self.batches)

    @property
    def opens_sessions(self) -> bool:
        """Whether a session upstream begins with each statement."""
        return (self.per_statement(CONNECTIONS) or 0.0) > 0.5

    @property
    def times_sessions(self) -> bool:
        """Whether a session upstream begins with each statement, and is timed."""
        return self.opens_sessions and self.amount(SESSION_TIME) is not None

    def with_commit(self, committed: Delta) -> Delta:
        """Return what moved before COMMIT with what moved from then on.

        Where each statement opens a session, the target is done with the upstream by then. What
        COMMIT sets off there (replication, initial copies) runs beside it, in other sessions: of
        that, only what is known for such work is kept.
        """
        beside = f"upstream.{SNAPSHOT}."
        later = {
            change.name: change.amount
            for change in committed.changes
            if not self.opens_sessions or change.name.startswith(beside)
        }
        changes = tuple(
            msgspec.structs.replace(change, amount=change.amount + later.get(change.name, 0.0))
            for change in self.delta.changes
        )
        return msgspec.structs.replace(self.delta, changes=changes)

    def amount(self, name: str) -> float | None:
        """Return how much the series ``name`` moved; None where it is not known."""
        return next((each.amount for each in self.delta.changes if each.name == name), None)

    def per_statement(self, name: str) -> float | None:
        amount = self.amount(name)
        return None if amount is None else amount / max(1, self.statements)

    def asked(self, nodes: Sequence[Node]) -> tuple[Node, ...]:
        """Return those of the upstream's ``nodes`` that it was asked for at all."""
        return tuple(
            msgspec.structs.replace(node, children=self.asked(node.children))
            for node in nodes
            if any(self.amount(name) for name in node.calls)
        )

    def shapes(self) -> tuple[ShapeFinding, ...]:
        """Return the kinds of query that were asked at all, the dearest first."""
        found = [
            ShapeFinding(
                label=shape,
                calls=self.per_statement(f"upstream.{shape}.calls") or 0.0,
                ns=self.per_statement(f"upstream.{shape}.time") or 0.0,
                rows=self.per_statement(f"upstream.{shape}.rows") or 0.0,
            )
            for shape in SHAPES
        ]
        return tuple(sorted((each for each in found if each.calls), key=lambda each: -each.ns))


def _size(size: int, batches: Sequence[Batch]) -> SizeFinding:
    from lab.stats.batches import table_cost

    tried = [batch for batch in batches if batch.size == size]
    counting = [batch for batch in tried if batch.counts]
    if not counting:
        return SizeFinding(size=size, cost=None, total_ns=None, commit_ns=None, failed=len(tried))
    return SizeFinding(
        size=size,
        cost=table_cost(per_table_ns(counting, size)),
        total_ns=_median([batch.total_ns for batch in counting]),
        commit_ns=_median([batch.commit_ns for batch in counting]),
        failed=len(tried) - len(counting),
    )


def _sweep(record: BatchRecord) -> tuple[SweepFinding, ...]:
    swept = [batch for batch in record.batches if batch.swept and batch.counts and batch.purified]
    found = []
    for published in sorted({batch.published for batch in swept}):
        batches = [batch for batch in swept if batch.published == published]
        before_commit = total([batch.purified for batch in batches if batch.purified])
        if before_commit.void:
            continue
        moved = _Moved(tuple(batches), before_commit)
        client_ns = sum(sum(batch.statements_ns) for batch in batches)
        # What runs beside the statements takes nothing of their time.
        shapes = [each for each in moved.shapes() if each.label != SNAPSHOT]
        found.append(
            SweepFinding(
                published=published,
                statements=moved.statements,
                client_ns=client_ns / moved.statements,
                upstream_ns=sum(each.ns for each in shapes),
                rows=sum(each.rows for each in shapes),
            )
        )
    return tuple(found)


def _probes(record: BatchRecord) -> tuple[Probe, ...]:
    return (record.probe, *((record.late_probe,) if record.late_probe else ()))


def _round_trip_ns(record: BatchRecord) -> float:
    return _median([ns for each in _probes(record) for ns in each.round_trip_ns])


def _median(values: Sequence[float]) -> float:
    """Return the median, 0 where nothing was measured."""
    return float(median(values)) if values else 0.0
