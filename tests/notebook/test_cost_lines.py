"""Where the time goes, in two or three lines; nothing is ranked that the host falsified."""

from __future__ import annotations

import pytest

from lab.measure.findings import Amount, CostFinding
from lab.metrics.tree import Attributed
from lab.notebook.costs import cost_lines, cost_table


def part(label: str, share: float, *, disturbs: bool = False) -> Attributed:
    return Attributed(
        label=label,
        ns=share * 1e6,
        share=share,
        calls=None,
        self_ns=share * 1e6,
        overlaps=disturbs,
        nested=share <= 1,
        disturbs=disturbs,
    )


def cost(statement: str, *, flush: float, waiting: float | None, wal: float = 500.0) -> CostFinding:
    tree = [part("WAL flush", flush), part("WAL write", 0.02)]
    if waiting is not None:
        tree.append(part("backend waiting for a CPU", waiting, disturbs=True))
    return CostFinding(
        statement=statement,
        samples=20,
        client_ns=1e6,
        tree=tuple(tree),
        unattributed_ns=(1 - flush) * 1e6,
        amounts=(Amount("WAL", wal, "bytes"),),
    )


@pytest.mark.parametrize("waiting", [None, 0.0, 0.19])
def test_on_a_host_at_rest_the_largest_part_is_named(waiting: float | None) -> None:
    costs = [
        cost("create-table", flush=0.4, waiting=waiting),
        cost("drop-table", flush=0.7, waiting=waiting, wal=4000.0),
    ]
    own, largest, wal = cost_lines(costs)
    assert own.startswith("Samples of their own: means of 20 statements of one kind in a row")
    assert own.endswith("not the medians above.")
    assert largest == (
        "WAL flush is the largest part that is timed: 40% of `create-table` to 70% of `drop-table`."
    )
    assert wal == "WAL: 500 B (`create-table`) to 4.00 kB (`drop-table`) a statement."


def test_where_the_host_took_the_cpu_away_that_comes_first_and_nothing_is_ranked() -> None:
    costs = [
        cost("create-table", flush=0.4, waiting=0.11),
        cost("drop-table", flush=0.9, waiting=0.83, wal=4000.0),
    ]
    first, *rest = cost_lines(costs)
    assert first == (
        "**Backend waiting for a CPU for 47% of the time** (up to 83% of `drop-table`): the parts"
        " below contain that wait, so they are not ranked."
    )
    assert len(rest) == 2
    assert "largest" not in " ".join(rest)
    assert "backend waiting for a CPU*" in cost_table(costs)


def test_a_wait_that_exceeds_the_latency_is_not_lost() -> None:
    # The kernel brings its counters up to date at moments of its own.
    (first, *_) = cost_lines([cost("create-table", flush=0.4, waiting=1.2)])
    assert first.startswith("**Backend waiting for a CPU for 120% of the time**")


def test_without_costs_nothing_is_said() -> None:
    assert cost_lines([]) == []
    assert cost_table([]) == ""
