"""A run against an earlier one: which one, whether they may be compared, and what is said."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from lab.measure.cells import asked_and_drops, cell_samples
from lab.measure.findings import ComparisonFinding, Difference
from lab.measure.noise import was_noisy
from lab.measure.record import Passport, Run
from lab.stats.summary import Comparison, Verdict


def differences(before: Passport, after: Passport) -> tuple[Difference, ...]:
    """Return the fields that must be alike and are not, in alphabetical order."""
    fields = sorted(before.alike.keys() | after.alike.keys())
    return tuple(
        Difference(field, before.alike.get(field, ""), after.alike.get(field, ""))
        for field in fields
        if before.alike.get(field) != after.alike.get(field)
    )


def find_comparable(run: Run, earlier: Iterable[tuple[int, Run]]) -> tuple[int, Run] | None:
    """Return the session and run that ``run`` is to be compared with; None where there is none.

    ``earlier`` comes newest first, and is read only as far as needed. The newest run wins that is
    not void, has a like passport, and measured a statement that ``run`` measured, too. Where there
    is none, the newest valid run of the same target that has an unlike passport is returned: what
    it differs in can then be named.
    """
    fallback: tuple[int, Run] | None = None
    for session, candidate in earlier:
        if candidate.id == run.id or candidate.void or candidate.target != run.target:
            continue
        if differences(candidate.passport, run.passport):
            fallback = fallback or (session, candidate)
        elif _common(candidate, run):
            return session, candidate
    return fallback


def compare(run: Run, earlier: tuple[int, Run]) -> ComparisonFinding:
    """Compare the cells of ``run`` with those of ``earlier`` (session, run).

    Where the passports differ, nothing is compared and the fields are named. Verdicts are
    provisional: a run is taken within one boot of the server, and the boot is what replicates. A
    cell that is void on either side is left out. Where the host disturbed a run, no change is
    claimed: it would be the host's.
    """
    from lab.stats.compare import compare_family
    from lab.targets.registry import target

    session, before = earlier
    unlike = differences(before.passport, run.passport)
    if unlike:
        return ComparisonFinding(session=session, run=before.id, differences=unlike)
    pairs = {
        statement: (
            cell_samples(before, statement).durations,
            cell_samples(run, statement).durations,
        )
        for statement in _common(before, run)
    }
    cells = compare_family(
        pairs,
        boots=(len(_boots(before)), len(_boots(run))),
        least_ns=target(run.target).least_change_ns,
    )
    sides = (("the earlier run", before), ("this run", run))
    noisy = tuple(name for name, side in sides if was_noisy(side))
    return ComparisonFinding(
        session=session,
        run=before.id,
        cells={name: _unclaimed(cell) for name, cell in cells.items()} if noisy else cells,
        same_boot=bool(_boots(before) & _boots(run)),
        noisy=noisy,
    )


def _unclaimed(cell: Comparison) -> Comparison:
    """Return ``cell`` without a claim that something changed; its figures stay."""
    if cell.verdict is Verdict.NO_MEASURABLE_CHANGE:
        return cell
    return msgspec.structs.replace(cell, verdict=Verdict.INCONCLUSIVE)


def _common(before: Run, after: Run) -> tuple[str, ...]:
    """Return the statements that have a valid cell in both runs, in the order of ``after``."""
    return tuple(
        statement
        for statement in asked_and_drops(after)
        if not cell_samples(after, statement).void and not cell_samples(before, statement).void
    )


def _boots(run: Run) -> set[str]:
    return {block.boot for block in run.blocks if block.purpose == "latency" and not block.void}
