"""A run against an earlier one: which one, whether they may be compared, and what is said."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from lab.measure.batch_comparison import batch_cells, common_sizes, counting
from lab.measure.cells import asked_and_drops, cell_samples
from lab.measure.findings import ComparisonFinding, Difference, Measured
from lab.measure.noise import was_noisy
from lab.measure.passport import (
    BUILD,
    BUILD_COMMIT,
    BUILD_DIRTY,
    BUILD_VERSION,
    CLEAN,
    UNKNOWN,
    shapes_only,
)
from lab.measure.record import LATENCY, Run, sql_of
from lab.stats.summary import Comparison, Verdict

NOISY = "noisy host"
"""The reason of a verdict that a disturbed run prevents."""


def differences(before: Run, after: Run) -> tuple[Difference, ...]:
    """Return what must be alike in two runs and is not, in alphabetical order.

    The fields of their passports, of which one that is unknown is like no other; and the SQL of
    their fixtures, which all statements work on.
    """
    sides = [
        {**run.passport.alike, "workload.fixtures": "; ".join(run.workload.setup)}
        for run in (before, after)
    ]
    pairs = ((field, *(side.get(field, "") for side in sides)) for field in sides[0] | sides[1])
    return tuple(
        Difference(field, one, other)
        for field, one, other in sorted(pairs)
        if one != other or one == UNKNOWN
    )


def find_comparable(run: Run, earlier: Iterable[tuple[int, Run]]) -> tuple[int, Run] | None:
    """Return the session and run that ``run`` is to be compared with; None where there is none.

    ``earlier`` comes newest first, and is read only as far as needed. The newest run wins that is
    not void, has a like passport, and measured a statement that ``run`` measured, too, with the
    same SQL. Where there is none, the newest valid run of the same target that has an unlike
    passport, or other SQL for a statement, is returned: what it differs in can then be named.
    Batch benchmarks and other runs have nothing to do with each other.
    """
    fallback: tuple[int, Run] | None = None
    for session, candidate in earlier:
        if candidate.id == run.id or candidate.void or not _of_one_kind(candidate, run):
            continue
        unlike = bool(differences(candidate, run))
        if not unlike and _comparable(candidate, run):
            return session, candidate
        if unlike or _reworded(candidate, run):
            fallback = fallback or (session, candidate)
    return fallback


def _of_one_kind(one: Run, other: Run) -> bool:
    return one.target == other.target and (one.batch is None) == (other.batch is None)


def compare(run: Run, earlier: tuple[int, Run]) -> ComparisonFinding:
    """Compare the cells of ``run`` with those of ``earlier`` (session, run), one of its kind.

    Where the passports differ, nothing is compared and the fields are named. Verdicts are
    provisional: a run is taken within one boot of the server, and the boot is what replicates. A
    cell that is void on either side, or whose SQL differs, is left out. Where the host disturbed a
    run, nothing is claimed: neither a change, which would be the host's, nor that there is none.
    """
    session, before = earlier
    unlike = differences(before, run)
    if unlike:
        return ComparisonFinding(
            session=session,
            run=before.id,
            differences=unlike,
            builds=_builds(before, run),
            shapes_only=shapes_only(run.passport),
        )
    cells = _cells(before, run)
    sides = (("the earlier run", before), ("this run", run))
    noisy = tuple(name for name, side in sides if was_noisy(side))
    return ComparisonFinding(
        session=session,
        run=before.id,
        cells={name: _unclaimed(cell) for name, cell in cells.items()} if noisy else cells,
        same_boot=bool(_boots(before) & _boots(run)),
        noisy=noisy,
        reworded=_reworded(before, run),
        builds=_builds(before, run),
        shapes_only=shapes_only(run.passport),
    )


def _cells(before: Run, after: Run) -> dict[str, Comparison]:
    from lab.stats.compare import compare_family
    from lab.targets.registry import target

    statements = _comparable(before, after)
    boots = (len(_boots(before)), len(_boots(after)))
    least_ns = target(after.target).least_change_ns
    if after.batch is not None:
        return batch_cells(before, after, boots=boots, least_ns=least_ns) if statements else {}
    return compare_family(
        {
            statement: (
                cell_samples(before, statement).blocks,
                cell_samples(after, statement).blocks,
            )
            for statement in statements
        },
        boots=boots,
        least_ns=least_ns,
    )


def _builds(before: Run, after: Run) -> tuple[Measured, ...]:
    """Return which build each run measured; nothing where a target has but one."""
    sides = [{**run.passport.alike, **run.passport.noted} for run in (before, after)]
    if not all(BUILD in facts for facts in sides):
        return ()
    known = [
        {key: fact for key, fact in side.items() if fact not in (UNKNOWN, CLEAN)} for side in sides
    ]
    return tuple(
        Measured(
            build=facts.get(BUILD, ""),
            version=facts.get(BUILD_VERSION, ""),
            commit=facts.get(BUILD_COMMIT, ""),
            dirty=facts.get(BUILD_DIRTY, ""),
        )
        for facts in known
    )


def _unclaimed(cell: Comparison) -> Comparison:
    """Return ``cell`` without a claim about change; its figures stay."""
    return msgspec.structs.replace(
        cell, verdict=Verdict.INCONCLUSIVE, reasons=(*cell.reasons, NOISY)
    )


def _comparable(before: Run, after: Run) -> tuple[str, ...]:
    """Return the statements of both runs whose cells are valid and whose SQL is the same."""
    return tuple(each for each in _common(before, after) if _same_sql(each, before, after))


def _reworded(before: Run, after: Run) -> tuple[str, ...]:
    """Return the statements of both runs whose cells are valid and whose SQL differs."""
    return tuple(each for each in _common(before, after) if not _same_sql(each, before, after))


def _same_sql(statement: str, before: Run, after: Run) -> bool:
    return sql_of(before, statement) == sql_of(after, statement)


def _common(before: Run, after: Run) -> tuple[str, ...]:
    """Return the statements that have a valid cell in both runs, in the order of ``after``."""
    if after.batch is not None:
        return after.plan.statements if common_sizes(before, after) else ()
    return tuple(
        statement
        for statement in asked_and_drops(after)
        if not cell_samples(after, statement).void and not cell_samples(before, statement).void
    )


def _boots(run: Run) -> set[str]:
    if run.batch is not None:
        return {batch.boot for batch in counting(run)}
    return {block.boot for block in run.blocks if block.purpose == LATENCY and not block.void}
