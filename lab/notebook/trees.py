"""Costs whose parts lie in each other: one tree a statement, as text in columns.

Nesting cannot be seen in a table that has a column for each part, so these have a row for each.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence

import msgspec

from lab.measure.findings import CostFinding
from lab.metrics.tree import Attributed
from lab.notebook.figures import MISSING, amount, code, joined, ms, percent
from lab.notebook.shapes import MARK
from lab.notebook.text import plain

LEAST_SHARE = 0.01
"""The share of the mean below which a part that holds no other is folded into *others*."""

_LEAST_AMOUNT = 0.005
_DIGITS = 4
_WIDTH = 78
_HOLDS_MOST = 0.5


class _Row(msgspec.Struct, frozen=True):
    """A line of a tree: its label with the branches before it, and its cells as they are shown."""

    label: str
    ms: str
    own: str
    calls: str = ""
    share: str = ""


def nested(costs: Sequence[CostFinding]) -> bool:
    """Say whether parts lie in parts: a tree then shows what a table cannot."""
    return any(node.children for cost in costs for node in cost.tree)


def cost_trees(costs: Sequence[CostFinding], shapes_only: str = "") -> str:
    """Return a fenced block: the tree of each kind, and in short those of the drops after creates.

    The column ``own`` holds what a part's parts leave of it, for each part that is added up; with
    what is not attributed it adds up to the mean. Shares are left out where figures are
    ``shapes_only``.
    """
    whole, short = _by_room(costs)
    tables = [_table(cost, shapes_only) for cost in whole]
    widths = [max(len(row[column]) for rows in tables for row in rows) for column in range(5)]
    parts = [
        [*(_aligned(row, widths) for row in rows), *_amounts(cost)]
        for cost, rows in zip(whole, tables, strict=True)
    ]
    drops = [line for cost in short for line in _in_short(cost, shapes_only)]
    parts += [drops] if drops else []
    body = "\n\n".join("\n".join(lines) for lines in parts)
    return f"```text\n{body}\n```"


def overlapping(costs: Sequence[CostFinding]) -> bool:
    """Say whether `cost_trees` shows a part that runs beside the others."""
    return any(node.overlaps for cost in _by_room(costs)[0] for node in flat(cost.tree))


def where_it_lies(costs: Sequence[CostFinding]) -> list[str]:
    """Return for each kind in which part of its latency the largest own part lies.

    That of a drop after its create is left out.
    """
    return [said for cost in _by_room(costs)[0] if (said := _largest_own(cost))]


def what_is_nested(costs: Sequence[CostFinding]) -> list[str]:
    """Return which parts lie in which, along the deepest line of each kind, without a figure.

    Kinds that are alike in it share a sentence. A drop after its create is left out.
    """
    groups: dict[str, list[str]] = {}
    for cost in _by_room(costs)[0]:
        line = _deepest(cost.tree)
        if len(line) > 1:
            levels = " ⊃ ".join(_first_of(level) for level in line)
            groups.setdefault(levels, []).append(code(cost.statement))
    return [f"Nested in {joined(named)}: {levels}." for levels, named in groups.items()]


def flat(tree: Sequence[Attributed]) -> list[Attributed]:
    """Return all nodes of ``tree``, each before its children."""
    return [each for node in tree for each in (node, *flat(node.children))]


def _by_room(costs: Sequence[CostFinding]) -> tuple[list[CostFinding], list[CostFinding]]:
    """Part the kinds that get a tree from the drops of creates, which are shown in short."""
    kinds = {cost.statement for cost in costs}
    short = {kind for kind in kinds if kind.replace("drop-", "create-", 1) in kinds - {kind}}
    return (
        [cost for cost in costs if cost.statement not in short],
        [cost for cost in costs if cost.statement in short],
    )


def _table(cost: CostFinding, shapes_only: str) -> list[tuple[str, ...]]:
    mark = MARK if shapes_only else ""
    rows = [
        _Row(_title(cost, mark), f"ms{mark}", f"own{mark}", "calls", "share"),
        *_rows(cost.tree, cost, "", top=True, counted=True),
        _rest(cost),
    ]
    return [
        (row.label, row.ms, row.own, row.calls, "" if shapes_only else row.share) for row in rows
    ]


def _title(cost: CostFinding, mark: str) -> str:
    return f"{plain(cost.statement)}, mean {_figure(cost.client_ns, cost)} ms{mark}"


def _rest(cost: CostFinding) -> _Row:
    figure = _figure(cost.unattributed_ns, cost)
    share = percent(cost.unattributed_ns / cost.client_ns)
    return _Row("not attributed", figure, figure, share=share)


def _rows(
    nodes: Sequence[Attributed], cost: CostFinding, lead: str, *, top: bool, counted: bool
) -> Iterator[_Row]:
    """Yield the rows of siblings and of what lies in them; ``counted`` where they are added up."""
    nodes = [node for node in nodes if node.ns or node.calls or node.children]
    small = [node for node in nodes if _small(node, cost)]
    groups = [[node for node in small if node.overlaps is beside] for beside in (False, True)]
    folded = [group for group in groups if len(group) > 1]
    gone = [id(node) for group in folded for node in group]
    shown = [node for node in nodes if id(node) not in gone]
    last = len(shown) + len(folded) - 1
    for place, node in enumerate(shown):
        branch, inner = ("", "") if top else (("└ ", "  ") if place == last else ("├ ", "│ "))
        adds_up = counted and _sequential(node)
        yield _row(node, cost, f"{lead}{branch}", counted=adds_up)
        yield from _rows(node.children, cost, f"{lead}{inner}", top=False, counted=adds_up)
    for place, group in enumerate(folded, start=len(shown)):
        branch = "" if top else ("└ " if place == last else "├ ")
        yield _others(group, cost, f"{lead}{branch}", counted=counted)


def _small(node: Attributed, cost: CostFinding) -> bool:
    noted = node.children or node.disturbs or not node.nested
    return not noted and abs(node.ns) < LEAST_SHARE * cost.client_ns


def _sequential(node: Attributed) -> bool:
    return node.nested and not node.overlaps


def _row(node: Attributed, cost: CostFinding, lead: str, *, counted: bool) -> _Row:
    label = f"{plain(node.label)}{'*' if node.overlaps else ''}"
    return _Row(
        f"{lead}{label}{_unnested(node)}",
        _figure(node.ns, cost),
        _figure(node.self_ns, cost) if counted else "",
        "" if node.calls is None else amount(node.calls, "count"),
        percent(node.share) if node.nested else MISSING,
    )


def _unnested(node: Attributed) -> str:
    return "" if node.nested else " (not nested)"


def _others(nodes: Sequence[Attributed], cost: CostFinding, lead: str, *, counted: bool) -> _Row:
    """Return the line that small siblings are folded into.

    What overlaps may overlap in itself, too, so the largest of it stands for it.
    """
    if nodes[0].overlaps:
        most = max(nodes, key=lambda node: abs(node.ns))
        return _Row(f"{lead}others* ({len(nodes)}), up to", _figure(most.ns, cost), "")
    together = sum(node.ns for node in nodes)
    figure = _figure(together, cost)
    share = percent(together / cost.client_ns)
    return _Row(f"{lead}others ({len(nodes)})", figure, figure if counted else "", share=share)


def _figure(ns: float, cost: CostFinding) -> str:
    """Return ms with as many decimals as the mean has in four digits, so that they add up."""
    magnitude = math.floor(math.log10(cost.client_ns / 1e6))
    decimals = max(0, _DIGITS - 1 - magnitude)
    # Zero has no sign here: -0.0001 is shown as 0.00.
    return f"{round(ns / 1e6, decimals) + 0.0:,.{decimals}f}"


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    label, *figures = row
    cells = [cell.rjust(width) for cell, width in zip(figures, widths[1:], strict=True)]
    return "  ".join([label.ljust(widths[0]), *cells]).rstrip()


def _amounts(cost: CostFinding) -> list[str]:
    items = [
        _solid(f"{plain(each.label)} {amount(each.per_statement, each.unit)}")
        for each in cost.amounts
        if abs(each.per_statement) >= _LEAST_AMOUNT
    ]
    return _folded(f"per statement: {', '.join(items)}") if items else []


def _in_short(cost: CostFinding, shapes_only: str) -> list[str]:
    """Return a drop as the line of parts that each hold most of the one before."""
    title = _title(cost, MARK if shapes_only else "")
    items = [
        _solid(f"{plain(node.label)} {_figure(node.ns, cost)}{_unnested(node)}")
        for node in _most(cost)
    ]
    rest = _solid(f"not attributed {_figure(cost.unattributed_ns, cost)}")
    return _folded(f"{title}: {'; '.join([*filter(None, [' ⊃ '.join(items)]), rest])}")


def _solid(text: str) -> str:
    """Return ``text`` with spaces that `_folded` breaks no line at."""
    return text.replace(" ", "\xa0")


def _folded(text: str) -> list[str]:
    """Return ``text`` in lines of a terminal's width."""
    lines = textwrap.wrap(
        text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    return [line.replace("\xa0", " ") for line in lines]


def _most(cost: CostFinding) -> Iterator[Attributed]:
    """Yield from the outermost part inwards those that hold over half of what is around them.

    One that is not nested is the last: nothing in it is added up.
    """
    nodes, around_ns = cost.tree, cost.client_ns
    while True:
        within = [
            node for node in nodes if not node.overlaps and node.ns > _HOLDS_MOST * around_ns > 0
        ]
        if not within:
            return
        yield within[0]
        if not within[0].nested:
            return
        nodes, around_ns = within[0].children, within[0].ns


def _largest_own(cost: CostFinding) -> str:
    added_up = list(_added_up(cost.tree))
    if not added_up:
        return ""
    most = max(added_up, key=lambda node: node.self_ns)
    said = (
        f"{code(cost.statement)}: {ms(most.ns)} of {ms(cost.client_ns)} ms (means) lie in"
        f" {plain(most.label)}"
    )
    if ms(most.self_ns) != ms(most.ns):
        said += f", {ms(most.self_ns)} ms of it its own"
    if cost.unattributed_ns > most.self_ns:
        said += f"; {ms(cost.unattributed_ns)} ms are not attributed"
    return f"{said}."


def _added_up(nodes: Sequence[Attributed]) -> Iterator[Attributed]:
    """Yield the nodes whose own parts add up, with what is not attributed, to the mean."""
    for node in nodes:
        if _sequential(node):
            yield node
            yield from _added_up(node.children)


def _first_of(level: Sequence[Attributed]) -> str:
    """Return the first part of a level as the sheet declares them, and how many more it has."""
    first = plain(level[0].label)
    return f"{first} and {len(level) - 1} more" if len(level) > 1 else first


def _deepest(nodes: Sequence[Attributed]) -> list[list[Attributed]]:
    """Return the levels on the way to the deepest part: one part each, all of them on the last."""
    here = [node for node in nodes if _sequential(node) and node.ns > 0]
    if not here:
        return []
    inner = [(node, _deepest(node.children)) for node in here]
    node, levels = max(inner, key=lambda pair: len(pair[1]))
    return [[node], *levels] if levels else [here]
