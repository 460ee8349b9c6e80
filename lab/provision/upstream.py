"""The upstream as a declared step, and what can be said of it: up, status, verification, down."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lab.core.config import UpstreamConfig
from lab.core.errors import LabError, StateMismatchError, UsageError
from lab.core.progress import Progress
from lab.core.results import Check, Outcome, Status, Step, gravest
from lab.core.tables import table
from lab.provision.baseline import Baselines
from lab.provision.environment import age, remedies
from lab.provision.steps import Look
from lab.servers.records import Condition
from lab.upstream.assembly import declared_columns, declared_tables
from lab.upstream.base import ROLE, Found
from lab.upstream.checks import described
from lab.upstream.failures import not_adopted
from lab.upstream.slots import Slot
from lab.upstream.tables import contiguous, counted, require_count
from lab.upstream.upstream import Upstream

NAME = "upstream"
"""What is typed to confirm that its data are destroyed."""
_UNSEEN = "cannot be told before the server runs"


class UpstreamStep(msgspec.Struct, frozen=True, kw_only=True):
    """The upstream runs, with ``tables`` published tables at least."""

    upstream: Upstream
    tables: int
    columns: str

    @property
    def name(self) -> str:
        """``upstream``."""
        return NAME

    def look(self) -> Look:
        """Compare what is declared with what is."""
        found = self.upstream.found()
        declared = f"{counted(self.tables)}, published"
        if found.condition is not Condition.RUNNING:
            lines = (f"- {_server(found)}", f"+ running, with {declared}")
            return Look(declared=declared, found=_server(found), diff=lines)
        diff = self.upstream.look(self.tables, self.columns)
        there = f"{counted(_published(self.upstream))}, published; {_server(found)}"
        obstacle = not_adopted(found.address) if diff and not self.upstream.changeable else None
        return Look(declared=declared, found=there, diff=diff, obstacle=obstacle)

    def apply(self, progress: Progress) -> str:
        """Start it and make what is missing."""
        self.upstream.start(progress)
        self.upstream.provision(self.tables, self.columns, progress)
        return ""


def declared_step(upstream: Upstream, config: UpstreamConfig) -> UpstreamStep:
    """Return the step for the upstream that ``config`` declares."""
    record = upstream.record()
    return UpstreamStep(
        upstream=upstream,
        tables=declared_tables(config, record),
        columns=declared_columns(config, record),
    )


def up(
    upstream: Upstream, *, tables: int, columns: str, adopt: bool, check: bool, progress: Progress
) -> Outcome:
    """Bring the upstream up: server, database, role, ``tables`` tables of ``columns``, publication.

    More tables than asked for stay. Somebody else's server is changed only once it was adopted;
    otherwise the SQL is listed that would make what is missing. A part that fails ends it: the
    outcome carries the error, with its exit code, beside the steps.

    Raises
    ------
    UsageError
        More tables than the lab makes (``upstream.too-many-tables``).
    LabError
        As `Upstream.start` and `Upstream.foresee` say.
    """
    require_count(tables, "--tables")
    if check:
        steps = _foreseen(upstream, tables, columns)
        return Outcome(status=gravest(steps), steps=steps, data=_data(upstream))
    started = upstream.start(progress)
    if adopt and not upstream.provider.owned:
        upstream.adopt()
    if not upstream.changeable:
        return _looked_at(upstream, tables, columns, started)
    made = list(started)
    try:
        upstream.provision(tables, columns, progress, told=made.append)
    except LabError as error:
        return Outcome(
            status=Status.FAILED,
            steps=tuple(made),
            data=_data(upstream),
            exit_code=error.exit_code,
            failure=error,
        )
    return _is_up(upstream, tuple(made))


def status(upstream: Upstream, config: UpstreamConfig) -> Outcome:
    """Say what is there against what is declared; change nothing.

    A difference is a finding and no failure: the exit code is 0.
    """
    record, found = upstream.record(), upstream.found()
    wanted = declared_tables(config, record)
    rows = {
        "provider": found.provider + _adopted(upstream),
        "server": _server(found),
        "running for": age(found.started),
        "declared": f"{counted(wanted)} ({declared_columns(config, record)})",
    }
    warnings = ((found.volatile,) if found.volatile else ()) + _left_by_sweeps(upstream)
    if found.condition is not Condition.RUNNING:
        summary = "There is no upstream." if record is None else "The upstream does not run."
        return Outcome(
            summary=summary,
            status=Status.WOULD_CHANGE,
            text=_as_table(rows),
            data={**_data(upstream), "published": None, "slots": None, "differences": None},
            warnings=warnings,
            hint="invoke upstream.up"
            if record is None or upstream.provider.owned
            else "Whoever runs that server has to start it.",
        )
    differences, more = _differences(upstream, wanted, declared_columns(config, record))
    published, slots = _published(upstream), upstream.slots()
    rows |= {
        "published": counted(published),
        "slots": _slots(slots),
        "data": found.directory,
    }
    text = "\n".join([_as_table(rows), *(f"  {line}" for line in differences)])
    return Outcome(
        summary="It is not as declared." if differences else "It is as declared.",
        status=Status.WOULD_CHANGE if differences else Status.OK,
        text=text,
        data={
            **_data(upstream),
            "published": published,
            "slots": slots,
            "differences": differences,
        },
        warnings=(*warnings, *more),
        hint="invoke upstream.up" if differences else "",
    )


def verify(upstream: Upstream, tables: int | None) -> Outcome:
    """Prove that a source can read it: one table of checks and one verdict.

    Where a check fails the outcome is ``failed`` with the exit code of a state mismatch.
    """
    if tables is not None:
        require_count(tables, "--tables")
    outcome = verdict(upstream.verify(tables), "not fit to be read by a source")
    return msgspec.structs.replace(outcome, warnings=_left_by_sweeps(upstream))


def verdict(checks: Sequence[Check], unfit: str, steps: tuple[Step, ...] = ()) -> Outcome:
    """Return ``checks`` as one table and one verdict; ``unfit`` says what a failure means."""
    failed = [check for check in checks if not check.passed]
    rows = [
        ("passed" if check.passed else "FAILED", check.name, check.found, check.expected)
        for check in checks
    ]
    said = f"{len(failed)} of {len(checks)} checks failed: {unfit}."
    return Outcome(
        summary=said if failed else f"All {len(checks)} checks passed.",
        status=Status.FAILED if failed else gravest(steps),
        steps=steps,
        text=table(rows, headers=("", "check", "found", "expected")),
        data={"checks": checks, "passed": not failed},
        hint=remedies(failed),
        exit_code=StateMismatchError.exit_code if failed else 0,
    )


def _left_by_sweeps(upstream: Upstream) -> tuple[str, ...]:
    left = [each.database for each in upstream.swept()]
    if not left:
        return ()
    named = ", ".join(left)
    return (f"A sweep left databases on the upstream: {named}. `upstream.clean` drops them.",)


def stop(upstream: Upstream, *, check: bool, progress: Progress) -> Step:
    """Stop its server where the lab started it; the data stay."""
    found = upstream.found()
    if not upstream.provider.owned or found.condition is Condition.FOREIGN:
        return Step(
            name=NAME,
            status=Status.SKIPPED,
            why=f"{_server(found)}: left alone, it is not the lab's",
        )
    if found.condition is not Condition.RUNNING:
        return Step(name=NAME, status=Status.OK, why=f"nothing runs: {_server(found)}")
    diff = (f"- {_server(found)}", "+ stopped, data kept")
    if check:
        return Step(name=NAME, status=Status.WOULD_CHANGE, why=_server(found), diff=diff)
    said = _said(upstream.stop(progress))
    after = upstream.found()
    if after.condition is Condition.RUNNING:
        raise StateMismatchError(
            "The upstream still runs after it was stopped.",
            code="upstream.still-running",
            why=_server(after),
            remedy="`upstream.status` shows what is there; run the same command again.",
        )
    return Step(name=NAME, status=Status.CHANGED, why=said, diff=diff)


def down(
    upstream: Upstream, *, destroy: bool, confirmed: str, check: bool, progress: Progress
) -> Outcome:
    """Stop the upstream; with ``destroy``, confirmed by its name, remove its data, too.

    Somebody else's server is left alone, and only forgotten.

    Raises
    ------
    UsageError
        ``confirmed`` is not its name (``upstream.not-confirmed``).
    """
    if not destroy:
        step = stop(upstream, check=check, progress=progress)
        return Outcome(status=step.status, steps=(step,), data=_data(upstream))
    confirm_destroy(upstream, NAME if check else confirmed)
    before, warnings = upstream.found(), _still_read(upstream, check=check)
    if _nothing(upstream):
        step = Step(name=NAME, status=Status.OK, why="there is none")
    else:
        owned = upstream.provider.owned
        diff = (
            f"- the upstream with all its tables ({before.directory or before.provider})"
            if owned
            else f"- what the lab remembers of {before.address}",
        )
        if check:
            step = Step(name=NAME, status=Status.WOULD_CHANGE, why=_server(before), diff=diff)
        else:
            said = _said(upstream.destroy(progress))
            why = said if owned else f"forgotten; {said}"
            step = Step(name=NAME, status=Status.CHANGED, why=why, diff=diff)
    return Outcome(status=step.status, steps=(step,), data=_data(upstream), warnings=warnings)


def _still_read(upstream: Upstream, *, check: bool) -> tuple[str, ...]:
    """Warn of environments that hold a source of the upstream, and in it its password."""
    readers = Baselines.of(upstream).all()
    if not readers:
        return ()
    when = "Run `upstream.clean` for it first" if check else "`upstream.clean` still takes it away"
    return (
        f"A source that reads the upstream is still there ({', '.join(readers)}), with the"
        f" password of its role. {when}.",
    )


def confirm_destroy(upstream: Upstream, confirmed: str) -> None:
    """Raise UsageError unless ``confirmed`` names the upstream, or there is nothing to destroy."""
    if confirmed != NAME and not _nothing(upstream):
        raise UsageError(
            "That the upstream is to be destroyed is not confirmed.",
            code="upstream.not-confirmed",
            why="It removes all its tables, for good; a source that reads them stalls."
            + "".join(f" {each}" for each in _still_read(upstream, check=True)),
            remedy=f"Type its name, {NAME}, when asked; off a terminal, --yes takes that name.",
        )


def _is_up(upstream: Upstream, steps: tuple[Step, ...]) -> Outcome:
    record = upstream.record()
    return Outcome(
        summary=f"Published: {counted(record.tables)}." if record else "",
        status=gravest(steps),
        steps=steps,
        data=_data(upstream),
        hint="invoke upstream.connect",
    )


def _looked_at(upstream: Upstream, tables: int, columns: str, started: tuple[Step, ...]) -> Outcome:
    """Return what there is on a server that is for somebody else to change."""
    found = upstream.foresee(tables, columns)
    steps = (*started, *found)
    if any(step.diff for step in found):
        # What was asked for is what later commands have to find.
        upstream.remember(tables, columns)
        return _to_be_done_there(upstream, tables, columns, steps)
    upstream.remember(contiguous(upstream.published()), columns)
    return _is_up(upstream, steps)


def _to_be_done_there(
    upstream: Upstream, tables: int, columns: str, steps: tuple[Step, ...]
) -> Outcome:
    error = not_adopted(upstream.found().address)
    error.remedy = (
        "Run the listed SQL on that server, as an administrator, or let the lab run it: the same"
        " command with --adopt."
    )
    script = upstream.missing_sql(tables, columns)
    return Outcome(
        status=Status.FAILED,
        steps=steps,
        text="\n".join(["To be run there with psql, as an administrator:", "", *script]),
        data={**_data(upstream), "sql": script},
        exit_code=error.exit_code,
        failure=error,
    )


def _foreseen(upstream: Upstream, tables: int, columns: str) -> tuple[Step, ...]:
    found = upstream.found()
    if found.condition is Condition.RUNNING:
        server = Step(name="server", status=Status.OK, why=_server(found))
        return (server, *upstream.foresee(tables, columns))
    diff = (f"- {_server(found)}", "+ running")
    server = Step(name="server", status=Status.WOULD_CHANGE, why=_server(found), diff=diff)
    parts = upstream.absent(tables, columns)
    if found.condition is Condition.ABSENT and upstream.provider.owned:
        state = Step(name="state", status=Status.WOULD_CHANGE, diff=("+ a server of its own",))
        return (state, server, *(_untried(part) for part in parts))
    return (
        server,
        *(Step(name=part.name, status=Status.SKIPPED, why=_UNSEEN) for part in parts),
    )


def _untried(part: Step) -> Step:
    """Say of the tables that their columns are not known to be columns yet."""
    if part.name != "tables":
        return part
    return msgspec.structs.replace(part, why="the columns cannot be tried before the server runs")


def _differences(
    upstream: Upstream, tables: int, columns: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what differs, and what is wrong besides, as a warning."""
    try:
        return upstream.look(tables, columns), ()
    except LabError as error:
        return (f"- {error.what}",), (f"{error.why} {error.remedy}".strip(),)


def _nothing(upstream: Upstream) -> bool:
    return upstream.record() is None and upstream.found().condition is Condition.ABSENT


def _published(upstream: Upstream) -> int:
    try:
        return len(upstream.published())
    except LabError:
        # There is no such database yet.
        return 0


def _server(found: Found) -> str:
    words = [found.condition.value]
    words += [found.address] if found.address else []
    words += [found.detail] if found.detail else []
    return ", ".join(words) if found.condition is not Condition.ABSENT else "no server"


def _slots(slots: Sequence[Slot]) -> str:
    active = sum(slot.active for slot in slots)
    idle = "; ".join(described(slot) for slot in slots if not slot.active)
    return f"{active} in use" + (f"; idle: {idle}" if idle else "")


def _adopted(upstream: Upstream) -> str:
    if upstream.provider.owned:
        return ""
    return " (adopted)" if upstream.changeable else " (looked at only)"


def _data(upstream: Upstream) -> dict[str, object]:
    return {"found": upstream.found(), "record": upstream.record(), "role": ROLE}


def _said(steps: Sequence[Step]) -> str:
    return "; ".join(step.why for step in steps if step.why)


def _as_table(rows: dict[str, str]) -> str:
    return table([(label, value) for label, value in rows.items() if value])
