"""What a run says: a pure function of its file and of the earlier run's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lab.measure.cells import asked_and_drops, cell_samples
from lab.measure.comparison import compare
from lab.measure.findings import (
    Amount,
    Analysis,
    CellFinding,
    ComparisonFinding,
    CostFinding,
)
from lab.measure.noise import noise_warnings
from lab.measure.record import Block, Run
from lab.metrics.attribute import attribute, total
from lab.metrics.reading import Delta, difference
from lab.metrics.tree import CostSheet
from lab.stats.summary import Comparison, Verdict

_MOVED: tuple[Verdict, ...] = (Verdict.REGRESSED, Verdict.IMPROVED)
_GRAVITY = (
    *_MOVED,
    Verdict.INVALID,
    Verdict.INCONCLUSIVE,
    Verdict.SMALL_CHANGE,
    Verdict.NO_MEASURABLE_CHANGE,
)


def analyse(run: Run, earlier: tuple[int, Run] | None) -> Analysis:
    """Return all that ``run`` says, compared with ``earlier`` (session, run) where there is one.

    A void run is compared with nothing; its cells are those of the blocks that count.
    """
    from lab.targets.registry import target

    statements = asked_and_drops(run)
    cells = tuple(_cell(run, statement) for statement in statements)
    sheets = target(run.target).cost_sheet
    costs = tuple(
        cost
        for statement in statements
        if (cost := _cost(run, statement, sheets(statement))) is not None
    )
    comparison = compare(run, earlier) if earlier and not run.void else None
    return Analysis(
        run=run.id,
        cells=cells,
        costs=costs,
        comparison=comparison,
        warnings=(
            *_run_warnings(run),
            *_cell_warnings(cells),
            *noise_warnings(run),
            *_comparison_warnings(comparison),
        ),
    )


def _cell(run: Run, statement: str) -> CellFinding:
    from lab.stats.cell import summarize

    samples = cell_samples(run, statement)
    return CellFinding(
        statement=statement,
        objects=samples.objects,
        summary=None if samples.void else summarize(samples.durations),
        excluded=samples.excluded,
        reasons=samples.reasons,
        void=samples.void,
    )


def _cost(run: Run, statement: str, sheet: CostSheet) -> CostFinding | None:
    blocks = [
        block
        for block in run.blocks
        if block.purpose == "cost" and block.statements == (statement,) and not block.void
    ]
    # Warm-ups and failures moved the counters, too, so they are counted here.
    samples = [sample for block in blocks for sample in block.samples]
    client_ns = sum(sample.duration_ns for sample in samples) / max(1, len(samples))
    if not client_ns:
        return None
    found = attribute(
        sheet,
        total([_delta(block) for block in blocks]),
        statements=len(samples),
        client_mean_ns=client_ns,
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
            *((f"{failed} of {len(samples)} statements failed",) if failed else ()),
        ),
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


def _cell_warnings(cells: Sequence[CellFinding]) -> Iterator[str]:
    for cell in cells:
        if cell.summary is None:
            continue
        drift = cell.summary.drift
        if drift is not None:
            yield (
                f"latencies of {cell.statement} drifted by {drift.total:+.0%} from the first "
                f"sample to the last (Mann–Kendall p = {drift.p:.2g})"
            )
    split = [cell for cell in cells if cell.summary and len(cell.summary.modes_ns) > 1]
    if split:
        yield (
            "latencies with more than one mode, which the median hides: "
            f"{'; '.join(_modes(cell) for cell in split)}"
        )


def _modes(cell: CellFinding) -> str:
    assert cell.summary is not None
    modes = [f"{mode / 1e6:.3g}" for mode in cell.summary.modes_ns]
    return f"{cell.statement} at {', '.join(modes[:-1])} and {modes[-1]} ms"


def _comparison_warnings(comparison: ComparisonFinding | None) -> Iterator[str]:
    if comparison is None:
        return
    if comparison.same_boot:
        yield (
            f"this run and that of session {comparison.session} were taken on one boot of the "
            "server: it is compared with itself at a later time"
        )
    if comparison.noisy:
        yield (
            f"no change is claimed since session {comparison.session}, because the host disturbed "
            f"{' and '.join(comparison.noisy)}"
        )


def headline(analysis: Analysis) -> str:
    """Return one line on the first cell and the gravest verdict, without a full stop."""
    if not analysis.cells:
        return "nothing was measured"
    parts = [_figure(analysis.cells[0])]
    comparison = analysis.comparison
    if comparison is not None and comparison.cells:
        where = ", on the same boot" if comparison.same_boot else ""
        where += ", on a noisy host" if comparison.noisy else ""
        parts.append(f"{_verdict(comparison.cells)}{where}")
    elif comparison is not None and comparison.differences:
        fields = [difference.field for difference in comparison.differences]
        unlike = f"{fields[0]} differs"
        if len(fields) > 1:
            unlike = f"{fields[0]} and {len(fields) - 1} more differ"
        parts.append(f"not compared with session {comparison.session}: {unlike}")
    return "; ".join(parts)


def _figure(cell: CellFinding) -> str:
    at = f"at {cell.objects:,} objects"
    if cell.summary is None:
        return f"{cell.statement} void {at}: {cell.void}"
    found = cell.summary
    interval = f"n={found.n}"
    if found.low_ns is not None and found.high_ns is not None:
        interval = f"95% {_ms(found.low_ns)}–{_ms(found.high_ns)}, {interval}"
    return f"{cell.statement} {_ms(found.median_ns)} ms ({interval}) {at}"


def _ms(ns: float) -> str:
    ms = ns / 1e6
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}"


def _verdict(cells: dict[str, Comparison]) -> str:
    """Name what improved or regressed; where nothing did, the gravest verdict."""
    groups: dict[Verdict, list[str]] = {}
    for statement, found in cells.items():
        groups.setdefault(found.verdict, []).append(statement)
    moved = [verdict for verdict in _MOVED if verdict in groups]
    shown = moved or [min(groups, key=_GRAVITY.index)]
    return ", ".join(_group(verdict, groups[verdict], cells) for verdict in shown)


def _group(verdict: Verdict, named: Sequence[str], cells: dict[str, Comparison]) -> str:
    everything = len(named) == len(cells)
    more = f" and {len(named) - 1} more" if len(named) > 1 else ""
    text = verdict.value if everything else f"{named[0]}{more} {verdict.value}"
    if verdict not in (*_MOVED, Verdict.SMALL_CHANGE):
        return text
    first = cells[named[0]]
    whose = f"{named[0]} " if everything and more else ""
    provisional = ", provisional" if first.provisional else ""
    return f"{text} ({whose}{first.ratio:.2f}×{provisional})"
