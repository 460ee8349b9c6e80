"""What an analysis says in words: the generated findings, and short forms for headings."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from lab.measure.findings import Analysis, CellFinding, ComparisonFinding, Difference
from lab.measure.record import AUTOCOMMIT
from lab.notebook.batch_sentences import (
    batch_findings,
    batch_headline,
    batch_means,
    batch_medians,
    compared,
)
from lab.notebook.comparisons import IN_WORDS, in_words, verdict_text
from lab.notebook.costs import cost_findings
from lab.notebook.figures import (
    code,
    counted,
    joined,
    ms,
    ms_range,
    percent,
    ratio,
    signed_percent,
    statements,
)
from lab.notebook.shapes import legend, marked
from lab.notebook.text import capital, plain
from lab.stats.summary import Comparison, Summary, Verdict

# In the order in which they matter to the reader.
_MOVED = (Verdict.REGRESSED, Verdict.IMPROVED, Verdict.SMALL_CHANGE)
_ORDER = (*_MOVED, Verdict.INCONCLUSIVE, Verdict.NO_MEASURABLE_CHANGE, Verdict.INVALID)
# The headline has room for what counts as a change, or else for the gravest of the others.
_CHANGED = (Verdict.REGRESSED, Verdict.IMPROVED)
_GRAVEST = (
    Verdict.INVALID,
    Verdict.INCONCLUSIVE,
    Verdict.SMALL_CHANGE,
    Verdict.NO_MEASURABLE_CHANGE,
)
# How the attribution of costs says that a part has no timer, after the part's name.
_NOT_MEASURED = ": not measured here"


def findings(analysis: Analysis) -> list[str]:
    """Return the findings that follow from figures alone, each a sentence or two."""
    said = [*_measured(analysis), *_costs(analysis), *_shapes(analysis.cells)]
    said += [f"{_sentence(warning, analysis)}." for warning in analysis.warnings]
    said = [marked(each, analysis.shapes_only) for each in said]
    return [*said, f"{legend(analysis.shapes_only)}."] if analysis.shapes_only else said


def _measured(analysis: Analysis) -> list[str]:
    """Return what was compared, or else measured; a batch benchmark says both."""
    against = _compared(analysis)
    if analysis.batch is None:
        return against
    found = batch_findings(analysis.batch, analysis.shapes_only)
    compared = analysis.comparison and analysis.comparison.cells
    return [*against, *found] if compared else [*found, *against]


def tally(analysis: Analysis) -> str:
    """Count the verdicts: ``1 regressed, 2 improved``; empty where nothing was compared."""
    if analysis.comparison is None or not analysis.comparison.cells:
        return ""
    verdicts = [cell.verdict for cell in analysis.comparison.cells.values()]
    counts = [(verdicts.count(verdict), verdict.value) for verdict in _ORDER]
    shown = [f"{count} {name}" for count, name in counts if count]
    return ", ".join([*shown, *([analysis.shapes_only] if analysis.shapes_only else [])])


def medians(analysis: Analysis) -> str:
    """Return each valid cell's median with its interval, for running text.

    Of a batch benchmark, what a table costs by size.
    """
    if analysis.batch:
        return marked(batch_medians(analysis.batch), analysis.shapes_only)
    measured = [(cell, cell.summary) for cell in analysis.cells if cell.summary and not cell.void]
    figures = ", ".join(f"{cell.statement} {_figure(summary)}" for cell, summary in measured)
    return marked(figures, analysis.shapes_only)


def of_what(analysis: Analysis) -> str:
    """Say what the figures of `medians` are: ``medians with 95% intervals``."""
    if analysis.batch is None:
        return "medians with 95% intervals"
    return batch_means(analysis.batch)


def headline(analysis: Analysis) -> str:
    """Return one line without a full stop: what was found of the cell that matters most."""
    if not analysis.cells and analysis.batch is None:
        return "nothing was measured"
    if analysis.void:
        return f"the run is void: {plain(analysis.void)}"
    found = batch_headline(analysis, analysis.batch) if analysis.batch else _found(analysis)
    if not analysis.shapes_only:
        return found
    return f"{marked(found, analysis.shapes_only)} († {analysis.shapes_only}: shapes only)"


def _found(analysis: Analysis) -> str:
    first = next((cell for cell in analysis.cells if not cell.void), analysis.cells[0])
    comparison = analysis.comparison
    if comparison is None:
        return _cell_text(first)
    if comparison.differences:
        return f"{_cell_text(first)}; {_unlike(comparison)}"
    if not comparison.cells:
        return f"{_cell_text(first)}; nothing of it can be compared with {comparison.earlier}"
    return _compared_text(analysis, comparison)


def _unlike(comparison: ComparisonFinding) -> str:
    """Return in short that nothing is compared, and why."""
    earlier = comparison.earlier
    told = in_words(comparison.differences)
    if told:
        return f"compared with nothing: {earlier} measured {told}"
    fields = [difference.field for difference in comparison.differences]
    more = len(fields) - 1
    unlike = f"{fields[0]} and {more} more differ" if more else f"{fields[0]} differs"
    return f"not compared with {earlier}: {unlike}"


def _compared_text(analysis: Analysis, comparison: ComparisonFinding) -> str:
    groups: dict[Verdict, list[str]] = {}
    for statement, cell in comparison.cells.items():
        groups.setdefault(cell.verdict, []).append(statement)
    since = f"since {comparison.earlier}{', on one boot' if comparison.same_boot else ''}"
    changed = [_changed_text(groups[each], comparison) for each in _CHANGED if each in groups]
    if changed:
        return f"{'; '.join(changed)} {since}, at {_objects(analysis.cells[0])}"
    named = groups[min(groups, key=_GRAVEST.index)]
    statement = _farthest(named, comparison)
    found = next(cell for cell in analysis.cells if cell.statement == statement)
    whose = "" if len(named) == len(comparison.cells) else f"{_and_more(statement, named)} "
    verdict = verdict_text(comparison.cells[statement], comparison.shapes_only)
    return f"{_cell_text(found)}; {whose}{verdict}, {since}"


def _changed_text(named: Sequence[str], comparison: ComparisonFinding) -> str:
    statement = _farthest(named, comparison)
    cell = comparison.cells[statement]
    whose = f"{statement} " if len(named) > 1 else ""
    verdict = verdict_text(cell, comparison.shapes_only)
    return (
        f"{_and_more(statement, named)} {verdict}: {whose}{ms(cell.before.median_ns)} →"
        f" {ms(cell.after.median_ns)} ms ({_ratio_text(cell)})"
    )


def _farthest(named: Sequence[str], comparison: ComparisonFinding) -> str:
    """Return the statement whose latency moved most, whichever way."""
    return max(named, key=lambda name: abs(math.log(comparison.cells[name].ratio)))


def _and_more(statement: str, named: Sequence[str]) -> str:
    return f"{statement} and {len(named) - 1} more" if len(named) > 1 else statement


def _cell_text(cell: CellFinding) -> str:
    at = f"at {_objects(cell)}{'' if cell.mode == AUTOCOMMIT else f' in {cell.mode} mode'}"
    if cell.void or cell.summary is None:
        return f"{cell.statement} void {at}: {plain(cell.void)}"
    found = cell.summary
    interval = ""
    if found.low_ns is not None and found.high_ns is not None:
        interval = f"95% {ms_range(found.low_ns, found.high_ns)}, "
    return f"{cell.statement} {ms(found.median_ns)} ms ({interval}n={found.n}) {at}"


def _objects(cell: CellFinding) -> str:
    return counted(cell.objects, "object")


def _ratio_text(cell: Comparison) -> str:
    return f"ratio {ratio(cell.ratio)}, 95% {ratio(cell.low)} to {ratio(cell.high)}"


def _figure(summary: Summary) -> str:
    text = f"{ms(summary.median_ns)} ms"
    if summary.low_ns is None or summary.high_ns is None:
        return text
    return f"{text} ({ms_range(summary.low_ns, summary.high_ns)})"


def _compared(analysis: Analysis) -> list[str]:
    comparison = analysis.comparison
    if analysis.void:
        return _baseline(analysis, "Void, and compared with nothing")
    if comparison is None:
        return _baseline(analysis, "No earlier run to compare with")
    if comparison.differences:
        told = in_words(comparison.differences)
        if not told:
            return _baseline(analysis, _not_compared(comparison))
        refused = f"Compared with nothing: {comparison.earlier} measured {told}"
        also = _fields([each for each in comparison.differences if each.field not in IN_WORDS])
        return [f"{refused}{f'; {also}, too' if also else ''}.", *_baseline(analysis)]
    if not comparison.cells:
        reason = f"Nothing can be compared with {comparison.earlier}"
        return _baseline(analysis, reason)
    said = []
    for verdict in _ORDER:
        cells = {name: c for name, c in comparison.cells.items() if c.verdict is verdict}
        if analysis.batch:
            said += compared(cells, verdict, analysis.shapes_only)
        elif verdict in _MOVED:
            said += [_moved(name, cell, comparison) for name, cell in cells.items()]
        elif cells:
            said += _unmoved(verdict, cells, analysis)
    return said


def _not_compared(comparison: ComparisonFinding) -> str:
    fields = _fields(comparison.differences)
    return f"Not compared with {comparison.earlier}: {fields}"


def _fields(differences: Sequence[Difference]) -> str:
    """Return which passport fields differ; empty where none does."""
    if not differences:
        return ""
    fields = joined([code(each.field) for each in differences[:4]])
    more = len(differences) - 4
    also = f" and {counted(more, 'other field')}" if more > 0 else ""
    return f"{fields}{also} {'differ' if len(differences) > 1 else 'differs'}"


def _baseline(analysis: Analysis, reason: str = "") -> list[str]:
    """Return what was measured, after the ``reason`` why nothing else is said.

    Of a batch benchmark the reason alone: what was measured is a finding of its own there.
    """
    if analysis.batch:
        return [f"{reason}."] if reason else []
    measured = [
        (cell.summary.median_ns, cell) for cell in analysis.cells if cell.summary and not cell.void
    ]
    if not measured:
        return [f"{reason}; no cell could be measured." if reason else "No cell could be measured."]
    fastest = min(measured, key=lambda pair: pair[0])
    slowest = max(measured, key=lambda pair: pair[0])
    at = counted(fastest[1].objects, "object")
    if len(measured) == 1:
        span = f"the median is {ms(fastest[0])} ms ({code(fastest[1].statement)})"
    else:
        span = (
            f"medians go from {ms(fastest[0])} ms ({code(fastest[1].statement)})"
            f" to {ms(slowest[0])} ms ({code(slowest[1].statement)})"
        )
    return [f"{reason}: at {at}, {span}." if reason else f"At {at}, {span}."]


def _moved(statement: str, cell: Comparison, comparison: ComparisonFinding) -> str:
    return (
        f"**{code(statement)} {verdict_text(cell, comparison.shapes_only)}:**"
        f" {ms(cell.before.median_ns)} → {ms(cell.after.median_ns)} ms since"
        f" {comparison.earlier}, {signed_percent(cell.ratio - 1)}"
        f" ({_ratio_text(cell)})."
    )


def _unmoved(verdict: Verdict, cells: Mapping[str, Comparison], analysis: Analysis) -> list[str]:
    """Return a sentence for each way in which the verdict reads, with its statements."""
    groups: dict[str, list[str]] = {}
    for name, cell in cells.items():
        groups.setdefault(verdict_text(cell, analysis.shapes_only), []).append(name)
    known = [cell.statement for cell in analysis.cells]
    margins = verdict is Verdict.NO_MEASURABLE_CHANGE
    return [
        f"{capital(text)}: {_with_margins(named, cells) if margins else statements(named, known)}."
        for text, named in groups.items()
    ]


def _with_margins(named: Sequence[str], cells: Mapping[str, Comparison]) -> str:
    return joined([f"{code(name)} (±{percent(cells[name].margin)})" for name in named])


def _shapes(cells: Sequence[CellFinding]) -> list[str]:
    """Name the cells that drifted while they were measured, and those with several modes."""
    measured = [(code(cell.statement), cell.summary) for cell in cells if cell.summary]
    trends = [
        f"{name} {signed_percent(summary.drift.total)}"
        for name, summary in measured
        if summary.drift is not None
    ]
    modes = [
        f"{name} at {joined([ms(mode) for mode in summary.modes_ns])} ms"
        for name, summary in measured
        if summary.modes_ns
    ]
    said = []
    if trends:
        said.append(f"Trend over the run (Mann–Kendall p < 0.01): {', '.join(trends)}.")
    if modes:
        said.append(f"More than one mode, which the median hides: {'; '.join(modes)}.")
    return said


def _costs(analysis: Analysis) -> list[str]:
    """Return where the time goes, and the costs' warnings: many statements often share one."""
    groups: dict[str, list[str]] = {}
    for cost in analysis.costs:
        for warning in cost.warnings:
            groups.setdefault(plain(warning), []).append(cost.statement)
    known = [cost.statement for cost in analysis.costs]
    unmeasured: dict[str, list[str]] = {}
    said = []
    for warning, named in groups.items():
        if warning.endswith(_NOT_MEASURED):
            what = warning.removesuffix(_NOT_MEASURED)
            unmeasured.setdefault(statements(named, known), []).append(what)
        else:
            said.append(f"Costs of {statements(named, known)}: {warning}.")
    as_trees = analysis.batch is not None
    missing = "; ".join(f"{', '.join(what)} ({whose})" for whose, what in unmeasured.items())
    said += [f"Not measured here: {missing}."] if missing else []
    return [*cost_findings(analysis.costs, analysis.shapes_only, as_trees=as_trees), *said]


def _sentence(warning: str, analysis: Analysis) -> str:
    """Return a warning as the beginning of a sentence, with its statements as code."""
    text = capital(plain(warning)) if not _names_first(warning, analysis) else plain(warning)
    names = "|".join(re.escape(cell.statement) for cell in analysis.cells)
    if not names:
        return text
    return re.sub(rf"(?<![\w-])(?:{names})(?![\w-])", lambda found: code(found[0]), text)


def _names_first(warning: str, analysis: Analysis) -> bool:
    return any(warning.startswith(f"{cell.statement} ") for cell in analysis.cells)
