"""What a run says: a pure function of its file and of the earlier run's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from lab.measure.batch_analysis import batch_costs, batch_finding, batch_readings
from lab.measure.cells import asked_and_drops, cell_samples
from lab.measure.comparison import compare
from lab.measure.findings import (
    Amount,
    Analysis,
    CellFinding,
    ComparisonFinding,
    CostFinding,
    ReadingCost,
)
from lab.measure.noise import noise_warnings
from lab.measure.passport import shapes_only
from lab.measure.record import COST, IDLE, NO_SESSION, Block, Run
from lab.metrics.attribute import attribute, total
from lab.metrics.reading import Delta, difference
from lab.metrics.tree import CostSheet


def analyse(run: Run, earlier: tuple[int, Run] | None) -> Analysis:
    """Return all that ``run`` says, compared with ``earlier`` (session, run) where there is one.

    A void run is compared with nothing; its cells are those of the blocks that count.
    """
    comparison = compare(run, earlier) if earlier and not run.void else None
    analysis = Analysis(
        run=run.id,
        cells=(),
        costs=(),
        comparison=comparison,
        void=run.void,
        warnings=(
            *_run_warnings(run),
            *noise_warnings(run),
            *_comparison_warnings(comparison),
        ),
        shapes_only=shapes_only(run.passport),
    )
    if run.batch is not None:
        return msgspec.structs.replace(
            analysis,
            costs=batch_costs(run, run.batch),
            readings=batch_readings(run.batch),
            batch=batch_finding(run.batch),
        )
    statements = asked_and_drops(run)
    return msgspec.structs.replace(
        analysis,
        cells=tuple(_cell(run, statement) for statement in statements),
        costs=_costs(run, statements),
        readings=_readings(run),
    )


def _cell(run: Run, statement: str) -> CellFinding:
    from lab.stats.cell import summarize

    samples = cell_samples(run, statement)
    return CellFinding(
        statement=statement,
        objects=samples.objects,
        summary=summarize(samples.durations) if samples.blocks else None,
        excluded=samples.excluded,
        reasons=samples.reasons,
        mode=run.plan.mode,
        commit_share=samples.commit_share,
        void=samples.void,
    )


def _costs(run: Run, statements: Sequence[str]) -> tuple[CostFinding, ...]:
    from lab.targets.registry import target

    sheets = target(run.target).cost_sheet
    found = (_cost(run, each, sheets(each, run.plan.mode)) for each in statements)
    return tuple(cost for cost in found if cost is not None)


def _cost(run: Run, statement: str, sheet: CostSheet) -> CostFinding | None:
    blocks = [
        block
        for block in run.blocks
        if block.purpose == COST and block.statements == (statement,) and not block.void
    ]
    # Warm-ups and failures moved the counters, too, so they are counted here.
    samples = [sample for block in blocks for sample in block.samples]
    client_ns = sum(sample.duration_ns for sample in samples) / max(1, len(samples))
    if not client_ns:
        return None
    idle = _idle(run)
    found = attribute(
        sheet,
        total([_delta(block) for block in blocks]),
        statements=len(samples),
        client_mean_ns=client_ns,
        idle=idle,
        proportions=not shapes_only(run.passport),
    )
    failed = sum(1 for sample in samples if sample.error)
    return CostFinding(
        statement=statement,
        samples=len(samples),
        client_ns=client_ns,
        tree=found.tree,
        unattributed_ns=found.unattributed_ns,
        rest=sheet.rest,
        amounts=tuple(Amount(each.label, each.per_statement, each.unit) for each in found.amounts),
        warnings=(
            *found.warnings,
            *((f"the idle rate is unknown: {idle.void}",) if idle and idle.void else ()),
            *((f"{failed} of {len(samples)} statements failed",) if failed else ()),
        ),
    )


def _idle(run: Run) -> Delta | None:
    """Return what moved while nothing was asked of the server; None where nobody looked."""
    deltas = [
        msgspec.structs.replace(_delta(block), void=block.void) if block.void else _delta(block)
        for block in run.blocks
        if block.purpose == IDLE
    ]
    return total(deltas) if deltas else None


def _readings(run: Run) -> ReadingCost | None:
    taken = [each for block in run.blocks for each in (block.before, block.after) if each]
    if not taken:
        return None
    return ReadingCost(
        times=len(taken),
        each_ns=sum(reading.cost_ns for reading in taken) / len(taken),
        bytes=sum(reading.bytes for reading in taken) / len(taken),
    )


def _delta(block: Block) -> Delta:
    if block.after is None:
        return Delta(duration_ns=block.duration_ns, void="there is no reading after the block")
    return difference(block.before, block.after)


def _run_warnings(run: Run) -> Iterator[str]:
    if run.void:
        yield f"the run is void: {run.void}"
    for block in run.blocks:
        if block.void:
            yield f"block {block.index} ({block.purpose}) is void: {block.void}"
    readings = [each for block in run.blocks for each in (block.before, block.after) if each]
    notes = [note for reading in readings for note in reading.notes]
    notes += run.batch.notes if run.batch else ()
    yield from dict.fromkeys(note.rstrip(".") for note in notes)


def _comparison_warnings(comparison: ComparisonFinding | None) -> Iterator[str]:
    if comparison is None:
        return
    earlier = comparison.earlier
    logged = comparison.session != NO_SESSION
    if comparison.same_boot:
        yield (
            f"this run and {'that of ' if logged else ''}{earlier} were taken on one boot of the "
            "server: it is compared with itself at a later time"
        )
    if comparison.noisy:
        yield (
            f"no verdict is drawn against {earlier}, because the host disturbed "
            f"{' and '.join(comparison.noisy)}"
        )
