"""System variables: shown, set, brought to what is declared, and restored after a session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from lab.core.errors import LabError, UsageError
from lab.core.progress import Progress
from lab.core.results import Outcome, Status, Step, gravest
from lab.core.tables import table
from lab.provision.steps import Look
from lab.targets.base import Environment, Phase
from lab.targets.changes import DECLARED, aims, for_sessions
from lab.targets.parts import Variable, Variables

SETTING = "env.set"
RESTORING = "session.finish"
_DEFAULT = "its default"


class VariablesStep(msgspec.Struct, frozen=True, kw_only=True):
    """The system variables have the values that are declared.

    A limit that seeding had to raise above what is declared stays as it is.
    """

    environment: Environment
    variables: Variables

    @property
    def name(self) -> str:
        """``variables``."""
        return "variables"

    def look(self) -> Look:
        """Read the declared variables; that needs an environment that runs."""
        aimed = aims(self.variables.changes(), self.variables.declared)
        declared = _listed(aimed)
        phase = self.environment.inspect().phase
        if phase in (Phase.ABSENT, Phase.STOPPED, Phase.CRASHED):
            return Look(
                declared=declared,
                found="not known",
                unknown="system variables can be read only when the environment runs",
            )
        found = {each.name: each.value for each in self.variables.read(tuple(aimed))}
        unlike = [name for name in aimed if found[name] != aimed[name]]
        return Look(
            declared=declared,
            found=_listed(found),
            diff=tuple(
                line
                for name in unlike
                for line in (f"- {name} = {found[name]}", f"+ {name} = {aimed[name]}")
            ),
        )

    def apply(self, progress: Progress) -> str:
        """Set those that differ; errors are those of `Variables.set`."""
        aimed = aims(self.variables.changes(), self.variables.declared)
        said = []
        for each in self.variables.read(tuple(aimed)):
            if each.value != aimed[each.name]:
                given = self.variables.declared[each.name]
                before, after = self.variables.set(each.name, given, by=DECLARED)
                said.append(as_change(before, after))
        return "; ".join(said)


def read(environment: Environment, names: Sequence[str], match: str) -> Outcome:
    """Show the variables of these names, or all; with ``match`` only those whose names hold it.

    Raises
    ------
    UsageError
        There are no system variables, or none of that name.
    PreconditionError, ExternalError
        Nothing runs, or it does not answer.
    """
    variables = require_variables(environment)
    found = [each for each in variables.read(names) if match in each.name]
    expected = variables.expected()
    rows = [(each.name, each.value, _expectation(each, expected)) for each in found]
    return Outcome(
        text=table(rows, headers=("variable", "value", "")) if rows else "",
        summary="" if rows else f"No system variable has {match!r} in its name.",
        data={"variables": found, "expected": expected},
    )


def set_variables(
    environment: Environment, wanted: Mapping[str, str | None], *, session: str, check: bool
) -> Outcome:
    """Set variables, None for the default; show each before and after.

    ``session`` is the id of the session that they are set for; empty where they are to stay. One
    that is refused ends it: the outcome carries the error beside the steps.

    Raises
    ------
    UsageError
        There are no system variables, or none of that name.
    PreconditionError, ExternalError
        Nothing runs, or it does not answer.
    """
    variables = require_variables(environment)
    before = variables.read(tuple(wanted))
    expected = variables.expected()
    steps: list[Step] = []
    failure: LabError | None = None
    for each in before:
        value = wanted[each.name]
        settled = each.value == value == expected.get(each.name)
        try:
            if check or settled:
                steps.append(_foreseen(each, value))
            else:
                steps.append(_set(variables, each.name, value, session))
        except LabError as error:
            failure = error
            steps.append(Step(name=each.name, status=Status.FAILED, why=error.what))
            break
    return Outcome(
        status=gravest(steps),
        steps=tuple(steps),
        data={"before": before, "after": () if failure else variables.read(tuple(wanted))},
        exit_code=failure.exit_code if failure else 0,
        failure=failure,
    )


def restore_for_session(environment: Environment, *, but: str = "") -> tuple[Step, ...]:
    """Give back the values that variables had before they were set for a session.

    Those that were set for the session with the id ``but`` stay. Nothing where none were, or where
    they were set otherwise since. Idempotent: what is restored is recorded only then. Where nothing
    runs it is skipped, and the next call does it.

    Raises
    ------
    ExternalError
        The server refuses it, or went away.
    """
    variables = environment.variables
    before = for_sessions(variables.changes(), but=but) if variables else {}
    if variables is None or not before:
        return ()
    if environment.inspect().phase is not Phase.RUNNING:
        why = f"nothing runs: {', '.join(before)} will be given back at the next session"
        return (Step(name="variables", status=Status.SKIPPED, why=why),)
    said = [as_change(*variables.set(name, value, by=RESTORING)) for name, value in before.items()]
    return (Step(name="variables", status=Status.CHANGED, why="; ".join(said)),)


def require_variables(environment: Environment) -> Variables:
    """Return the environment's system variables.

    Raises
    ------
    UsageError
        It has none (``variables.none``).
    """
    if environment.variables is None:
        raise UsageError(
            f"The target {environment.target} has no system variables.",
            code="variables.none",
            why="Its settings are declared in lab.toml, in the target's own section.",
            remedy=f"Set them under `settings` in [{environment.target}] of lab.toml; `lab.up` "
            "brings them into effect.",
        )
    return environment.variables


def as_change(before: Variable, after: Variable) -> str:
    """Return ``max_tables 200 → 5000``."""
    return f"{before.name} {_shown(before.value)} → {_shown(after.value)}"


def _set(variables: Variables, name: str, value: str | None, session: str) -> Step:
    before, after = variables.set(name, value, by=SETTING, session=session)
    if before == after:
        return Step(name=name, status=Status.OK, why=f"is {_shown(after.value)}")
    why = f"{_shown(before.value)} → {_shown(after.value)}"
    kept = " until the session ends" if session else ""
    return Step(name=name, status=Status.CHANGED, why=why + kept, diff=_diff(before, after.value))


def _foreseen(now: Variable, value: str | None) -> Step:
    if now.value == value:
        return Step(name=now.name, status=Status.OK, why=f"is {_shown(now.value)}")
    return Step(
        name=now.name,
        status=Status.WOULD_CHANGE,
        why=f"{_shown(now.value)} → {_DEFAULT if value is None else value}",
        diff=_diff(now, _DEFAULT if value is None else value),
    )


def _diff(before: Variable, after: str) -> tuple[str, str]:
    return f"- {before.name} = {before.value}", f"+ {before.name} = {after}"


def _expectation(found: Variable, expected: Mapping[str, str]) -> str:
    if found.name not in expected:
        return ""
    value = expected[found.name]
    return "as declared or set" if value == found.value else f"expected: {_shown(value)}"


def _listed(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in values.items())


def _shown(value: str) -> str:
    return value or "(empty)"
