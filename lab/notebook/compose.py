"""From a session's runs and notes to the entry that is rendered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lab.core.workspace import Workspace
from lab.measure.record import Run
from lab.notebook import evidence
from lab.notebook.entry import Entry, MeasuredRun, Note
from lab.notebook.evidence import RunFile
from lab.notebook.sentences import headline, tally
from lab.notebook.views import short_title

_LONGEST_TITLE = 100
_SUBJECT = 72


def compose(
    workspace: Workspace,
    *,
    number: int,
    session: str,
    goal: str,
    date: str,
    runs: Sequence[RunFile],
    notes: Sequence[Note],
) -> tuple[Entry, str]:
    """Read the runs, compare each with the newest one that it can be compared with.

    Returns the entry and a headline, one line without a full stop.

    Raises
    ------
    PreconditionError
        An evidence file is missing, corrupt, or was changed.

    """
    measured = measure_files(workspace, number, runs)
    entry = Entry(
        number=number,
        session=session,
        title=_title(goal, number, measured),
        date=date,
        goal=goal.strip() or "None was given.",
        notes=tuple(notes),
        runs=tuple(measured),
    )
    return entry, headline(measured[-1].analysis) if measured else _noted(notes)


def measure_files(workspace: Workspace, number: int, files: Sequence[RunFile]) -> list[MeasuredRun]:
    """Return what each of a session's run ``files`` says, oldest first.

    A run is compared with one before it in the same session, or else of an earlier session.

    Raises
    ------
    PreconditionError
        An evidence file is missing, corrupt, or was changed.

    """
    from lab.measure.analysis import analyse
    from lab.measure.comparison import find_comparable

    read: list[tuple[RunFile, Run]] = []
    found: list[MeasuredRun] = []
    for file in files:
        run = evidence.read_file(workspace, file)
        seen: dict[str, RunFile] = {}
        earlier = find_comparable(run, _earlier(workspace, number, read, seen))
        found.append(
            MeasuredRun(
                file=file,
                run=run,
                analysis=analyse(run, earlier),
                earlier=seen[earlier[1].id] if earlier else None,
            )
        )
        read.append((file, run))
    return found


def _earlier(
    workspace: Workspace,
    number: int,
    session: Sequence[tuple[RunFile, Run]],
    seen: dict[str, RunFile],
) -> Iterator[tuple[int, Run]]:
    """Yield earlier runs, newest first, and note in ``seen`` which file each is from."""
    for file, run in [*reversed(session)]:
        seen[run.id] = file
        yield number, run
    for file, run in evidence.earlier_runs(workspace, number):
        seen[run.id] = file
        yield run.session, run


def _title(goal: str, number: int, runs: Sequence[MeasuredRun]) -> str:
    """Return the goal in short, or else what was measured, as far as a change's subject has room.

    The longest subject says besides that it is of the log, the session's number, and the verdicts.
    """
    words = " ".join(goal.split())
    if words:
        short = words if len(words) <= _LONGEST_TITLE else f"{words[:_LONGEST_TITLE].rstrip()}…"
        return short.rstrip(".")
    if not runs:
        return "Notes"
    verdicts = tally(runs[-1].analysis)
    others = f"Log session {number}: " + (f" ({verdicts})" if verdicts else "")
    return short_title(runs[-1].run, _SUBJECT - len(others))


def _noted(notes: Sequence[Note]) -> str:
    findings = sum(1 for note in notes if note.kind == "finding")
    return f"nothing was measured; findings noted: {findings}" if findings else "notes only"
