"""The environment as a step, and what can be said of it: status, verification, reset."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from lab.core.errors import LabError, StateMismatchError, UsageError
from lab.core.progress import Progress, SilentProgress
from lab.core.results import Check, Outcome, Status, Step
from lab.core.tables import table
from lab.provision.failures import explained
from lab.provision.steps import Look, converge
from lab.targets.base import AS_DECLARED, Environment, Launch, ObjectCounts, Phase, Situation

_PURPOSE = "provision"


class EnvironmentStep(msgspec.Struct, frozen=True, kw_only=True):
    """The environment runs, on its state as it is. It is found, adopted or started; never reset.

    With ``as_declared`` a server that runs with other settings than are declared is restarted;
    otherwise it is taken as it runs. ``launch`` says how one is started that does not run.
    """

    environment: Environment
    as_declared: bool = False
    launch: Launch = AS_DECLARED

    @property
    def name(self) -> str:
        """``environment``."""
        return "environment"

    def look(self) -> Look:
        """Find out whether it runs, answers, and is the lab's own."""
        situation = self.environment.inspect()
        running = f"running on state {situation.state}"
        found = in_short(situation)
        if situation.phase is Phase.FOREIGN:
            return Look(declared=running, found=found, obstacle=foreign(situation))
        if situation.phase is Phase.RUNNING:
            silence = self._silence()
            if not silence and self.launch.build:
                # Whether it is the build that is asked for, the target can tell.
                self.environment.start(SilentProgress(), self.launch)
            if not silence:
                diff = situation.drift if self.as_declared else ()
                return Look(declared=running, found=_with_drift(found, situation), diff=diff)
            found = f"{found}, does not answer: {silence}"
        return Look(declared=running, found=found, diff=(f"- {found}", f"+ {running}"))

    def apply(self, progress: Progress) -> str:
        """Start it, or wait for it to answer; errors are those of `Environment.start`."""
        stopped: tuple[Step, ...] = ()
        if self.as_declared and self.environment.inspect().drift:
            stopped = self.environment.stop(progress)
        return _said((*stopped, *self.environment.start(progress, self.launch)))

    def _silence(self) -> str:
        """Say why a server that runs does not answer, as during a recovery; empty where it does."""
        try:
            self.environment.connect(_PURPOSE).close()
        except LabError as error:
            return f"{error.what} {error.why}".rstrip()
        return ""


def start(
    environment: Environment, *, check: bool, progress: Progress, launch: Launch = AS_DECLARED
) -> Outcome:
    """Find, adopt or start the server, and report what is there then.

    Raises
    ------
    StateMismatchError
        Another build runs than ``launch`` asks for.
    """
    step = EnvironmentStep(environment=environment, launch=launch)
    steps = converge((step,), check=check, progress=progress).require()
    return msgspec.structs.replace(report(environment), steps=steps, status=steps[0].status)


def no_builds(environment: Environment) -> UsageError:
    """Return the error for a target that has only the one build which is installed."""
    return UsageError(
        f"The target {environment.target} has no builds to choose from.",
        code="build.none",
        why="It runs the one that is installed.",
        remedy="Builds are of targets that are compiled from a checkout.",
    )


def counts_of(environment: Environment) -> ObjectCounts:
    """Count the user objects of a running environment; errors are those of `explained`."""
    with (
        explained(environment),
        contextlib.closing(environment.connect(_PURPOSE)) as connection,
    ):
        return environment.count_objects(connection)


def stop(environment: Environment, *, check: bool, progress: Progress) -> Outcome:
    """Stop what the lab started and keep the state; ``ok`` where nothing runs.

    A server that the lab did not start is left alone.
    """
    situation = environment.inspect()
    found = in_short(situation)
    diff = (f"- {found}", "+ stopped, state kept")
    if situation.phase is Phase.FOREIGN or situation.adopted:
        step = _step(Status.SKIPPED, f"{found}: left alone, the lab did not start it")
    elif situation.phase is not Phase.RUNNING:
        # What the server left behind, or what it is made of besides, may run all the same.
        steps = () if check or situation.phase is Phase.ABSENT else environment.stop(progress)
        ended = [each for each in steps if each.status is Status.CHANGED]
        status = Status.CHANGED if ended else Status.OK
        step = _step(status, _said(ended) or f"nothing runs: {found}")
    elif check:
        step = _step(Status.WOULD_CHANGE, found, diff)
    else:
        said = _said(environment.stop(progress))
        after = environment.inspect()
        if after.phase is Phase.RUNNING:
            raise StateMismatchError(
                f"The environment {environment.state} still runs after it was stopped.",
                code="environment.still-running",
                why=in_short(after),
                remedy="`env.status` and `env.logs` show what is at work.",
            )
        step = _step(Status.CHANGED, said or in_short(after), diff)
    return Outcome(status=step.status, steps=(step,), data={"situation": environment.inspect()})


def report(environment: Environment) -> Outcome:
    """Say what is there: process, build, state, object counts, age. Changes nothing."""
    situation = environment.inspect()
    counts: ObjectCounts | None = None
    warnings: tuple[str, ...] = ()
    if situation.phase in (Phase.RUNNING, Phase.FOREIGN):
        try:
            counts = counts_of(environment)
        except LabError as error:
            warnings = (f"It does not answer: {error.what} {error.why}".rstrip(),)
    return Outcome(
        text=describe(situation, counts),
        data={"situation": situation, "objects": counts},
        warnings=warnings,
        hint="" if counts is not None else "invoke env.start",
    )


def describe(situation: Situation, counts: ObjectCounts | None) -> str:
    """Return a situation as a table for people."""
    process = situation.process
    rows = {
        "target": situation.target,
        "state": situation.state,
        "phase": situation.phase.value,
        "build": situation.build,
        "process": f"pid {process.pid}, {process.executable}" if process else "",
        "address": situation.address,
        "running for": age(situation.started),
        "objects": counted(counts) if counts else "",
        "directory": situation.directory,
        "note": situation.detail,
    }
    return table([(label, value) for label, value in rows.items() if value])


def verify(environment: Environment, objects: int | None) -> Outcome:
    """Prove that the environment can be measured: one table of checks and one verdict.

    ``objects`` is the exact number of user objects that must be there; None where any will do.
    Where a check fails the outcome is ``failed`` with the exit code of a state mismatch.
    """
    checks = environment.verify(objects)
    failed = [check for check in checks if not check.passed]
    rows = [
        ("passed" if check.passed else "FAILED", check.name, check.found, check.expected)
        for check in checks
    ]
    verdict = (
        f"{len(failed)} of {len(checks)} checks failed: not fit for measuring."
        if failed
        else f"All {len(checks)} checks passed."
    )
    return Outcome(
        summary=verdict,
        status=Status.FAILED if failed else Status.OK,
        text=table(rows, headers=("", "check", "found", "expected")),
        data={"checks": checks, "passed": not failed},
        hint=remedies(failed),
        exit_code=StateMismatchError.exit_code if failed else 0,
    )


def remedies(checks: Iterable[Check]) -> str:
    """Return what to do about ``checks`` that failed, each remedy once."""
    return " ".join(dict.fromkeys(check.remedy for check in checks if check.remedy))


def reset(
    environment: Environment, *, because: str, confirmed: str, check: bool, progress: Progress
) -> Outcome:
    """Destroy the state of ``environment``, for a reason and on a confirmation that names it.

    Under ``check`` no confirmation is needed.

    Raises
    ------
    UsageError
        No reason was given, or ``confirmed`` is not the state's name.
    StateMismatchError
        The lab did not make what runs there.

    """
    situation = confirm_reset(
        environment, because=because, confirmed=environment.state if check else confirmed
    )
    diff = (f"- state {environment.state} with all its objects ({situation.directory})",)
    if situation.phase is Phase.ABSENT:
        step = _step(Status.OK, f"state {environment.state} does not exist")
    elif check:
        step = _step(Status.WOULD_CHANGE, in_short(situation), diff)
    else:
        environment.reset(progress)
        _require_absent(environment)
        step = _step(Status.CHANGED, f"destroyed: {because.strip()}", diff)
    return Outcome(
        status=step.status,
        steps=(step,),
        data={"state": environment.state, "because": because.strip(), "situation": situation},
        hint="invoke lab.up" if step.status is Status.CHANGED else "",
    )


def confirm_reset(environment: Environment, *, because: str, confirmed: str) -> Situation:
    """Return what a reset would destroy, once it has a reason and a confirmation.

    Nothing is changed, so that callers can keep the reason before the state is gone. Where there is
    no state nothing is to be confirmed.

    Raises
    ------
    UsageError
        No reason was given, or ``confirmed`` is not the state's name.
    StateMismatchError
        The lab did not make what runs there.

    """
    if not because.strip():
        raise UsageError(
            "A reset needs a reason.",
            code="reset.no-reason",
            why="The reason is kept with the investigation: later readers will ask.",
            remedy="Give it with --because.",
        )
    situation = environment.inspect()
    if situation.phase is Phase.FOREIGN or situation.adopted:
        raise foreign(situation)
    if situation.phase is not Phase.ABSENT and confirmed != environment.state:
        raise UsageError(
            f"The reset of state {environment.state} is not confirmed.",
            code="reset.not-confirmed",
            why="It destroys all objects of that state, for good.",
            remedy="Type the state's name when asked; off a terminal, --yes takes that name.",
        )
    return situation


def _require_absent(environment: Environment) -> None:
    after = environment.inspect()
    if after.phase is not Phase.ABSENT:
        raise StateMismatchError(
            f"State {environment.state} is still there after its reset.",
            code="reset.not-converged",
            why=in_short(after),
            remedy="`env.status` shows what is left.",
        )


def _said(steps: Sequence[Step]) -> str:
    return "; ".join(step.why for step in steps if step.why)


def _step(status: Status, why: str, diff: tuple[str, ...] = ()) -> Step:
    return Step(name="environment", status=status, why=why, diff=diff)


def foreign(situation: Situation) -> StateMismatchError:
    """Return the error for what the lab did not start."""
    return StateMismatchError(
        f"What runs at {situation.address or situation.directory} was not started by this lab.",
        code="environment.foreign",
        why=situation.detail or "Its process is not one that the lab has written down.",
        remedy="Stop it yourself, or give this workspace a port and a state of its own.",
    )


def in_short(situation: Situation) -> str:
    """Return phase, state, process and address of a situation in one line."""
    if situation.phase is Phase.ABSENT:
        return f"no state {situation.state}"
    words = [f"{situation.phase.value} on state {situation.state}"]
    if situation.phase in (Phase.RUNNING, Phase.FOREIGN):
        words += [f"pid {situation.process.pid}"] if situation.process else []
        words += [situation.address] if situation.address else []
    return ", ".join(words)


def _with_drift(found: str, situation: Situation) -> str:
    return f"{found}, with other settings than are declared" if situation.drift else found


def counted(counts: ObjectCounts) -> str:
    """Return exact counts for people: ``12 (10 table, 2 view)``."""
    types = ", ".join(f"{number:,} {name}" for name, number in sorted(counts.by_type.items()))
    return f"{counts.total:,}{f' ({types})' if types else ''}"


def age(started: str) -> str:
    """Return for how long what ``started`` then (ISO 8601) has run; empty for no time."""
    if not started:
        return ""
    minutes = int((datetime.now(UTC) - datetime.fromisoformat(started)).total_seconds() // 60)
    days, rest = divmod(minutes, 24 * 60)
    hours, minutes = divmod(rest, 60)
    parts = [f"{days} d"] if days else []
    parts += [f"{hours} h"] if days or hours else []
    return f"{' '.join([*parts, f'{minutes} min'])}, since {started}"
