"""One reading of a server's counters, and the difference of two."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """What a series does: a counter only grows; a gauge may move either way."""

    COUNTER = "counter"
    GAUGE = "gauge"


class Series(msgspec.Struct, frozen=True, array_like=True):
    """One series: its name, kind, unit (``ns``, ``bytes``, ``count``) and value."""

    name: str
    kind: Kind
    unit: str
    value: float


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """All series of a server at one moment.

    ``boot`` identifies the server process: two readings of different boots have no difference.
    ``taken_ns`` is a monotonic clock; ``cost_ns`` is what taking the reading took. ``bytes`` is the
    size of the page that was read for it, 0 where the counters come on no page. ``notes`` say what
    a reader of the figures should know, a sentence each.
    """

    boot: str
    taken_ns: int
    cost_ns: int
    series: tuple[Series, ...]
    bytes: int = 0
    notes: tuple[str, ...] = ()


class Change(msgspec.Struct, frozen=True, array_like=True):
    """How one series moved between two readings; ``unit`` as in `Series`."""

    name: str
    unit: str
    amount: float


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """What moved between two readings of one boot.

    ``duration_ns`` lies between the readings. ``void`` says why the difference means nothing (the
    server was restarted, a counter fell, a series vanished); ``changes`` is empty then.
    """

    duration_ns: int
    changes: tuple[Change, ...] = ()
    void: str = ""


def difference(before: Reading, after: Reading) -> Delta:
    """Return what moved from ``before`` to ``after``; void where that means nothing."""
    duration_ns = after.taken_ns - before.taken_ns
    if before.boot != after.boot:
        return Delta(duration_ns=duration_ns, void="the server was restarted")
    later = {series.name: series for series in after.series}
    changes = []
    for series in before.series:
        if series.name not in later:
            return Delta(duration_ns=duration_ns, void=f"the series {series.name} vanished")
        amount = later[series.name].value - series.value
        if series.kind is Kind.COUNTER and amount < 0:
            return Delta(duration_ns=duration_ns, void=f"the counter {series.name} fell")
        changes.append(Change(series.name, series.unit, amount))
    return Delta(duration_ns=duration_ns, changes=tuple(changes))
