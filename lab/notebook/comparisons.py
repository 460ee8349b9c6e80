"""What the comparison of a run with an earlier one says, as a table and remarks."""

from __future__ import annotations

from collections.abc import Sequence

from lab.measure.findings import Analysis, ComparisonFinding, Difference, Measured
from lab.measure.passport import BUILD_PROFILE, MODE
from lab.notebook.batches import OBJECTS_UPSTREAM
from lab.notebook.figures import MISSING, code, joined, ms, named, percent, ratio, table
from lab.notebook.shapes import MARK, marked_headers
from lab.notebook.text import capital, commit_text, plain, short_ids
from lab.stats.summary import Comparison
from lab.targets.base import SHAPES_ONLY

_REASONS = {
    "trend": "Trend: while a side was measured, its latencies drifted by more than what counts as a"
    " change, so that nothing is claimed of them.",
    "one block": "One block: neither side shows what varies from block to block, so that nothing is"
    " claimed. More samples make more blocks.",
}

_REASONS_OF_BATCHES = {
    "one block": "One block: of that size, or of those positions, a side has one transaction alone,"
    " which does not show what varies from one to the next. More repetitions would.",
}

# The session of a run that belongs to none.

IN_WORDS = (BUILD_PROFILE, SHAPES_ONLY, MODE)
"""Passport fields of which `in_words` says all."""


def comparison_table(comparison: ComparisonFinding) -> str:
    """Return the table of verdicts, or of the passport's differences where nothing is compared."""
    if comparison.differences:
        headers = ["Passport field", capital(comparison.earlier), "Now"]
        rows = [
            [code(each.field), each.before or MISSING, each.after or MISSING]
            for each in comparison.differences
        ]
        return table(headers, rows, text_columns=3)
    first = "Statement" if not _in_words(comparison) else "Size or position"
    headers = [first, "Verdict", "Before (ms)", "Now (ms)", "Ratio", "95% interval"]
    headers = [*marked_headers(headers, comparison.shapes_only), "Could be seen"]
    rows = [
        [
            named(statement),
            verdict_text(cell, comparison.shapes_only),
            ms(cell.before.median_ns),
            ms(cell.after.median_ns),
            ratio(cell.ratio),
            f"{ratio(cell.low)} to {ratio(cell.high)}",
            f"±{percent(cell.detectable)}",
        ]
        for statement, cell in comparison.cells.items()
    ]
    return table(headers, rows, text_columns=2) if rows else ""


def _in_words(comparison: ComparisonFinding) -> bool:
    """Say whether sizes and positions were compared, which are called in words."""
    return any(" " in name for name in comparison.cells)


def verdict_text(cell: Comparison, shapes_only: str = "") -> str:
    """Return the verdict as people read it: ``inconclusive (noisy host), provisional``."""
    reasons = f" ({', '.join(cell.reasons)})" if cell.reasons else ""
    provisional = ", provisional" if cell.provisional or shapes_only else ""
    return f"{cell.verdict.value}{reasons}{provisional}{f', {shapes_only}' if shapes_only else ''}"


def in_words(differences: Sequence[Difference]) -> str:
    """Return what the earlier run measured and this one did: ``a debug build, this one an …``.

    Only of the fields that have words: how a build was compiled, and the mode. Else nothing.
    """
    found = {each.field: each for each in differences if each.before and each.after}
    words = []
    if BUILD_PROFILE in found:
        words.append([f"{_an(side)} build" for side in _sides(found[BUILD_PROFILE])])
    if MODE in found:
        words.append([f"in {side} mode" for side in _sides(found[MODE])])
    return "; ".join(f"{before}, this one {after}" for before, after in words)


def _sides(difference: Difference) -> tuple[str, str]:
    return plain(difference.before), plain(difference.after)


def _an(thing: str) -> str:
    return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"


def comparison_remarks(analysis: Analysis) -> list[str]:
    """Return how the verdicts are to be read, and what was not compared."""
    comparison = analysis.comparison
    if comparison is None:
        return []
    if comparison.differences:
        return remedies(comparison)
    remarks = _builds(comparison)
    remarks += _conditions(comparison) if comparison.cells else []
    remarks += _figures_read(comparison) if comparison.cells else []
    if comparison.reworded:
        reworded = joined([code(statement) for statement in comparison.reworded])
        remarks.append(f"Not compared, since their SQL was another: {reworded}.")
    missing = [
        named(each)
        for each in _measured(analysis)
        if each not in (*comparison.cells, *comparison.reworded)
    ]
    if missing:
        remarks.append(f"Not measured before, or void then: {joined(missing)}.")
    return remarks


def remedies(comparison: ComparisonFinding) -> list[str]:
    """Return by what task the next run can be made like the earlier one, where a task does that."""
    return [
        f"{code(each.field)}: {_remedy(each)}"
        for each in comparison.differences
        if each.field == OBJECTS_UPSTREAM
    ]


def _remedy(source: Difference) -> str:
    """Return how to have as many objects that read an upstream as before."""
    taken = f"{code('upstream.clean')} takes the source away"
    made = f"{code('upstream.connect')} makes"
    if not source.before:
        return f"there was no source before; {taken}, and this can be measured again without it."
    if not source.after:
        return f"there was a source before; {made} one, and this can be measured again with it."
    return f"{taken}, with the tables made from it; {made} it anew."


def _measured(analysis: Analysis) -> list[str]:
    """Return what has a figure of its own that could be compared."""
    if analysis.batch:
        return [f"transaction of {each.size:,}" for each in analysis.batch.sizes if each.cost]
    return [cell.statement for cell in analysis.cells if cell.summary and not cell.void]


def _builds(comparison: ComparisonFinding) -> list[str]:
    """Name the builds that were compared, where a target has several."""
    if not comparison.builds:
        return []
    before, after = comparison.builds
    if before == after and after.build:
        return [f"One build: both runs measured {_build(after)}."]
    return [
        f"Two builds: {comparison.earlier} measured {_build(before)}, this one {_build(after)}."
    ]


def _build(measured: Measured) -> str:
    """Return ``build `5f2c` (commit e7ac38b33)``, and whether its tree held more than that."""
    if not measured.build:
        version = f", version {plain(measured.version)}" if measured.version else ""
        return f"a build that the lab does not keep{version}"
    dirty = bool(measured.dirty)
    parts = [commit_text(measured.commit, dirty=dirty)] if measured.commit else []
    parts += [f"changed since: {short_ids(plain(measured.dirty))}"] if dirty else []
    return f"build {code(plain(measured.build))}" + (f" ({', '.join(parts)})" if parts else "")


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
    known = {**_REASONS, **(_REASONS_OF_BATCHES if _in_words(comparison) else {})}
    remarks += [known[reason] for reason in found if reason in known]
    if comparison.shapes_only:
        remarks.append(
            f"{MARK} {comparison.shapes_only}: ratios are of like builds, and need not hold for"
            " others; absolute figures and differences do not."
        )
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
    if _in_words(comparison):
        row, varies = "row", "transaction to transaction"
        family = "all sizes together, and for all positions together"
    else:
        row, varies = "statement", "block to block"
        family = "all statements together"
    counts = least if least == most else f"{least} to {most}, by {row}"
    together = (
        f"; the intervals hold for {family} (Bonferroni), so each is wider than one alone would be"
        if len(comparison.cells) > 1
        else ""
    )
    return [
        f"Ratio: now over before{together}. What varies from {varies} is in them. A change"
        f" counts from {counts}. Could be seen: the smallest change that these samples would have"
        " shown."
    ]
