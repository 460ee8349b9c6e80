"""Tasks of the session protocol."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lab.cli.batches import BATCH_HELP, batch_flags
from lab.cli.command import Front, command
from lab.cli.context import open_context
from lab.cli.flags import listed, whole_number

if TYPE_CHECKING:
    from lab.core.results import Outcome

_MEASURE_HELP = {
    "goal": "What this step is to find out; the entry's title.",
    "plan": "latency (default), or batch: transactions of several statements on tables of the "
    "upstream.",
    "statements": "Kinds of statement, separated by commas (default: those of [measure]).",
    "samples": "Least number of samples of each cell (default: 30).",
    "mode": "autocommit (default), or transaction: each statement between BEGIN and COMMIT.",
    "budget": "Seconds after which no samples are added to the least number (default: 40).",
    "objects": "Refuse to measure unless exactly this many user objects exist.",
    **{flag: f"Plan batch: {text[0].lower()}{text[1:]}" for flag, text in BATCH_HELP.items()},
}


@command("session.measure", help=_MEASURE_HELP, changes=True)
def measure(
    front: Front,
    goal: str = "",
    plan: str = "",
    statements: str = "",
    samples: str = "",
    mode: str = "",
    budget: str = "",
    sizes: str = "",
    repetitions: str = "",
    upstream_sweep: str = "",
    grow: bool = False,
    objects: str = "",
) -> Outcome:
    """Do one whole step: verify, measure, append the entry, describe the change.

    Inside a session opened by `session.start` it adds a run. After an interruption it goes on.

    Example: invoke session.measure --goal "Baseline" --statements create-table,create-view
    """
    from lab.session import protocol
    from lab.session.opening import MeasureOptions

    options = MeasureOptions(
        plan=plan or None,
        statements=listed("--statements", statements),
        samples=whole_number("--samples", samples, least=1),
        objects=whole_number("--objects", objects, least=0),
        mode=mode or None,
        budget_s=whole_number("--budget", budget, least=0),
        **batch_flags(sizes, repetitions, upstream_sweep, grow),
    )
    with front.lock():
        return protocol.measure(open_context(front), goal=goal, options=options, check=front.check)


@command(
    "session.start",
    help={"goal": _MEASURE_HELP["goal"], "objects": _MEASURE_HELP["objects"]},
    changes=True,
)
def start(front: Front, goal: str = "", objects: str = "") -> Outcome:
    """Open a session, with the environment started and verified.

    Example: invoke session.start --goal "Does the index on pg_depend help?"
    """
    from lab.session import protocol

    expected = whole_number("--objects", objects, least=0)
    with front.lock():
        return protocol.start(open_context(front), goal=goal, objects=expected, check=front.check)


@command(
    "session.note",
    help={
        "text": "The note.",
        "finding": "A finding, for the entry's Findings.",
        "next": "A next step, for the entry and the prompt.",
        "file": "Read the note from this file; - is standard input.",
    },
    changes=True,
)
def note(
    front: Front, text: str = "", finding: str = "", next: str = "", file: str = ""
) -> Outcome:
    """Keep a note, a finding or a next step for the open session's entry.

    Example: invoke session.note --finding "The cost is in pg_depend." --next "Try an index."
    """
    from lab.core.results import Outcome, Status, Step
    from lab.session.notes import add_notes, require_text
    from lab.session.opening import require_session

    require_session(front.workspace)
    given = [("note", text), ("note", _read(file)), ("finding", finding), ("next", next)]
    wanted = [(kind, each) for kind, each in given if each]
    require_text(wanted)
    status = Status.WOULD_CHANGE if front.check else Status.CHANGED
    steps = tuple(
        Step(name=kind, status=status, why=each.strip().splitlines()[0]) for kind, each in wanted
    )
    if front.check:
        return Outcome(status=status, steps=steps)
    kept = add_notes(front.workspace, wanted)
    return Outcome(
        status=status,
        steps=steps,
        summary="" if kept.session else "The entry is being written: kept for the next session.",
        data={"session": kept.session.number if kept.session else None, "notes": kept.notes},
    )


@command(
    "session.finish",
    help={"message": "First line of the change's description (default: from goal and verdict)."},
    changes=True,
)
def finish(front: Front, message: str = "") -> Outcome:
    """Write the entry, describe the change, and start a new one.

    Example: invoke session.finish --message "Cache the snapshot in PersistHandle"
    """
    from lab.session import protocol

    with front.lock():
        return protocol.finish_session(open_context(front), message=message, check=front.check)


@command("session.abort", changes=True)
def abort(front: Front) -> Outcome:
    """Give the open session up; evidence is kept, log and change stay as they were.

    Example: invoke session.abort
    """
    from lab.session import protocol

    with front.lock():
        return protocol.abort(open_context(front), check=front.check)


@command("session.status")
def status(front: Front) -> Outcome:
    """Show the open session: its goal, runs, notes, and what comes next.

    Example: invoke session.status --json
    """
    from lab.session.brief import session_status

    return session_status(front.workspace)


@command("session.brief")
def brief(front: Front) -> Outcome:
    """Say where things stand: open session, environment, last findings, next steps.

    Example: invoke session.brief --json
    """
    from lab.session.brief import brief_outcome

    return brief_outcome(open_context(front))


def _read(file: str) -> str:
    from pathlib import Path

    from lab.core.errors import UsageError

    if not file:
        return ""
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"The note cannot be read from {file}.",
            code="session.unreadable-note",
            why=f"{error}.",
            remedy="Name a file of UTF-8 text, or - for standard input.",
        ) from error
    if not text.strip():
        raise UsageError(
            "The note is empty.",
            code="session.empty-note",
            why=f"Read from {'standard input' if file == '-' else file}.",
            remedy="Give it as text, with --file PATH, or on standard input with --file -.",
        )
    return text
