"""What a batch benchmark says in words: its findings, and short forms for headings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lab.measure.findings import (
    Analysis,
    BatchFailure,
    BatchFinding,
    ComparisonFinding,
    SizeFinding,
    SweepFinding,
)
from lab.notebook.batch_upstream import connections_opened, together
from lab.notebook.batches import failed_at, from_to, position_range, signed_ms
from lab.notebook.comparisons import verdict_text
from lab.notebook.curve import fitted_ns
from lab.notebook.figures import (
    amount,
    code,
    counted,
    joined,
    ms,
    ms_range,
    percent,
    ratio,
    signed_percent,
    significant,
)
from lab.notebook.text import capital, plain
from lab.stats.batches import TableCost
from lab.stats.positions import PositionFit, Shape
from lab.stats.summary import Comparison, Verdict
from lab.upstream.shapes import SNAPSHOT

MATTERS = 0.1
"""What share a slope may add to a fitted cost, from the first position to the last, unseen."""

_SIZE = "transaction of "
_MOVED = (Verdict.REGRESSED, Verdict.IMPROVED, Verdict.SMALL_CHANGE)
_UNLIKE = 1.2
_LONGER = 1.5
_SHOWN = 3
_LONGEST_ERROR = 100
_ORDER = {Shape.CONSTANT: "O(n)", Shape.LINEAR: "O(n²)", Shape.QUADRATIC: "O(n³)"}


def batch_findings(finding: BatchFinding, shapes_only: str = "") -> list[str]:
    """Return what was found, a sentence or two each: sizes, positions, failures, upstream.

    No figure is set in proportion to another where figures are ``shapes_only``.
    """
    return [
        *_costs(finding),
        *_shape(finding, shapes_only),
        *_first(finding, shapes_only),
        *_failures(finding),
        *_upstream(finding, shapes_only),
        *_sweep(finding.sweep, shapes_only),
    ]


def batch_medians(finding: BatchFinding) -> str:
    """Return what a table costs by size, with intervals, for running text."""
    known = _known(finding)
    figures = ", ".join(
        f"{ms(cost.ns)} ms{_in_brackets(cost)}{'' if place else ' in transactions'} of {size:,}"
        for place, (size, cost) in enumerate(known)
    )
    return f"{finding.statement} takes per table {figures}" if figures else ""


def batch_means(finding: BatchFinding) -> str:
    """Say what the figures of `batch_medians` are."""
    costs = [cost for _, cost in _known(finding)]
    without = [cost.n for cost in costs if cost.low_ns is None]
    if len(without) < len(costs):
        these = " where these are three or more" if without else ""
        return f"geometric means of the repetitions with 95% intervals{these}"
    if max(without, default=1) == 1:
        return "single repetitions, which carry no interval"
    return f"geometric means of {from_to(without)} repetitions, too few for an interval"


def batch_headline(analysis: Analysis, finding: BatchFinding) -> str:
    """Return one line without a full stop: what changed, or else the costs and their shape."""
    comparison = analysis.comparison
    if comparison and comparison.cells:
        changed = [
            _changed(verdict, comparison)
            for verdict in (Verdict.REGRESSED, Verdict.IMPROVED)
            if any(cell.verdict is verdict for cell in comparison.cells.values())
        ]
        if changed:
            return f"{'; '.join(changed)} since {comparison.earlier}"
    return "; ".join([_in_short(finding), *_shape_in_short(finding), *_failed_in_short(finding)])


def compared(cells: Mapping[str, Comparison], verdict: Verdict, shapes_only: str) -> list[str]:
    """Return the sizes and ranges of positions of one verdict, a sentence for each way it reads."""
    groups: dict[str, list[str]] = {}
    for name, cell in cells.items():
        if cell.verdict is verdict:
            groups.setdefault(verdict_text(cell, shapes_only), []).append(name)
    return [
        f"{_title(text, verdict, [cells[name] for name in named])} {_named(named, cells)}."
        for text, named in groups.items()
    ]


def _title(text: str, verdict: Verdict, cells: Sequence[Comparison]) -> str:
    if verdict is Verdict.NO_MEASURABLE_CHANGE:
        low, high = (percent(choose(cell.margin for cell in cells)) for choose in (min, max))
        return f"{capital(text)} (±{low if low == high else f'{low} to ±{high}'}):"
    said = f"{capital(text)}:"
    return f"**{said}**" if verdict in (Verdict.REGRESSED, Verdict.IMPROVED) else said


def _named(names: Sequence[str], cells: Mapping[str, Comparison]) -> str:
    """Return what has a verdict: with its figures where it moved, else those of a kind together."""
    if any(cells[name].verdict in _MOVED for name in names):
        return "; ".join(
            f"{name}, {_moved(cells[name])}, {signed_percent(cells[name].ratio - 1)}"
            for name in names
        )
    sizes = [name for name in names if name.startswith(_SIZE)]
    positions = [name for name in names if not name.startswith(_SIZE)]
    said = [_together("transactions of", sizes), _together("positions", positions)]
    return "; ".join(each for each in said if each)


def _together(several: str, names: Sequence[str]) -> str:
    """Return ``transactions of 5 and 10`` for two names, a single name as it is."""
    if len(names) < 2:
        return "".join(names)
    words = len(several.split())
    return f"{several} {joined([name.split(' ', words)[words] for name in names])}"


def _moved(cell: Comparison) -> str:
    return f"{ms(cell.before.median_ns)} → {ms(cell.after.median_ns)} ms"


def _changed(verdict: Verdict, comparison: ComparisonFinding) -> str:
    cells = {name: each for name, each in comparison.cells.items() if each.verdict is verdict}
    name, cell = max(cells.items(), key=lambda pair: max(pair[1].ratio, 1 / pair[1].ratio))
    more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
    whose = f"{name} " if more else ""
    return (
        f"{name}{more} {verdict_text(cell, comparison.shapes_only)}: {whose}{_moved(cell)}"
        f" (ratio {ratio(cell.ratio)}, 95% {ratio(cell.low)} to {ratio(cell.high)})"
    )


def _known(finding: BatchFinding) -> list[tuple[int, TableCost]]:
    return [(each.size, each.cost) for each in finding.sizes if each.cost]


def _costs(finding: BatchFinding) -> list[str]:
    """Return what a table costs at the smallest and the largest size, and where it is least."""
    known = sorted(_known(finding), key=lambda pair: pair[0])
    if not known:
        return ["No transaction counts, so that nothing can be said of the cost of a table."]
    (small, dear), (large, cost) = known[0], known[-1]
    said = (
        f"{code(finding.statement)} costs {_with_interval(dear)} a table in a transaction of"
        f" {small:,}"
    )
    end = "."
    if all(each.low_ns is None for _, each in known):
        repetitions = from_to([each.n for _, each in known])
        end = f"; fewer than three repetitions carry no interval (n = {repetitions})."
    if len(known) == 1:
        return [f"{said}{end}"]
    least, cheapest = min(known, key=lambda pair: pair[1].ns)
    said += f", {_with_interval(cost)} in one of {large:,}"
    if least not in (small, large):
        said += f"; least in one of {least:,}, {_with_interval(cheapest)}"
    return [f"{said}{end}"]


def _with_interval(cost: TableCost) -> str:
    if cost.low_ns is None or cost.high_ns is None:
        return f"{ms(cost.ns)} ms"
    return f"{ms(cost.ns)} ms (95% {ms_range(cost.low_ns, cost.high_ns)})"


def _in_brackets(cost: TableCost) -> str:
    return "" if cost.low_ns is None else f" ({ms_range(cost.low_ns, cost.high_ns)})"


def _shape(finding: BatchFinding, shapes_only: str) -> list[str]:
    fit = finding.fit
    if fit is None:
        return [
            "How the cost depends on the position cannot be said: too few positions were measured."
        ]
    if fit.shape is Shape.CONSTANT:
        return [f"{_constant(fit)}{_coarse(fit, shapes_only)}"]
    return [f"{_growing(fit)}{_growth(fit, shapes_only)}"]


def _constant(fit: PositionFit) -> str:
    where = position_range(fit.first, fit.last)
    said = f"**Constant by position** ({where}): a transaction of n statements costs O(n)."
    if fit.slope_low_ns > 0:
        return f"{said} What slope there is, {_slope_interval(fit)} ms per position, adds little."
    if fit.slope_high_ns < 0:
        return (
            f"{said} If anything, later statements are cheaper: the slope is"
            f" {_slope_interval(fit)} ms per position."
        )
    return (
        f"{said} A slope from {ms(fit.detectable_ns)} ms per position on would have been told from"
        " none."
    )


def _slope_interval(fit: PositionFit) -> str:
    return f"{signed_ms(fit.slope_low_ns)} to {signed_ms(fit.slope_high_ns)}"


def _coarse(fit: PositionFit, shapes_only: str) -> str:
    """Return what might have been overlooked, where that is much; else nothing."""
    unseen_ns = fit.detectable_ns * (fit.last - fit.first)
    told = fit.slope_low_ns > 0 or fit.slope_high_ns < 0
    if told or unseen_ns <= MATTERS * abs(fitted_ns(fit, fit.first)):
        return ""
    share = "" if shapes_only else f", {percent(unseen_ns / fitted_ns(fit, fit.first))} more"
    return (
        f" **That is coarse:** up to {ms(unseen_ns)} ms{share} at position {fit.last:,} could hide"
        " behind it. Larger transactions, or more repetitions, would tell."
    )


def _growing(fit: PositionFit) -> str:
    where = position_range(fit.first, fit.last)
    order = _ORDER[fit.shape]
    line = f"95% {_slope_interval(fit)}"
    if fit.shape is Shape.QUADRATIC:
        return (
            f"**Quadratic by position** ({where}). A statement's cost grows with the square of its"
            f" position, by {signed_ms(fit.curvature_ns)} ms · p² (a straight line through it has"
            f" {line} ms per position): a transaction of n statements costs {order}."
        )
    return (
        f"**Linear by position** ({where}). A statement's cost grows by {ms(fit.slope_ns)} ms per"
        f" position ({line}): a transaction of n statements costs {order}, as where each statement"
        " carries out those before it anew."
    )


def _growth(fit: PositionFit, shapes_only: str) -> str:
    first, last = (ms(fitted_ns(fit, position)) for position in (fit.first, fit.last))
    times = "" if shapes_only else f", {significant(fit.growth, 2)} times that"
    return (
        f" By the fit a statement takes {first} ms at position {fit.first:,} and {last} ms at"
        f" position {fit.last:,}{times}."
    )


def _first(finding: BatchFinding, shapes_only: str) -> list[str]:
    """Set the first statement of a transaction against the next ones, median against median."""
    if finding.first_ns is None or finding.fit is None:
        return []
    said = f"The first statement of a transaction takes {ms(finding.first_ns)} ms (median)"
    then = next((each for each in finding.bins if each.first == 2), None)
    if then is None or shapes_only or not _far_apart(finding.first_ns, then.median_ns):
        return [f"{said}; it is not in the fit."]
    how = "more" if finding.first_ns > then.median_ns else "less"
    where = f"position{'s' if then.last > then.first else ''} {position_range(2, then.last)}"
    return [
        f"{said}, {ms(abs(finding.first_ns - then.median_ns))} ms {how} than the median at"
        f" {where}; it is not in the fit."
    ]


def _far_apart(one_ns: float, other_ns: float) -> bool:
    low, high = sorted((one_ns, other_ns))
    return high > _UNLIKE * low


def _failures(finding: BatchFinding) -> list[str]:
    said = []
    if finding.failures:
        shown = [_failure(each) for each in finding.failures[:_SHOWN]]
        more = len(finding.failures) - len(shown)
        also = f"; and {more:,} more" if more else ""
        said.append(
            f"**{len(finding.failures):,} of {counted(finding.carried_out, 'transaction')}"
            f" failed,** and none of these is a sample: {'; '.join(shown)}{also}."
        )
    said += [f"Not counted: {plain(each)}." for each in finding.void]
    missing = finding.planned - finding.carried_out
    if missing > 0:
        said.append(f"{missing:,} of {finding.planned:,} transactions were not carried out.")
    lost = [each for each in finding.sizes if each.cost is None and each.failed]
    return [*said, *_nothing_of(lost)]


def _failure(failure: BatchFailure) -> str:
    place = failed_at(failure.size, failure.failed_at)
    error = plain(failure.error)
    short = error if len(error) <= _LONGEST_ERROR else f"{error[:_LONGEST_ERROR].rstrip()}…"
    return f"one of {failure.size:,} at {place} ({code(short)})"


def _nothing_of(lost: Sequence[SizeFinding]) -> list[str]:
    if not lost:
        return []
    sizes = joined([f"{each.size:,}" for each in lost])
    return [f"Nothing is known of transactions of {sizes}: none of them counts."]


def _upstream(finding: BatchFinding, shapes_only: str) -> list[str]:
    if not finding.shapes:
        return ["What the upstream was asked meanwhile is not known."]
    total = together(finding)
    most = max(finding.shapes, key=lambda each: each.ns * (each.label != SNAPSHOT))
    connections = connections_opened(finding)
    opened = f" and opens {connections} to it" if connections else ""
    largest = "" if shapes_only or not total.ns else f", most of it for {plain(most.label)}"
    return [
        f"On average a statement asks the upstream {amount(total.calls, 'count')} queries{opened}."
        f" Answering them takes {ms(total.ns)} ms there{largest}, and returns"
        f" {amount(total.rows, 'count')} rows, with {finding.published:,} tables published."
    ]


def _sweep(sweep: Sequence[SweepFinding], shapes_only: str) -> list[str]:
    """Say whether what the upstream answers grows with the published tables."""
    if len(sweep) < 2:
        return []
    few, many = (choose(sweep, key=lambda each: each.published) for choose in (min, max))
    return [
        f"**{_growth_named(few, many)}:** from {few.published:,} to {many.published:,} of"
        f" them, the upstream returns {_rows(few)} → {_rows(many)} rows a statement and answers in"
        f" {ms(few.upstream_ns)} → {ms(many.upstream_ns)} ms; the client waits"
        f" {ms(few.client_ns)} → {ms(many.client_ns)} ms (means"
        f"{'' if shapes_only else _difference(few, many)})."
    ]


def _growth_named(few: SweepFinding, many: SweepFinding) -> str:
    """Name what rows say, which are exact; times are means without an interval."""
    if many.rows > _UNLIKE * few.rows:
        return "Grows with the published tables"
    if many.upstream_ns > _LONGER * few.upstream_ns:
        return "Takes longer with more published tables, for as many rows"
    return "No growth seen with the published tables"


def _rows(each: SweepFinding) -> str:
    return amount(each.rows, "count")


def _difference(few: SweepFinding, many: SweepFinding) -> str:
    more_ns = many.client_ns - few.client_ns
    if more_ns <= 0:
        return ""
    share = (many.upstream_ns - few.upstream_ns) / more_ns
    return f"; {percent(share)} of the difference upstream" if 0 <= share <= 1 else ""


def _in_short(finding: BatchFinding) -> str:
    known = sorted(_known(finding), key=lambda pair: pair[0])
    if not known:
        return f"{finding.statement}: no transaction counts"
    ends = [known[0]] if len(known) == 1 else [known[0], known[-1]]
    figures = ", ".join(
        f"{ms(cost.ns)} ms {'in one' if place else 'a table in a transaction'} of {size:,}"
        for place, (size, cost) in enumerate(ends)
    )
    return f"{finding.statement} {figures}"


def _shape_in_short(finding: BatchFinding) -> list[str]:
    fit = finding.fit
    if fit is None:
        return []
    if fit.shape is Shape.LINEAR:
        return [f"grows by {ms(fit.slope_ns)} ms per position, so O(n²)"]
    return [f"{fit.shape.value} by position, so {_ORDER[fit.shape]}"]


def _failed_in_short(finding: BatchFinding) -> list[str]:
    failed = len(finding.failures)
    return [f"{failed:,} of {finding.carried_out:,} transactions failed"] if failed else []
