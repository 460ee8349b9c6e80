"""Tasks on the log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lab.cli.command import Front, command
from lab.cli.flags import whole_number

if TYPE_CHECKING:
    from lab.core.results import Outcome


@command("log.list")
def list_entries(front: Front) -> Outcome:
    """List the entries of the log: number, date, title.

    Example: invoke log.list
    """
    from lab.core.results import Outcome
    from lab.core.tables import table
    from lab.notebook.entries import entries

    found = entries(front.workspace.log)
    rows = [(str(each.number), each.date or "", each.title) for each in found]
    text = table(rows, headers=("session", "date", "title")) if rows else ""
    return Outcome(
        text=text,
        summary="" if rows else f"There is no entry in {front.workspace.log} yet.",
        data={"log": str(front.workspace.log), "entries": found},
        hint="" if rows else "`invoke session.measure` writes the first",
    )


@command("log.show", help={"number": "The session's number."})
def show(front: Front, number) -> Outcome:  # type: ignore[no-untyped-def]  # Invoke's positional
    """Show one entry as it stands in the log.

    Example: invoke log.show 3
    """
    from lab.core.results import Outcome
    from lab.notebook.entries import entry_text

    wanted = whole_number("NUMBER", str(number), least=0)
    text = entry_text(front.workspace.log, wanted or 0)
    return Outcome(text=text.rstrip("\r\n"), data={"session": wanted, "text": text})


@command(
    "log.figure",
    help={
        "number": "The session's number.",
        "out": "The file to write; its suffix says how: .svg or .png.",
        "force": "Replace the file where it is there already.",
    },
    changes=True,
)
def figure(front: Front, number, out: str = "", force: bool = False) -> Outcome:  # type: ignore[no-untyped-def]  # Invoke's positional
    """Draw a session's batch benchmark: cost by transaction size, and by position.

    Example: invoke log.figure 3 --out batches.svg
    """
    from lab.core.errors import UsageError
    from lab.session.drawing import save_figure

    wanted = whole_number("NUMBER", str(number), least=0) or 0
    if not out:
        raise UsageError(
            "There is no file to write to.",
            code="usage.missing",
            remedy="Give it with --out: --out batches.svg.",
        )
    path = Path(out).expanduser()
    return save_figure(front.workspace, wanted, path, force=force, check=front.check)


@command("log.verify")
def verify(front: Front) -> Outcome:
    """Derive every figure again from evidence, and name each difference.

    Example: invoke log.verify
    """
    from lab.core.results import Outcome, Status
    from lab.notebook.verify import verify_log
    from lab.session.opening import open_session

    session = open_session(front.workspace)
    report = verify_log(front.workspace, session.number if session else None)
    text = "\n".join(str(each) for each in (*report.problems, *report.notes))
    good = not report.problems
    counts = f"{report.verified} of {report.regions} derived regions in {report.entries} entries "
    older = f", {report.older} cannot be made again" if report.older else ""
    wrong = "" if good else f"; problems: {len(report.problems)}"
    return Outcome(
        status=Status.OK if good else Status.FAILED,
        text=text,
        summary=f"{counts}agree with the evidence{older}{wrong}.",
        data=report,
        exit_code=0 if good else 4,
    )
