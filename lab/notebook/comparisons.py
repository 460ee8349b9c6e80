"""What the comparison of a run with an earlier one says, as a table and remarks."""

from __future__ import annotations

from lab.measure.findings import Analysis, ComparisonFinding
from lab.notebook.figures import MISSING, code, joined, ms, percent, ratio, table
from lab.stats.summary import Comparison

_REASONS = {
    "trend": "Trend: while a side was measured, its latencies drifted by more than what counts as a"
    " change, so that nothing is claimed of them.",
    "one block": "One block: neither side shows what varies from block to block, so that nothing is"
    " claimed. More samples make more blocks.",
}


def comparison_table(comparison: ComparisonFinding) -> str:
    """Return the table of verdicts, or of the passport's differences where nothing is compared."""
    if comparison.differences:
        headers = ["Passport field", f"Session {comparison.session}", "Now"]
        rows = [
            [code(each.field), each.before or MISSING, each.after or MISSING]
            for each in comparison.differences
        ]
        return table(headers, rows, text_columns=3)
    headers = ["Statement", "Verdict", "Before (ms)", "Now (ms)", "Ratio", "95% interval"]
    headers.append("Could be seen")
    rows = [
        [
            code(statement),
            verdict_text(cell),
            ms(cell.before.median_ns),
            ms(cell.after.median_ns),
            ratio(cell.ratio),
            f"{ratio(cell.low)} to {ratio(cell.high)}",
            f"±{percent(cell.detectable)}",
        ]
        for statement, cell in comparison.cells.items()
    ]
    return table(headers, rows, text_columns=2) if rows else ""


def verdict_text(cell: Comparison) -> str:
    """Return the verdict as people read it: ``inconclusive (noisy host), provisional``."""
    reasons = f" ({', '.join(cell.reasons)})" if cell.reasons else ""
    return f"{cell.verdict.value}{reasons}{', provisional' if cell.provisional else ''}"


def comparison_remarks(analysis: Analysis) -> list[str]:
    """Return how the verdicts are to be read, and what was not compared."""
    comparison = analysis.comparison
    if comparison is None or comparison.differences:
        return []
    remarks = _conditions(comparison) if comparison.cells else []
    remarks += _figures_read(comparison) if comparison.cells else []
    if comparison.reworded:
        named = joined([code(statement) for statement in comparison.reworded])
        remarks.append(f"Not compared, since their SQL was another: {named}.")
    missing = [
        code(cell.statement)
        for cell in analysis.cells
        if cell.statement not in (*comparison.cells, *comparison.reworded)
        and cell.summary is not None
        and not cell.void
    ]
    if missing:
        remarks.append(f"Not measured before, or void then: {joined(missing)}.")
    return remarks


def _conditions(comparison: ComparisonFinding) -> list[str]:
    """Return what limits the verdicts."""
    cells = comparison.cells.values()
    remarks = []
    if comparison.noisy:
        remarks.append(
            f"**Noisy host:** something else disturbed {joined(comparison.noisy)}, so that neither"
            " a change nor the absence of one is claimed."
        )
    if comparison.same_boot:
        remarks.append(
            "**Same boot:** both runs were taken on one boot of the server, which is compared with"
            " itself at a later time."
        )
    found = dict.fromkeys(reason for cell in cells for reason in cell.reasons)
    remarks += [_REASONS[reason] for reason in found if reason in _REASONS]
    if any(cell.provisional for cell in cells):
        remarks.append(
            "Provisional (one boot): a side was measured within one boot of the server only, and"
            " a boot alone can move a median."
        )
    return remarks


def _figures_read(comparison: ComparisonFinding) -> list[str]:
    """Return how the table's figures are to be read."""
    margins = [cell.margin for cell in comparison.cells.values()]
    least, most = f"±{percent(min(margins))}", f"±{percent(max(margins))}"
    counts = least if least == most else f"{least} to {most}, by statement"
    together = (
        "; the intervals hold for all statements together (Bonferroni), so each is wider than one"
        " alone would be"
        if len(comparison.cells) > 1
        else ""
    )
    return [
        f"Ratio: now over before{together}. What varies from block to block is in them. A change"
        f" counts from {counts}. Could be seen: the smallest change that these samples would have"
        " shown."
    ]
