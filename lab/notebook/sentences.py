"""What an analysis says in words: the generated findings, and short forms for headings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from lab.measure.findings import Analysis, CellFinding
from lab.notebook.figures import code, counted, joined, ms, percent, ratio, signed_percent
from lab.notebook.text import plain
from lab.notebook.views import verdict_text
from lab.stats.summary import Comparison, Summary, Verdict

# In the order in which they matter to the reader.
_MOVED = (Verdict.REGRESSED, Verdict.IMPROVED, Verdict.SMALL_CHANGE)
_ORDER = (*_MOVED, Verdict.INCONCLUSIVE, Verdict.NO_MEASURABLE_CHANGE, Verdict.INVALID)


def findings(analysis: Analysis) -> list[str]:
    """Return the findings that follow from figures alone, each a sentence or two."""
    said = [*_compared(analysis), *_costs(analysis)]
    said += [f"{_sentence(warning, analysis)}." for warning in analysis.warnings]
    return said


def tally(analysis: Analysis) -> str:
    """Count the verdicts: ``1 regressed, 2 improved``; empty where nothing was compared."""
    if analysis.comparison is None:
        return ""
    verdicts = [cell.verdict for cell in analysis.comparison.cells.values()]
    counts = [(verdicts.count(verdict), verdict.value) for verdict in _ORDER]
    return ", ".join(f"{count} {name}" for count, name in counts if count)


def medians(analysis: Analysis) -> str:
    """Return each cell's median with its interval, for running text."""
    measured = [(cell, cell.summary) for cell in analysis.cells if cell.summary is not None]
    return ", ".join(f"{cell.statement} {_figure(summary)}" for cell, summary in measured)


def _figure(summary: Summary) -> str:
    text = f"{ms(summary.median_ns)} ms"
    if summary.low_ns is None or summary.high_ns is None:
        return text
    return f"{text} ({ms(summary.low_ns)}–{ms(summary.high_ns)})"


def _compared(analysis: Analysis) -> list[str]:
    comparison = analysis.comparison
    if comparison is None:
        return _baseline(analysis.cells, "No earlier run to compare with")
    if comparison.differences:
        fields = joined([code(each.field) for each in comparison.differences[:4]])
        more = len(comparison.differences) - 4
        also = f" and {counted(more, 'other field')}" if more > 0 else ""
        reason = f"Not compared with session {comparison.session}: {fields}{also} differ"
        return _baseline(analysis.cells, reason)
    said = []
    for verdict in _ORDER:
        cells = {name: c for name, c in comparison.cells.items() if c.verdict is verdict}
        if verdict in _MOVED:
            said += [_moved(name, cell, comparison.session) for name, cell in cells.items()]
        elif cells:
            said.append(_unmoved(verdict, cells))
    return said


def _baseline(cells: Sequence[CellFinding], reason: str) -> list[str]:
    measured = [(cell.summary.median_ns, cell) for cell in cells if cell.summary is not None]
    if not measured:
        return [f"{reason}; no cell could be measured."]
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
    return [f"{reason}: at {at}, {span}."]


def _moved(statement: str, cell: Comparison, session: int) -> str:
    return (
        f"**{code(statement)} {verdict_text(cell)}:** {ms(cell.before.median_ns)} →"
        f" {ms(cell.after.median_ns)} ms since session {session}, {signed_percent(cell.ratio - 1)}"
        f" (ratio {ratio(cell.ratio)}, 95% {ratio(cell.low)} to {ratio(cell.high)})."
    )


def _unmoved(verdict: Verdict, cells: Mapping[str, Comparison]) -> str:
    provisional = ", provisional" if any(cell.provisional for cell in cells.values()) else ""
    if verdict is Verdict.INCONCLUSIVE:
        named = [code(name) for name in cells]
    elif verdict is Verdict.NO_MEASURABLE_CHANGE:
        named = [f"{code(name)} (±{percent(cell.margin)})" for name, cell in cells.items()]
    else:
        named = [code(name) for name in cells]
    return f"{_capital(verdict.value)}{provisional}: {joined(named)}."


def _costs(analysis: Analysis) -> list[str]:
    """Group the costs' warnings, since many statements often share one."""
    groups: dict[str, list[str]] = {}
    for cost in analysis.costs:
        for warning in cost.warnings:
            groups.setdefault(plain(warning), []).append(code(cost.statement))
    return [f"Costs of {joined(statements)}: {warning}." for warning, statements in groups.items()]


def _sentence(warning: str, analysis: Analysis) -> str:
    """Return a warning as the beginning of a sentence, with its statements as code."""
    text = _capital(plain(warning)) if not _names_first(warning, analysis) else plain(warning)
    names = "|".join(re.escape(cell.statement) for cell in analysis.cells)
    if not names:
        return text
    return re.sub(rf"(?<![\w-])(?:{names})(?![\w-])", lambda found: code(found[0]), text)


def _names_first(warning: str, analysis: Analysis) -> bool:
    return any(warning.startswith(f"{cell.statement} ") for cell in analysis.cells)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
