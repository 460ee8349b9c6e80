"""What the upstream was asked in a batch benchmark, as tables and lines."""

from __future__ import annotations

from lab.measure.batch_record import BatchRecord
from lab.measure.findings import BatchFinding, CostFinding, ShapeFinding
from lab.notebook.figures import amount, code, joined, ms, table
from lab.notebook.shapes import marked, marked_headers
from lab.notebook.text import plain
from lab.upstream.shapes import SNAPSHOT

_LONGEST_QUERY = 200
_LEAST_CONNECTIONS = 0.05
_ONE = 0.02


def asked(record: BatchRecord, finding: BatchFinding, shapes_only: str = "") -> list[str]:
    """Return blocks of Markdown: queries by kind per statement, connections, and the sweep."""
    blocks = [
        _queries(finding, shapes_only),
        _reach(record, finding, shapes_only),
        _sweep(finding, shapes_only),
    ]
    return [block for block in blocks if block]


def mean_of(cost: CostFinding) -> str:
    """Return what the figures of a tree are means of."""
    return (
        f"Means of {cost.samples:,} statements, of all transactions that count and whose counters"
        " are known, each with its share of COMMIT; not the medians above."
    )


def connections_opened(finding: BatchFinding) -> str:
    """Return how many connections a statement opens upstream: ``one connection``.

    Empty where that is not known, or where next to none of the statements opens one.
    """
    number = finding.connections
    if number is None or number < _LEAST_CONNECTIONS:
        return ""
    if abs(number - 1) <= _ONE:
        return "one connection"
    return f"{amount(number, 'count')} connections"


def _queries(finding: BatchFinding, shapes_only: str) -> str:
    if not finding.shapes:
        return "What the upstream was asked could not be seen."
    headers = ["Asked of the upstream", "Calls", "Time there (ms)", "Rows"]
    shown = [_row(each) for each in finding.shapes]
    if len(shown) > 1:
        shown.append(_row(together(finding)))
    beside = (
        f"\n\n\\* {SNAPSHOT}: replication and initial copies, which run beside the statements."
        if any(each.label == SNAPSHOT for each in finding.shapes)
        else ""
    )
    return (
        "Per statement, with its share of what COMMIT asked (planning and execution there):\n\n"
        + table(marked_headers(headers, shapes_only), shown)
        + beside
    )


def _row(each: ShapeFinding) -> list[str]:
    label = f"{plain(each.label)}{'*' if each.label == SNAPSHOT else ''}"
    return [label, amount(each.calls, "count"), ms(each.ns), amount(each.rows, "count")]


def together(finding: BatchFinding) -> ShapeFinding:
    """Return the sum of what was asked; what runs beside the statements is not in it."""
    asked = [each for each in finding.shapes if each.label != SNAPSHOT]
    return ShapeFinding(
        label="together",
        calls=sum(each.calls for each in asked),
        ns=sum(each.ns for each in asked),
        rows=sum(each.rows for each in asked),
    )


def _reach(record: BatchRecord, finding: BatchFinding, shapes_only: str) -> str:
    lines = []
    if finding.connections is not None:
        opened = amount(finding.connections, "count")
        lines.append(f"Connections opened upstream per statement: {opened}.")
    if record.probe.connect_ns:
        lines.append(_probed(finding))
    if record.unknown:
        texts = joined([code(plain(text)[:_LONGEST_QUERY]) for text in record.unknown])
        lines.append(f"Of no known kind, and counted under `other`: {texts}.")
    return "\n".join(f"- {marked(line, shapes_only)}" for line in lines)


def _probed(finding: BatchFinding) -> str:
    return (
        f"Reaching the upstream by the target's way takes {ms(finding.connect_ns)} ms for a new"
        f" connection and {ms(finding.round_trip_ns)} ms for a round trip on an open one (medians"
        " of a probe)."
    )


def _sweep(finding: BatchFinding, shapes_only: str) -> str:
    if not finding.sweep:
        return ""
    headers = ["Published tables", "Statements", "Client (ms)", "Upstream (ms)", "Rows"]
    rows = [
        [
            f"{each.published:,}",
            f"{each.statements:,}",
            ms(each.client_ns),
            ms(each.upstream_ns),
            amount(each.rows, "count"),
        ]
        for each in finding.sweep
    ]
    return "By the number of published tables, means per statement, COMMIT left out:\n\n" + table(
        marked_headers(headers, shapes_only), rows
    )
