"""A profile, kept: its files as evidence, its hottest frames as a note of the session's entry."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from lab.core.files import create_exclusively, sha256
from lab.core.results import Outcome, Status, Step
from lab.core.tables import table
from lab.core.workspace import Workspace
from lab.measure.profile import Profile, profile
from lab.metrics.stacks import Frame, folded, hottest, widest
from lab.notebook import evidence
from lab.session.context import Context
from lab.session.notes import add_notes
from lab.session.opening import open_session

_FRAMES = 12
_LONGEST_NAME = 90
_SHOWN_DEPTH = 2
_MUCH_WAITING = 0.2


def take_profile(
    context: Context, statement: str, *, seconds: int, with_perf: bool, with_heap: bool
) -> Outcome:
    """Profile ``statement``, keep the files, and note the hottest frames.

    Inside a session that has a number the files are evidence of it, and its entry gets the note.
    Otherwise they are kept in the lab's private folder.

    Raises
    ------
    UsageError, PreconditionError, ExternalError
        As `lab.measure.profile.profile`.
    """
    taken = profile(
        context.environment,
        statement,
        seconds=seconds,
        with_perf=with_perf,
        with_heap=with_heap,
        progress=context.progress,
    )
    session = open_session(context.workspace)
    number = None if session is None or session.composed else session.number
    files = _keep(context.workspace, number, taken)
    said = sentence(taken)
    if number is not None:
        add_notes(context.workspace, [("note", _note(taken, said, files))])
    missing = (taken.heap_missing,) if taken.heap_missing else ()
    where = f"evidence of session {number}" if number is not None else "no session's evidence"
    return Outcome(
        summary=said,
        status=Status.CHANGED,
        steps=(Step(name="profile", status=Status.CHANGED, why=f"{', '.join(files)} ({where})"),),
        text="\n\n".join(_as_text(title, frames) for title, frames in _tables(taken)),
        data={
            "statement": taken.statement,
            "statements": taken.statements,
            "failed": taken.failed,
            "duration_ns": taken.duration_ns,
            "client_mean_ns": taken.client_ns,
            "cpu_ns": taken.cpu_ns,
            "waited_ns": taken.waited_ns,
            "cores": taken.cores,
            "cpu_bound": taken.cpu_bound,
            "source": taken.source,
            "files": files,
            "hottest": hottest(taken.stacks, _FRAMES),
            "widest": widest(taken.stacks, _FRAMES),
        },
        warnings=missing,
        hint="" if number is not None else "`invoke session.start` first keeps it as evidence",
    )


def sentence(taken: Profile) -> str:
    """Say in a line what was driven, and whether CPU time can be where the latency goes."""
    driven = (
        f"{taken.statements:,} {taken.statement} in {taken.duration_ns / 1e9:.1f} s, "
        f"{taken.client_ns / 1e6:.3g} ms each in the mean"
    )
    if taken.cores is None:
        return f"{driven}; the server's CPU time cannot be seen from here."
    busy = f"{driven}; the server kept {taken.cores:.2f} cores busy, background work included"
    if taken.waiting >= _MUCH_WAITING:
        return (
            f"{busy}, and {taken.waiting:.2f} of its threads waited for one: other work on this "
            "host takes the CPU away."
        )
    if taken.cpu_bound:
        return f"{busy}."
    return (
        f"{busy}: CPU is not where most of the time goes. The statement waits: "
        "`session.measure` shows for what."
    )


def _keep(workspace: Workspace, number: int | None, taken: Profile) -> list[str]:
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    name = f"profile-{stamp}-{taken.statement}"
    contents = {
        f"{name}.{taken.suffix}": taken.page,
        f"{name}.folded": folded(taken.stacks).encode(),
    }
    if taken.heap:
        contents[f"{name}.heap"] = taken.heap
    if number is not None:
        return [
            evidence.write_attachment(workspace, number, file, content)
            for file, content in contents.items()
        ]
    folder = workspace.private / "profiles"
    for file, content in contents.items():
        create_exclusively(folder / file, content)
    return [str((folder / file).relative_to(workspace.root)) for file in contents]


def _note(taken: Profile, said: str, files: Sequence[str]) -> str:
    lines = [f"Profile by {taken.source}: {said}"]
    for title, frames in _tables(taken):
        lines += ["", _as_text(title, frames, markdown=True)]
    lines += ["", f"Files: {', '.join(f'`{each}`' for each in files)}."]
    lines += [f"SHA-256 of the stacks: `{sha256(folded(taken.stacks).encode())}`."]
    return "\n".join(lines)


def _tables(taken: Profile) -> tuple[tuple[str, Sequence[Frame]], ...]:
    return (
        ("Hottest functions (on top of the stack)", hottest(taken.stacks, _FRAMES)),
        ("Functions with most samples below them", widest(taken.stacks, _FRAMES)),
    )


def _as_text(title: str, frames: Sequence[Frame], *, markdown: bool = False) -> str:
    rows = [(f"{each.own:.1%}", f"{each.total:.1%}", _short(each.name)) for each in frames]
    headers = ("own", "with callees", "function")
    if not markdown:
        return f"{title}:\n{table(rows, headers=headers)}"
    cells = [
        f"| {own} | {total} | `{name.replace('|', chr(92) + '|')}` |" for own, total, name in rows
    ]
    return "\n".join([f"{title}:", "", f"| {' | '.join(headers)} |", "|---:|---:|---|", *cells])


def _short(name: str) -> str:
    """Return ``name`` with the arguments of generic types left out, and cut where still too long.

    ``<WriteHandle<Data, (), Timestamp>>::append`` becomes ``<WriteHandle<…>>::append``.
    """
    kept: list[str] = []
    depth = 0
    for i, sign in enumerate(name):
        if sign == ">" and name[i - 1 : i] != "-":
            depth -= 1
        if depth < _SHOWN_DEPTH:
            kept.append(sign)
        if sign == "<":
            depth += 1
            if depth == _SHOWN_DEPTH:
                kept.append("…")
    short = "".join(kept)
    return short if len(short) <= _LONGEST_NAME else f"{short[: _LONGEST_NAME - 1]}…"
