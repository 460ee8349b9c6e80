"""Batches outside of a session: measured, kept aside, compared, and written into no log."""

from __future__ import annotations

import contextlib
import heapq
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from lab.core.errors import ExternalError, PreconditionError
from lab.core.files import create_exclusively
from lab.core.results import Outcome, gravest
from lab.core.workspace import Workspace
from lab.measure.findings import Analysis
from lab.measure.record import NO_SESSION, Run
from lab.notebook import evidence
from lab.notebook.render import render_results
from lab.session import protocol
from lab.session.batching import require_supply, take_batches
from lab.session.context import Context
from lab.session.foresee import foresee_unlogged
from lab.session.measuring import lost_transactions, measured_step, next_after, ready
from lab.session.opening import MeasureOptions, open_session

_NOTHING_KEPT = (
    "Nothing that was measured is kept: outside of a session a run is written at its end. Tables"
    " that were made and are still there are dropped by the next run, or by"
    " `invoke upstream.clean`."
)


def measure_batch(context: Context, options: MeasureOptions, *, check: bool, keep: bool) -> Outcome:
    """Measure batches: one more run where a session is open, else without a word in the log.

    The tables are dropped afterwards unless ``keep``. Outside of a session the record goes to
    ``.lab/batches/``.

    Raises
    ------
    StateMismatchError
        A whole step was interrupted, or what is there does not fit the plan.
    LabError
        As `lab.session.protocol.measure`.
    """
    session = open_session(context.workspace)
    if session is not None:
        if session.opening.whole:
            raise protocol.unfinished(session)
        return protocol.measure(context, goal="", options=options, check=check, keep=keep)
    if check:
        return foresee_unlogged(context, options)
    with _at_interrupt(_NOTHING_KEPT):
        options = require_supply(context, options)
        steps = ready(context, None, options.objects, of_batches=True)
        run, taken = take_batches(context, options, NO_SESSION, keep=keep)
    path = _keep(context.workspace, run)
    with _at_interrupt(f"The record is kept in {path}."):
        analysis = _analysed(context.workspace, run)
    steps = [*steps, *taken, measured_step(run, path)]
    failure = _void(run, path) if run.void else None
    return Outcome(
        summary="" if failure else _summary(context.workspace, analysis),
        status=gravest(steps),
        steps=tuple(steps),
        text=render_results(context.workspace, analysis),
        data={"session": None, "file": path, "runs": [analysis]},
        warnings=lost_transactions([analysis]),
        hint=next_after(
            [analysis], "`invoke session.measure --plan batch` measures and writes it down"
        ),
        failure=failure,
        exit_code=failure.exit_code if failure else 0,
    )


@contextlib.contextmanager
def _at_interrupt(said: str) -> Iterator[None]:
    """Let what is shown after Ctrl-C say what became of the run."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(said)
        raise


def _summary(workspace: Workspace, analysis: Analysis) -> str:
    said = "Kept aside: nothing was logged."
    comparison = analysis.comparison
    if comparison is None or comparison.session != NO_SESSION:
        return said
    earlier = _path(workspace, comparison.run).relative_to(workspace.root)
    return f"{said} The run kept aside before, which this one is compared with, is {earlier}."


def _keep(workspace: Workspace, run: Run) -> str:
    """Write the record; return its path relative to the workspace."""
    path = _path(workspace, run.id)
    create_exclusively(path, msgspec.json.encode(run) + b"\n")
    return path.relative_to(workspace.root).as_posix()


def _analysed(workspace: Workspace, run: Run) -> Analysis:
    """Compare ``run`` with the newest one that it can be compared with, logged or not."""
    from lab.measure.analysis import analyse
    from lab.measure.comparison import find_comparable

    logged = (each for _, each in evidence.earlier_runs(workspace, sys.maxsize))
    newest_first = heapq.merge(logged, _kept(workspace), key=_age, reverse=True)
    return analyse(run, find_comparable(run, ((each.session, each) for each in newest_first)))


def _kept(workspace: Workspace) -> Iterator[Run]:
    """Yield the runs that were kept aside, newest first; one that cannot be read is passed over."""
    found = []
    for path in _folder(workspace).glob("run-*.json"):
        try:
            found.append(evidence.read_run(path))
        except PreconditionError:
            continue
    yield from sorted(found, key=_age, reverse=True)


def _age(run: Run) -> tuple[str, str]:
    return run.created_at, run.id


def _path(workspace: Workspace, run: str) -> Path:
    return _folder(workspace) / f"run-{run}.json"


def _folder(workspace: Workspace) -> Path:
    return workspace.private / "batches"


def _void(run: Run, path: str) -> ExternalError:
    return ExternalError(
        f"The run is void: {run.void}.",
        code="run.void",
        why=f"What was measured is kept in {path}.",
        remedy="`invoke measure.batch` measures anew.",
    )
