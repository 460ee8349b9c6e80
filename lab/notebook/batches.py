"""What method and results of a batch benchmark say: pure functions of the run and its finding."""

from __future__ import annotations

from collections.abc import Sequence

from lab.measure.batch_record import BatchPlan, BatchRecord
from lab.measure.findings import BatchFailure, BatchFinding, SizeFinding
from lab.measure.record import Run
from lab.notebook.figures import MISSING, code, counted, joined, ms, ms_range, table
from lab.notebook.noise_text import noise_text
from lab.notebook.shapes import legend, marked, marked_headers
from lab.notebook.text import plain
from lab.stats.positions import PositionFit, Shape

OBJECTS_UPSTREAM = "objects.upstream"
"""Passport field: how many objects of the target read an upstream. No type of user objects."""

_MOST_PLACES = 8


def method_lines(record: BatchRecord) -> list[str]:
    """Return how a batch benchmark of this plan is made, a sentence or two a line."""
    plan = record.plan
    lines = [
        f"**Measured:** {plain(record.product)}.",
        f"Transactions of {joined([f'{size:,}' for size in plan.sizes])} statements,"
        f" {counted(plan.repetitions, 'repetition')} of each, sizes in random order within a"
        f" repetition. No table is used twice: {counted(plan.tables_needed, 'published table')}"
        " needed.",
        "A statement is timed by its position in the transaction, from sending it to the server's"
        " ready message. BEGIN is in no figure. COMMIT is timed apart; it is in the cost of a"
        " table, and in no position.",
        "A transaction that fails is shown as a failure and is never a sample: after an error,"
        " COMMIT answers ROLLBACK, which takes next to no time.",
        "The tables that were made stay until the end of the run.",
        "The counters of target and upstream are read around each transaction, and the upstream's"
        " before COMMIT, too, outside of what is timed. That reading lies within the transaction:"
        " for up to about a second, what the target does besides is counted, too; where there is an"
        " idle rate, that takes it off.",
    ]
    return [*lines, *_sweep_method(plan)]


def _sweep_method(plan: BatchPlan) -> list[str]:
    if not plan.sweep:
        return []
    numbers = joined([f"{published:,}" for published in plan.sweep])
    return [
        f"Sweep: transactions of {counted(plan.sweep_size, 'statement')} besides, at"
        f" {numbers} published tables, each number in a database of its own. They are in no other"
        " figure."
    ]


def size_table(finding: BatchFinding, shapes_only: str = "") -> str:
    """Return the table of what a table costs, by transaction size."""
    failed = "Failed or void" if finding.void else "Failed"
    headers = ["Size", "n", "Per table (ms)", "95% interval (ms)", "Total (ms)", "COMMIT (ms)"]
    headers = [*marked_headers(headers, shapes_only), failed]
    return table(headers, [_size_row(each) for each in finding.sizes])


def _size_row(each: SizeFinding) -> list[str]:
    cost = each.cost
    figures = (
        [f"{cost.n:,}", ms(cost.ns), ms_range(cost.low_ns, cost.high_ns)]
        if cost
        else ["0", MISSING, MISSING]
    )
    # As the cost of a table: of size 1 the two are one quantity.
    total = ms(cost.ns * each.size) if cost else MISSING
    return [f"{each.size:,}", *figures, total, ms(each.commit_ns), f"{each.failed:,}"]


def position_table(finding: BatchFinding, shapes_only: str = "") -> str:
    """Return the table of what a statement takes, by its position; empty without statements."""
    if not finding.bins:
        return ""
    headers = ["Position", "Statements", "Transactions", "Median (ms)", "95% interval (ms)"]
    rows = [
        [
            position_range(each.first, each.last),
            f"{each.n:,}",
            f"{each.transactions:,}",
            ms(each.median_ns),
            ms_range(each.low_ns, each.high_ns),
        ]
        for each in finding.bins
    ]
    return table(marked_headers(headers, shapes_only), rows)


def position_range(first: int, last: int) -> str:
    """Return ``1``, or ``2 to 10``."""
    return f"{first:,}" if first == last else f"{first:,} to {last:,}"


def results_remarks(run: Run, record: BatchRecord, finding: BatchFinding, why: str) -> list[str]:
    """Return how the tables are to be read, what failed, and what is this run's own.

    ``why`` is that figures show shapes alone; empty where they do not.
    """
    remarks = []
    if run.void:
        remarks.append(
            f"**This run is void:** {plain(run.void)}. The figures are shown for what they are"
            " worth and are compared with nothing."
        )
    if why:
        remarks.append(f"{legend(why)}.")
    remarks += failure_lines(finding)
    remarks += [f"**Void:** {plain(each)}." for each in finding.void]
    if finding.carried_out < finding.planned:
        remarks.append(
            f"Carried out: {finding.carried_out:,} of the {finding.planned:,} transactions planned."
        )
    remarks.append(_per_table(finding))
    if finding.fit:
        remarks.append(marked(fit_text(finding.fit), why))
    if record.batches:
        remarks.append(_course(record))
        noise = noise_text([batch.noise for batch in record.batches])
        remarks.append(f"Meanwhile on the host: {noise}.")
    return remarks


def _per_table(finding: BatchFinding) -> str:
    without = [each for each in finding.sizes if each.cost and each.cost.low_ns is None]
    carried = " Fewer than three repetitions carry no interval." if without else ""
    return (
        "Total: all statements of a transaction and its COMMIT; per table: that over their number."
        " Both are geometric means of the n repetitions that count; COMMIT is a"
        f" median.{carried}"
    )


def fit_text(fit: PositionFit) -> str:
    """Return the fitted curve: its law, its slope with its interval, and what it rests on."""
    law = f"{signed_ms(fit.floor_ns)} ms"
    if fit.shape is not Shape.CONSTANT:
        law += f" {_term(fit.slope_ns)} · p"
    if fit.shape is Shape.QUADRATIC:
        law += f" {_term(fit.curvature_ns)} · p²"
    low, high = signed_ms(fit.slope_low_ns), signed_ms(fit.slope_high_ns)
    return (
        f"Fit over the positions p = {position_range(fit.first, fit.last)} of"
        f" {counted(fit.transactions, 'transaction')}: {law} ({fit.shape.value}). A straight"
        f" line through them has a slope of {low} to {high} ms per position (95%); from"
        f" {ms(fit.detectable_ns)} ms per position on it could be told from none."
    )


def _term(ns: float) -> str:
    return f"{'−' if ns < 0 else '+'} {ms(abs(ns))} ms"


def signed_ms(ns: float) -> str:
    """Return ns as ms without the unit, with the minus sign that the lab writes."""
    return f"−{ms(-ns)}" if ns < 0 else ms(ns)


def failure_lines(finding: BatchFinding) -> list[str]:
    """Name each error once, with the transactions that failed with it and where they did."""
    groups: dict[str, list[str]] = {}
    for failure in finding.failures:
        groups.setdefault(plain(failure.error), []).append(_place(failure))
    lines = []
    for error, places in groups.items():
        more = len(places) - _MOST_PLACES
        shown = "; ".join(places[:_MOST_PLACES]) + (f"; and {more:,} more" if more > 0 else "")
        lines.append(f"**Failed** with {code(error)}: {shown}.")
    return lines


def _place(failure: BatchFailure) -> str:
    return (
        f"size {failure.size:,}, repetition {failure.repetition:,}, at"
        f" {failed_at(failure.size, failure.failed_at)}"
    )


def failed_at(size: int, position: int) -> str:
    """Return where a transaction of ``size`` statements failed: ``position 3``, ``COMMIT``."""
    if position == 0:
        return "BEGIN"
    return "COMMIT" if position > size else f"position {position:,}"


def _course(record: BatchRecord) -> str:
    """Return what distinguishes this run from another one of its plan."""
    batches = [batch for batch in record.batches if not batch.swept]
    boots = len({batch.boot for batch in batches})
    return (
        f"Seed {record.plan.seed}; {counted(len(batches), 'transaction')}, within"
        f" {counted(boots, 'boot')} of the server, with"
        f" {from_to([batch.published for batch in batches])} tables published upstream. The target"
        f" held {from_to([batch.objects for batch in batches])} objects before each, with those of"
        " the batches before it."
    )


def from_to(numbers: Sequence[int]) -> str:
    """Return ``3``, or ``1 to 3``."""
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def objects_by_type(run: Run) -> dict[str, int]:
    """Return the user objects of a batch benchmark's target by type; the lab's own not in it."""
    facts = {key.partition("."): value for key, value in run.passport.alike.items()}
    return {
        kind: int(value)
        for (prefix, _, kind), value in facts.items()
        if prefix == "objects" and f"objects.{kind}" != OBJECTS_UPSTREAM
    }
