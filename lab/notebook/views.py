"""What each derived region says, as lines and tables: pure functions of a run and its analysis."""

from __future__ import annotations

from lab.measure.findings import Analysis, CellFinding, ComparisonFinding
from lab.measure.record import Block, Run
from lab.notebook.figures import (
    MISSING,
    code,
    counted,
    joined,
    ms,
    ms_range,
    percent,
    ratio,
    table,
)
from lab.notebook.text import plain
from lab.stats.summary import Comparison, Summary

_LONGEST_FACT = 40
_GROUPS = {
    "server": "Server",
    "build": "Build",
    "state": "State",
    "setting": "Settings",
    "host": "Host",
    "client": "Client",
}


def setup_lines(run: Run) -> list[str]:
    """Return what the run was made on: target, object count, and the facts of its passport."""
    facts = {**run.passport.alike, **run.passport.noted}
    lines = [f"**Target:** {plain(run.target)}, {objects_text(run)}"]
    groups: dict[str, list[str]] = {prefix: [] for prefix in _GROUPS}
    # A version says most, so it comes first.
    for key, value in sorted(facts.items(), key=lambda fact: not fact[0].endswith(".version")):
        prefix, dot, name = key.partition(".")
        if not dot or prefix == "objects":
            continue
        shown = plain(value)
        if len(shown) > _LONGEST_FACT:
            shown = f"{shown[:_LONGEST_FACT].rstrip()}…"
        text = code(f"{name}={shown}") if prefix == "setting" else f"{name} {shown}"
        groups.setdefault(prefix, []).append(text)
    for prefix, facts_text in groups.items():
        if facts_text:
            lines.append(f"**{_GROUPS.get(prefix, prefix.capitalize())}:** {', '.join(facts_text)}")
    noise = _noise_text(run.blocks)
    return [*lines, f"**Meanwhile on the host:** {noise}"] if noise else lines


def objects_text(run: Run) -> str:
    """Return the object counts that the run began with, exactly."""
    if not run.blocks:
        return "objects not counted"
    counts = run.blocks[0].objects_before
    kinds = [f"{kind} {count:,}" for kind, count in sorted(counts.by_type.items()) if count]
    detail = f" ({', '.join(kinds)})" if kinds else ""
    fixtures = f" and {counted(counts.fixtures, 'fixture')} of the lab" if counts.fixtures else ""
    return f"{counted(counts.total, 'user object')}{detail}{fixtures}"


def place_text(run: Run) -> str:
    """Return where the run was made, in short: ``on postgres at 1,000 objects``."""
    at = f" at {counted(run.blocks[0].objects_before.total, 'object')}" if run.blocks else ""
    return f"on {plain(run.target)}{at}"


def _noise_text(blocks: tuple[Block, ...]) -> str:
    if not blocks:
        return ""
    loads = [block.noise.load_1min for block in blocks]
    low, high = f"{min(loads):.1f}", f"{max(loads):.1f}"
    parts = [f"load {low}" if low == high else f"load {low} to {high}"]
    steal = max(block.noise.steal for block in blocks)
    parts.append(f"up to {percent(steal)} of CPU time stolen" if steal else "no CPU time stolen")
    for resource in ("cpu", "io", "memory"):
        shares = [b.noise.pressure[resource] for b in blocks if resource in b.noise.pressure]
        if shares and max(shares) >= 0.0005:
            name = resource if resource == "memory" else resource.upper().replace("IO", "I/O")
            parts.append(f"some task waiting for {name} up to {percent(max(shares))} of the time")
    return ", ".join(parts)


def method_lines(run: Run) -> list[str]:
    """Return how the run was made, a sentence or two a line."""
    plan = run.plan
    latency = [block for block in run.blocks if block.purpose == "latency"]
    costs = [block for block in run.blocks if block.purpose == "cost"]
    boots = len({block.boot for block in run.blocks})
    return [
        "Latency is the time from sending a statement to the server's ready message, in"
        f" {plan.mode} mode, on a connection opened beforehand{_connection_text(run.blocks)}.",
        f"{counted(plan.samples, 'sample')} at least of each statement, up to {plan.most_samples:,}"
        f" until the median is known to ±{percent(plan.precision)}; {plan.warmups} warm-ups before"
        " them, recorded and not counted. Nothing is excluded by its value.",
        f"Statements are permuted at random within each round (seed {plan.seed}); what a statement"
        " makes is dropped again, so that the object count stays.",
        f"{counted(len(latency), 'block')} for latency"
        + (f" and {len(costs)} for costs, one statement alone in each" if costs else "")
        + f", within {counted(boots, 'boot')} of the server.",
    ]


def _connection_text(blocks: tuple[Block, ...]) -> str:
    if not blocks:
        return ""
    mean_ns = sum(block.connection_ns for block in blocks) / len(blocks)
    return f" (which took {ms(mean_ns)} ms and is not in it)"


def results_table(analysis: Analysis) -> str:
    """Return the table of cells; a percentile has a column where some cell carries it."""
    summaries = [cell.summary for cell in analysis.cells if cell.summary is not None]
    tails = {
        "p90 (ms)": any(summary.p90_ns is not None for summary in summaries),
        "p95 (ms)": any(summary.p95_ns is not None for summary in summaries),
        "p99 (ms)": any(summary.p99_ns is not None for summary in summaries),
    }
    excluded = any(cell.excluded for cell in analysis.cells)
    headers = ["Statement", "Objects", "n", "Median (ms)", "95% interval (ms)", "IQR (ms)"]
    headers += [name for name, carried in tails.items() if carried]
    headers += ["Max (ms)", *(["Excluded"] if excluded else [])]
    rows = []
    for cell in analysis.cells:
        row = [code(cell.statement), f"{cell.objects:,}", *_figures(cell.summary, tails)]
        rows.append([*row, *([f"{cell.excluded:,}"] if excluded else [])])
    return table(headers, rows)


def _figures(summary: Summary | None, tails: dict[str, bool]) -> list[str]:
    if summary is None:
        return ["0", *([MISSING] * (4 + sum(tails.values())))]
    carried = zip(tails.values(), (summary.p90_ns, summary.p95_ns, summary.p99_ns), strict=True)
    return [
        f"{summary.n:,}",
        ms(summary.median_ns),
        ms_range(summary.low_ns, summary.high_ns),
        ms(summary.spread_ns),
        *(ms(value) for shown, value in carried if shown),
        ms(summary.max_ns),
    ]


def results_remarks(run: Run, analysis: Analysis) -> list[str]:
    """Return what the table alone would hide: void cells, excluded samples, their causes."""
    remarks = [f"**This run is void:** {plain(run.void)}"] if run.void else []
    for cell in analysis.cells:
        if cell.void:
            remarks.append(f"{code(cell.statement)} is void: {plain(cell.void)}")
        elif cell.excluded:
            remarks.append(_exclusion(cell))
    return remarks


def _exclusion(cell: CellFinding) -> str:
    reasons = "; ".join(plain(reason) for reason in cell.reasons) or "cause recorded in the run"
    return f"{code(cell.statement)}: {counted(cell.excluded, 'sample')} excluded ({reasons})"


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
    """Return the verdict as people read it."""
    return f"{cell.verdict.value}{', provisional' if cell.provisional else ''}"


def comparison_remarks(analysis: Analysis) -> list[str]:
    """Return how the verdicts are to be read, and what was not compared."""
    comparison = analysis.comparison
    if comparison is None or comparison.differences:
        return []
    remarks = []
    if any(cell.provisional for cell in comparison.cells.values()):
        remarks.append(
            "Provisional (one boot): a side was measured within one boot of the server only, and"
            " a boot alone can move a median."
        )
    margins = sorted({percent(cell.margin) for cell in comparison.cells.values()})
    if margins:
        remarks.append(
            f"Ratio: now over before. A change counts from ±{joined(margins)}"
            f"{' by statement' if len(margins) > 1 else ''}. Could be seen: the smallest change "
            "that these samples would have shown."
        )
    missing = [
        code(cell.statement)
        for cell in analysis.cells
        if cell.statement not in comparison.cells and cell.summary is not None
    ]
    if missing:
        remarks.append(f"Not measured before: {joined(missing)}.")
    return remarks
