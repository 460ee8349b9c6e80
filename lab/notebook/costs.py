"""Where the time and the bytes go, as two or three lines and one table, or a tree a statement."""

from __future__ import annotations

from collections.abc import Sequence

from lab.measure.findings import CostFinding, ReadingCost
from lab.notebook import trees
from lab.notebook.figures import MISSING, amount, code, counted, ms, percent, table
from lab.notebook.shapes import MARK, marked_headers
from lab.notebook.text import capital, plain
from lab.notebook.trees import flat

_OWN = (
    "`own` is what the parts inside leave of a part; with what is not attributed, that column adds"
    f" up to the mean. Parts under {percent(trees.LEAST_SHARE)} of it are folded into `others`."
)
_TELLING_SHARE = 0.05
_LEAST_AMOUNT = 0.005
_MOST_AMOUNTS = 4
_DISTURBED = 0.2
"""The share of the time that the host may take away before the parts are not ranked."""


def cost_lines(
    costs: Sequence[CostFinding], shapes_only: str = "", *, means: str = ""
) -> list[str]:
    """Return what the costs say at a glance: the largest part of the time, the largest amount.

    Where the host took much of the time away, that comes first, and no part is called the largest:
    the parts' timers contain what it took. Nor is one where figures are ``shapes_only``. ``means``
    says what the figures are means of, where that is no block of one kind of statement; they are
    shown as trees then.
    """
    if not costs:
        return []
    samples = sorted({cost.samples for cost in costs})
    own = means or (
        f"Samples of their own: means of {counted(samples[-1], 'statement')} of one kind in a row,"
        " between two readings of the server's counters; not the medians above."
    )
    disturbed = _taken_away(costs)
    if means or trees.nested(costs):
        own = f"{own} {_OWN}"
    if shapes_only:
        leading = [*disturbed, own, _unranked(shapes_only)]
    elif means or trees.nested(costs):
        # Their largest part is a finding: it takes a look at more than the outermost ones.
        leading = [*disturbed, own]
    else:
        leading = [*disturbed, own] if disturbed else [own, *_largest_part(costs)]
    return [*leading, *_largest_amount(costs)]


def reading_line(readings: ReadingCost | None) -> str:
    """Say what reading the server's counters cost, where that is much; else return nothing."""
    if readings is None or not readings.dear:
        return ""
    page = f" and {amount(readings.bytes, 'bytes')}" if readings.bytes else ""
    return (
        f"The server's counters were read {readings.times:,} times, at {ms(readings.each_ns)} ms"
        f"{page} each (mean), outside of what is timed."
    )


def _unranked(shapes_only: str) -> str:
    return (
        f"{MARK} {shapes_only}: what is nested in what holds for other builds, too; how large the"
        " parts are does not, so they are neither ranked nor given as shares."
    )


def cost_findings(
    costs: Sequence[CostFinding], shapes_only: str = "", *, as_trees: bool = False
) -> list[str]:
    """Return what nested costs say as findings: where the largest own parts lie.

    Nothing where the host took much of the time away; what is nested in what, and no more, where
    figures are ``shapes_only``.
    """
    if not (as_trees or trees.nested(costs)):
        return []
    if shapes_only:
        return trees.what_is_nested(costs)
    return [] if _taken_away(costs) else trees.where_it_lies(costs)


def cost_figures(
    costs: Sequence[CostFinding], shapes_only: str = "", *, as_trees: bool = False
) -> str:
    """Return all figures: as trees where that is asked or parts lie in parts, else as one table."""
    if not costs:
        return ""
    in_trees = as_trees or trees.nested(costs)
    return (trees.cost_trees if in_trees else cost_table)(costs, shapes_only)


def cost_table(costs: Sequence[CostFinding], shapes_only: str = "") -> str:
    """Return one row a statement: its mean, its telling parts, the rest, and what it writes.

    A part is telling where it takes a twentieth of some statement. Parts that run beside the
    others are marked with an asterisk: they are not added up. Shares are left out where figures
    are ``shapes_only``.
    """
    if not costs:
        return ""
    parts = _telling_labels(costs)
    amounts = _telling_amounts(costs)
    headers = ["Statement", "Mean (ms)"]
    headers += [f"{label}{'*' if beside else ''} (ms)" for label, beside in parts]
    headers = [*marked_headers([*headers, "Not attributed (ms)"], shapes_only), *amounts]
    shares = not shapes_only
    rows = []
    for cost in costs:
        row = [code(cost.statement), ms(cost.client_ns)]
        row += [_part(cost, label, shares=shares) for label, _ in parts]
        row.append(_timed(cost.unattributed_ns, cost, shares=shares))
        rows.append([*row, *(_amount(cost, label) for label in amounts)])
    return table(headers, rows)


def overlapping(costs: Sequence[CostFinding], *, as_trees: bool = False) -> bool:
    """Say whether `cost_figures` holds a part that runs beside the others."""
    if as_trees or trees.nested(costs):
        return trees.overlapping(costs)
    return any(beside for _, beside in _telling_labels(costs))


def rests(costs: Sequence[CostFinding]) -> list[str]:
    """Return what the costs that are not attributed are expected to be, each text once."""
    return list(dict.fromkeys(plain(cost.rest) for cost in costs if cost.rest))


def _telling_labels(costs: Sequence[CostFinding]) -> list[tuple[str, bool]]:
    """Return the labels of telling parts and whether they overlap, sequential ones first."""
    found = {
        (plain(node.label), node.overlaps): None
        for cost in costs
        for node in flat(cost.tree)
        if node.nested and node.share >= _TELLING_SHARE
    }
    return sorted(found, key=lambda part: part[1])


def _telling_amounts(costs: Sequence[CostFinding]) -> list[str]:
    found = {
        plain(each.label): None
        for cost in costs
        for each in cost.amounts
        if abs(each.per_statement) >= _LEAST_AMOUNT
    }
    return list(found)[:_MOST_AMOUNTS]


def _part(cost: CostFinding, label: str, *, shares: bool) -> str:
    for node in flat(cost.tree):
        if plain(node.label) == label:
            return (
                _timed(node.ns, cost, shares=shares)
                if node.nested
                else f"{ms(node.ns)} (not nested)"
            )
    return MISSING


def _timed(ns: float, cost: CostFinding, *, shares: bool) -> str:
    if not (shares and cost.client_ns):
        return ms(ns)
    return f"{ms(ns)} ({percent(ns / cost.client_ns)})"


def _amount(cost: CostFinding, label: str) -> str:
    for each in cost.amounts:
        if plain(each.label) == label:
            return amount(each.per_statement, each.unit)
    return MISSING


def _taken_away(costs: Sequence[CostFinding]) -> list[str]:
    """Say what the host took away of the time, where that is much."""
    client_ns = sum(cost.client_ns * cost.samples for cost in costs)
    taken: dict[str, list[tuple[float, CostFinding]]] = {}
    for cost in costs:
        for node in flat(cost.tree):
            if node.disturbs:
                taken.setdefault(plain(node.label), []).append((node.ns, cost))
    lines = []
    for label, found in taken.items():
        share = sum(ns * cost.samples for ns, cost in found) / client_ns
        if share > _DISTURBED:
            ns, most = max(found, key=lambda each: each[0] / each[1].client_ns)
            of_most = f"{percent(ns / most.client_ns)} of {code(most.statement)}"
            up_to = f" (up to {of_most})" if len(costs) > 1 else ""
            lines.append(
                f"**{capital(label)} for {percent(share)} of the time**{up_to}: the parts below"
                " contain that wait, so they are not ranked."
            )
    return lines


def _largest_part(costs: Sequence[CostFinding]) -> list[str]:
    """Name the sequential part that takes most of the time over all statements."""
    spent: dict[str, list[tuple[float, str]]] = {}
    for cost in costs:
        for node in cost.tree:
            if node.nested and not node.overlaps:
                spent.setdefault(plain(node.label), []).append((node.share, cost.statement))
    if not spent:
        return []
    label, shares = max(spent.items(), key=lambda item: sum(share for share, _ in item[1]))
    low, high = min(shares), max(shares)
    if low[0] == high[0]:
        return [f"{label} takes {percent(high[0])} of {code(high[1])}."]
    return [
        f"{label} is the largest part that is timed: {percent(low[0])} of {code(low[1])} "
        f"to {percent(high[0])} of {code(high[1])}."
    ]


def _largest_amount(costs: Sequence[CostFinding]) -> list[str]:
    """Say which statement writes most, by the first amount in bytes that the target declares."""
    found = [
        (each.per_statement, plain(each.label), cost.statement)
        for cost in costs
        for each in cost.amounts[:1]
        if each.unit == "bytes"
    ]
    if len(found) < 2:
        return []
    low, high = min(found), max(found)
    return [
        f"{high[1]}: {amount(low[0], 'bytes')} ({code(low[2])}) to {amount(high[0], 'bytes')} "
        f"({code(high[2])}) a statement."
    ]
