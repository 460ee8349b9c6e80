"""What setup, method and results of a run say, as lines and tables: pure functions of the run."""

from __future__ import annotations

from lab.measure.findings import Analysis, CellFinding
from lab.measure.passport import BUILD_COMMIT, BUILD_DIRTY, CLEAN, UNKNOWN
from lab.measure.record import AUTOCOMMIT, COST, IDLE, LATENCY, TRANSACTION, Run, Stop
from lab.notebook import batches
from lab.notebook.batches import OBJECTS_UPSTREAM
from lab.notebook.figures import (
    MISSING,
    code,
    counted,
    joined,
    ms,
    ms_range,
    percent,
    table,
)
from lab.notebook.noise_text import noise_text
from lab.notebook.shapes import MARK, legend, marked, marked_headers
from lab.notebook.text import commit_text, plain, short_ids
from lab.stats.summary import Summary
from lab.targets.base import SETTINGS_CHANGED, SHAPES_ONLY, Cycle, ObjectCounts, Operation

_LONGEST_FACT = 60
_COLUMNS = "upstream.columns"
_SAID_BY_METHOD = {"batch.statement", "batch.sizes", "batch.repetitions"}
_GROUPS = {
    "server": "Server",
    "build": "Build",
    "state": "State",
    "setting": "Settings",
    "upstream": "Upstream",
    "batch": "Batches",
    "host": "Host",
    "client": "Client",
}


def setup_lines(run: Run) -> list[str]:
    """Return what the run was made on: target, object count, and the facts of its passport.

    Left out are settings that are as shipped, where the passport tells which are not, and facts too
    long to be read; they are counted, and stand in the run's file.
    """
    facts = {**run.passport.alike, **run.passport.noted}
    shown: dict[str, list[str]] = {prefix: [] for prefix in _GROUPS}
    hidden = dict.fromkeys(_GROUPS, 0)
    unsaid = {SETTINGS_CHANGED, SHAPES_ONLY, *_SAID_BY_METHOD}
    if facts.get(BUILD_COMMIT, UNKNOWN) == UNKNOWN:
        # Nobody knows then what the tree would be changed against.
        unsaid.add(BUILD_DIRTY)
    for key, value in sorted(facts.items(), key=lambda fact: _rank(fact[0])):
        prefix, dot, name = key.partition(".")
        if not dot or prefix == "objects" or key in unsaid:
            continue
        text = plain(value) if prefix == "setting" else short_ids(plain(value))
        if len(text) > _LONGEST_FACT or (prefix == "setting" and _as_shipped(name, facts)):
            hidden[prefix] = hidden.get(prefix, 0) + 1
            continue
        shown.setdefault(prefix, []).append(_fact_text(key, text, facts))
    lines = [f"**Target:** {plain(run.target)}, {run.plan.mode} mode, {objects_text(run)}"]
    for prefix, texts in shown.items():
        more = hidden.get(prefix, 0)
        title = _GROUPS.get(prefix, prefix.capitalize())
        parts = [", ".join(texts)] if texts else []
        parts += [f"{more} more in the run's file"] if more else []
        if parts:
            lines.append(f"**{title}:** {'; '.join(parts)}")
    return lines


def _rank(key: str) -> tuple[bool, bool]:
    """Return the order of facts: a version says most, settings of an upstream come last."""
    return not key.endswith(".version"), ".setting." in key


def _fact_text(key: str, value: str, facts: dict[str, str]) -> str:
    prefix, _, name = key.partition(".")
    if key == BUILD_COMMIT and value != UNKNOWN:
        return commit_text(facts[key], dirty=facts.get(BUILD_DIRTY, CLEAN) != CLEAN)
    if key == BUILD_DIRTY:
        return "clean" if value == CLEAN else f"changed since: {value}"
    if key == _COLUMNS:
        return f"{name} {code(value)}"
    if prefix == "setting" or name.startswith("setting."):
        return code(f"{name.removeprefix('setting.')}={value}")
    return f"{name} {value}"


def _as_shipped(setting: str, facts: dict[str, str]) -> bool:
    return SETTINGS_CHANGED in facts and setting not in facts[SETTINGS_CHANGED].split()


def objects_text(run: Run) -> str:
    """Return the object counts that the run began with, exactly."""
    counts = _counts(run)
    if counts is None:
        return "objects not counted"
    kinds = [f"{kind} {count:,}" for kind, count in sorted(counts.by_type.items()) if count]
    detail = f" ({', '.join(kinds)})" if kinds else ""
    parts = [f"{counted(counts.total, 'user object')}{detail}"]
    parts += [f"{counted(counts.fixtures, 'fixture')} of the lab"] if counts.fixtures else []
    parts += [f"{counts.upstream:,} that read an upstream"] if counts.upstream else []
    return joined(parts)


def place_text(run: Run) -> str:
    """Return where the run was made, in short: ``on postgres at 1,000 objects``.

    The mode is in it where it is not autocommit, which goes without saying for a batch benchmark.
    """
    counts = _counts(run)
    at = f" at {counted(counts.total, 'object')}" if counts else ""
    mode = "" if run.plan.mode == AUTOCOMMIT or run.batch else f" in {run.plan.mode} mode"
    return f"on {plain(run.target)}{at}{mode}"


def measured_title(run: Run) -> str:
    """Return what was measured where: ``DDL latency on postgres at 1,000 objects``."""
    counts = _counts(run)
    return f"{_what_where(run)}{f' at {counts.total:,} objects' if counts else ''}"


def short_title(run: Run, room: int) -> str:
    """Return `measured_title`, of batches without the object count where it has no ``room``."""
    title = measured_title(run)
    return _what_where(run) if run.batch and len(title) > room else title


def _what_where(run: Run) -> str:
    what = f"Batches of {run.batch.plan.statement}" if run.batch else "DDL latency"
    return f"{what} on {plain(run.target)}"


def _counts(run: Run) -> ObjectCounts | None:
    if run.batch:
        reading = int(run.passport.alike.get(OBJECTS_UPSTREAM, 0))
        return ObjectCounts(batches.objects_by_type(run), upstream=reading)
    return run.blocks[0].objects_before if run.blocks else None


def method_lines(run: Run) -> list[str]:
    """Return how a run of this plan is made, a sentence or two a line."""
    if run.batch:
        return batches.method_lines(run.batch)
    plan = run.plan
    lines = [
        _latency_text(plan.mode),
        f"At least {counted(plan.samples, 'sample')} of each statement, in blocks, after"
        f" {counted(plan.warmups, 'warm-up')}, recorded and not counted. Blocks are added until the"
        f" median of each statement asked for is known to ±{percent(plan.precision)} (95%), up to"
        f" {plan.most_samples:,} samples or until {plan.budget_s:g} s have passed; a drop that was"
        " not asked for is taken as often as its create. Nothing is excluded by its value.",
        "Statements are permuted at random within each round; what a statement makes is dropped"
        " again, so that the object count stays.",
    ]
    if any(block.purpose == COST for block in run.blocks):
        lines.append("Costs come from blocks of their own, with one kind of statement in each.")
    idle_ns = sum(block.duration_ns for block in run.blocks if block.purpose == IDLE)
    if idle_ns:
        lines.append(
            f"What the server's counters moved by at rest, within {idle_ns / 1e9:.1f} s before"
            " that, is taken off the costs."
        )
    return lines


def _latency_text(mode: str) -> str:
    where = "on a connection opened beforehand, which is not in it"
    if mode != TRANSACTION:
        return (
            "Latency is the time from sending a statement to the server's ready message, in"
            f" {mode} mode, {where}."
        )
    return (
        "Each statement stands alone between BEGIN and COMMIT, in transaction mode. Latency is the"
        " time from sending the statement to the server's ready message, and from sending COMMIT to"
        f" its ready message, added up, {where}; neither is BEGIN."
    )


def sql_lines(run: Run) -> list[str]:
    """Return the SQL that was executed: what fixtures are made of, and each cycle's statements."""
    lines = [f"before: {_sql(run.workload.setup)}"] if run.workload.setup else []
    return lines + [_cycle_text(cycle) for cycle in run.workload.cycles]


def _cycle_text(cycle: Cycle) -> str:
    turns = [_sql(_texts(turn)) for turn in (cycle.templates, cycle.alternate) if turn]
    return " in turn with ".join(turns)


def _texts(operations: tuple[Operation, ...]) -> tuple[str, ...]:
    return tuple(operation.sql for operation in operations)


def _sql(statements: tuple[str, ...]) -> str:
    return ", ".join(code(plain(statement)) for statement in statements)


def results_table(analysis: Analysis) -> str:
    """Return the table of cells; a percentile has a column where some cell carries it.

    Of a batch benchmark, the table of sizes.
    """
    if analysis.batch:
        return batches.size_table(analysis.batch, analysis.shapes_only)
    summaries = [cell.summary for cell in analysis.cells if cell.summary is not None]
    tails = {
        "p90 (ms)": any(summary.p90_ns is not None for summary in summaries),
        "p95 (ms)": any(summary.p95_ns is not None for summary in summaries),
        "p99 (ms)": any(summary.p99_ns is not None for summary in summaries),
    }
    excluded = any(cell.excluded for cell in analysis.cells)
    committed = any(cell.commit_share is not None for cell in analysis.cells)
    headers = ["Statement", "Objects", "n", "Median (ms)", "95% interval (ms)", "IQR (ms)"]
    headers += [name for name, carried in tails.items() if carried]
    headers = marked_headers([*headers, "Max (ms)"], analysis.shapes_only)
    if committed:
        headers.append(f"COMMIT{MARK if analysis.shapes_only else ''}")
    headers += ["Excluded"] if excluded else []
    rows = []
    for cell in analysis.cells:
        name = f"{code(cell.statement)} (void)" if cell.void or analysis.void else None
        row = [name or code(cell.statement), f"{cell.objects:,}", *_figures(cell.summary, tails)]
        row += [_share(cell.commit_share)] if committed else []
        rows.append([*row, *([f"{cell.excluded:,}"] if excluded else [])])
    return table(headers, rows)


def _share(share: float | None) -> str:
    return MISSING if share is None else percent(share)


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
    """Return what the table alone would hide: what is void, left out, or not known well enough.

    And what is this run's own: seed, blocks, and what the host did meanwhile.
    """
    if run.batch and analysis.batch:
        return batches.results_remarks(run, run.batch, analysis.batch, analysis.shapes_only)
    remarks = []
    if run.void:
        remarks.append(
            f"**This run is void:** {plain(run.void)}. The figures are shown for what they are"
            " worth and are compared with nothing."
        )
    if analysis.shapes_only:
        remarks.append(f"{legend(analysis.shapes_only)}.")
    if any(cell.commit_share is not None for cell in analysis.cells):
        remarks.append(
            "Transaction mode: figures are of statement and COMMIT together; COMMIT is its share of"
            " their total time."
        )
    remarks += _void_cells(analysis.cells)
    remarks += _exclusions(analysis.cells)
    remarks += _precision(run, analysis)
    if run.blocks:
        remarks.append(marked(_course(run), analysis.shapes_only))
        remarks.append(
            f"Meanwhile on the host: {noise_text([block.noise for block in run.blocks])}."
        )
    return remarks


def _void_cells(cells: tuple[CellFinding, ...]) -> list[str]:
    groups: dict[str, list[str]] = {}
    for cell in cells:
        if cell.void:
            groups.setdefault(plain(cell.void), []).append(code(cell.statement))
    return [
        f"**Void:** {joined(named)}, compared with nothing: {why}." for why, named in groups.items()
    ]


def _exclusions(cells: tuple[CellFinding, ...]) -> list[str]:
    """Name each cause once, with the cells that it took samples from."""
    groups: dict[str, list[str]] = {}
    for cell in cells:
        for reason in cell.reasons:
            count, _, cause = reason.partition(" × ")
            groups.setdefault(plain(cause), []).append(f"{code(cell.statement)} {count}")
    return [f"Samples excluded ({cause}): {', '.join(named)}." for cause, named in groups.items()]


def _precision(run: Run, analysis: Analysis) -> list[str]:
    """Say whether the statements asked for are known as well as was asked, and if not, why."""
    asked = [
        (cell, cell.summary)
        for cell in analysis.cells
        if cell.statement in run.plan.statements and cell.summary and not cell.void
    ]
    if not asked:
        return []
    wanted = run.plan.precision
    widths = {cell.statement: _width(summary) for cell, summary in asked}
    missed = {name: width for name, width in widths.items() if width is None or width > wanted}
    if not missed:
        return [f"The median of each statement asked for is known to ±{percent(wanted)}."]
    named = [
        code(name) if width is None else f"{code(name)} (±{percent(width)})"
        for name, width in missed.items()
    ]
    return [f"±{percent(wanted)} was not reached for {joined(named)}: {_why_stopped(run)}."]


def _width(summary: Summary) -> float | None:
    """Return how well a median is known, as a share of it; None where n carries no interval."""
    if summary.low_ns is None or summary.high_ns is None:
        return None
    off_ns = max(summary.high_ns - summary.median_ns, summary.median_ns - summary.low_ns)
    return off_ns / summary.median_ns if off_ns else 0.0


def _why_stopped(run: Run) -> str:
    plan = run.plan
    match run.stopped:
        case Stop.MOST:
            return f"sampling ended at the most samples planned, {plan.most_samples:,}"
        case Stop.BUDGET:
            return f"sampling ended when its time was used, {plan.budget_s:g} s"
        case Stop.SIZE:
            return "sampling ended when the run's file was full"
        case Stop.CHANGED:
            return "sampling ended when the object count changed"
        case Stop.LOST:
            return "sampling ended when the server was lost"
        case _:
            return "sampling ended before"


def _course(run: Run) -> str:
    """Return what distinguishes this run from another one of its plan."""
    latency, costs, idle = (
        sum(block.purpose == purpose for block in run.blocks) for purpose in (LATENCY, COST, IDLE)
    )
    boots = len({block.boot for block in run.blocks})
    connection_ns = sum(block.connection_ns for block in run.blocks) / len(run.blocks)
    return (
        f"Seed {run.plan.seed}; {counted(latency, 'block')} for latency"
        + (f", {idle:,} at rest" if idle else "")
        + (f" and {costs:,} for costs" if costs else "")
        + f", within {counted(boots, 'boot')} of the server; opening the connection took"
        f" {ms(connection_ns)} ms."
    )
