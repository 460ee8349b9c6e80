"""Fill a cost sheet in: what moved between two readings, per statement and against its latency.

The rules: a series' amount per statement is what it moved by, less what it moves by when nothing is
asked of the server, over the number of statements. A node's own part is what its sequential
children leave of it; the unattributed rest is what the roots leave of the mean client latency.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from lab.metrics.reading import Change, Delta
from lab.metrics.tree import Attributed, CostSheet, Node, Quantity

LARGE_REST = 0.15
"""The share of the latency above which a rest that nothing explains is warned of."""

FAR_FROM_WHOLE = 0.1
"""How far calls per statement may lie from a whole number, where one is expected."""


class Spent(msgspec.Struct, frozen=True, array_like=True):
    """An amount per statement, in ``unit``."""

    label: str
    per_statement: float
    unit: str


class Attribution(msgspec.Struct, frozen=True, kw_only=True):
    """A cost sheet, filled in.

    ``unattributed_ns`` is per statement, and negative where the parts exceed the whole.
    """

    tree: tuple[Attributed, ...]
    unattributed_ns: float
    amounts: tuple[Spent, ...]
    warnings: tuple[str, ...] = ()


def total(deltas: Sequence[Delta]) -> Delta:
    """Add up deltas of one target: durations and amounts; void where any of them is.

    A series that not all of them have is left out.
    """
    void = next((delta.void for delta in deltas if delta.void), "")
    duration_ns = sum(delta.duration_ns for delta in deltas)
    if void or not deltas:
        return Delta(duration_ns=duration_ns, void=void)
    amounts = [{change.name: change.amount for change in delta.changes} for delta in deltas]
    changes = tuple(
        Change(change.name, change.unit, sum(each[change.name] for each in amounts))
        for change in deltas[0].changes
        if all(change.name in each for each in amounts)
    )
    return Delta(duration_ns=duration_ns, changes=changes)


def attribute(
    sheet: CostSheet,
    delta: Delta,
    *,
    statements: int,
    client_mean_ns: float,
    idle: Delta | None = None,
    proportions: bool = True,
) -> Attribution:
    """Attribute the latency of ``statements`` statements along ``sheet``.

    ``delta`` is what moved while the statements ran and nothing else was asked of the server,
    ``idle`` what moved in a window in which nothing was asked at all: its rate is taken off.
    ``client_mean_ns`` is the mean latency of these same statements as the client saw it; the mean,
    because sums of times add up to means and not to medians. Without ``proportions`` no warning
    rests on a share of the latency.

    Raises ValueError where there is no statement, or no latency, to divide by.
    """
    if statements < 1 or client_mean_ns <= 0:
        raise ValueError("attribution needs at least one statement and a latency above zero")
    if delta.void:
        return Attribution(
            tree=(),
            unattributed_ns=client_mean_ns,
            amounts=(),
            warnings=(f"costs are unknown: {delta.void}",),
        )
    spent = _per_statement(delta, statements, idle)
    tree = _fill(sheet.roots, spent, client_mean_ns, client_mean_ns)
    unattributed_ns = client_mean_ns - _sequential(tree)
    return Attribution(
        tree=tree,
        unattributed_ns=unattributed_ns,
        amounts=tuple(
            Spent(each.label, sum(spent[name] for name in each.series), each.unit)
            for each in sheet.quantities
            if _known(each.series, spent)
        ),
        warnings=(
            *_missing(sheet, spent),
            *_not_nested(tree),
            *_not_whole(sheet.roots, spent),
            *_rest(sheet, unattributed_ns / client_mean_ns, proportions=proportions),
            *_disturbed(sheet.disturbances, delta),
        ),
    )


def _per_statement(delta: Delta, statements: int, idle: Delta | None) -> dict[str, float]:
    rates: dict[str, float] = {}
    if idle is not None and not idle.void and idle.duration_ns > 0:
        rates = {change.name: change.amount / idle.duration_ns for change in idle.changes}
    return {
        change.name: (change.amount - rates.get(change.name, 0.0) * delta.duration_ns) / statements
        for change in delta.changes
    }


def _known(names: Sequence[str], spent: Mapping[str, float]) -> bool:
    return all(name in spent for name in names)


def _fill(
    nodes: Sequence[Node], spent: Mapping[str, float], parent_ns: float, client_ns: float
) -> tuple[Attributed, ...]:
    filled = []
    for node in nodes:
        if not _known(node.time, spent):
            continue
        ns = sum(spent[name] for name in node.time)
        children = _fill(node.children, spent, ns, client_ns)
        counted = bool(node.calls) and _known(node.calls, spent)
        filled.append(
            Attributed(
                label=node.label,
                ns=ns,
                share=ns / client_ns,
                calls=sum(spent[name] for name in node.calls) if counted else None,
                self_ns=ns - _sequential(children),
                overlaps=node.overlaps,
                nested=ns <= parent_ns,
                disturbs=node.disturbs,
                children=children,
            )
        )
    return tuple(filled)


def _sequential(nodes: Sequence[Attributed]) -> float:
    return sum(node.ns for node in nodes if node.nested and not node.overlaps)


def _nodes(nodes: Sequence[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        yield from _nodes(node.children)


def _missing(sheet: CostSheet, spent: Mapping[str, float]) -> Iterator[str]:
    nodes = tuple(_nodes(sheet.roots))
    # A server is of a generation where it has any timer of that generation.
    found = {node.generation for node in nodes if _known(node.time, spent)} | {""}
    for node in nodes:
        if node.generation in found and not _known((*node.time, *node.calls), spent):
            yield f"{node.label}: not measured here"
    for quantity in sheet.quantities:
        if not _known(quantity.series, spent):
            yield f"{quantity.label}: not measured here"


def _not_nested(tree: Sequence[Attributed], parent: str = "the client's latency") -> Iterator[str]:
    for node in tree:
        if not node.nested:
            yield (
                f"{node.label} is not nested: {node.ns / 1e6:.3g} ms is more than {parent}, "
                "so it is left out of sums"
            )
        yield from _not_nested(node.children, node.label)


def _not_whole(nodes: Sequence[Node], spent: Mapping[str, float]) -> Iterator[str]:
    for node in _nodes(nodes):
        if not (node.whole and node.calls and _known(node.calls, spent)):
            continue
        calls = sum(spent[name] for name in node.calls)
        if abs(calls - round(calls)) > FAR_FROM_WHOLE:
            yield (
                f"{node.label}: {calls:.2f} calls per statement, where a whole number is expected"
            )


def _rest(sheet: CostSheet, share: float, *, proportions: bool) -> Iterator[str]:
    if not proportions:
        if share < 0:
            yield "the parts add up to more than the client's latency"
    elif share < 0:
        yield f"the parts add up to {1 - share:.0%} of the client's latency"
    elif share > LARGE_REST and not sheet.rest:
        yield f"{share:.0%} of the client's latency is not attributed"


def _disturbed(disturbances: Sequence[Quantity], delta: Delta) -> Iterator[str]:
    moved = {change.name: change.amount for change in delta.changes}
    for each in disturbances:
        amount = sum(moved.get(name, 0.0) for name in each.series)
        if amount:
            yield f"{each.label} while costs were taken ({amount:,.0f}×): the figures contain it"
