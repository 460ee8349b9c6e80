"""The declared lab: brought about, compared with what is, and taken down."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lab.core.config import Config
from lab.core.errors import LabError
from lab.core.progress import Progress
from lab.core.results import Outcome, Status, gravest
from lab.core.tables import table
from lab.provision import environment as environments
from lab.provision.environment import EnvironmentStep
from lab.provision.population import PopulationStep
from lab.provision.steps import DeclaredStep, Look, converge
from lab.provision.upstream import declared_step, stop
from lab.provision.variables import VariablesStep
from lab.targets.base import Environment
from lab.upstream.upstream import Upstream


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One declared part against what is found of it.

    ``status`` is ``ok``, ``would change``, ``failed`` (``lab.up`` would fail on it) or ``unknown``.
    """

    name: str
    declared: str
    found: str
    status: Status
    why: str = ""
    diff: tuple[str, ...] = ()


def declared_steps(
    environment: Environment, config: Config, upstream: Upstream | None = None
) -> tuple[DeclaredStep, ...]:
    """Return what ``config`` declares, in the order in which it is brought about."""
    steps: list[DeclaredStep] = [EnvironmentStep(environment=environment, as_declared=True)]
    variables = environment.variables
    if variables is not None and variables.declared:
        steps.append(VariablesStep(environment=environment, variables=variables))
    declared = config.population
    if declared.count is not None:
        steps.append(
            PopulationStep(
                environment=environment,
                count=declared.count,
                kind=declared.kind,
                schema=declared.schema,
            )
        )
    if upstream is not None and config.upstream.tables is not None:
        steps.append(declared_step(upstream, config.upstream))
    return tuple(steps)


def up(
    environment: Environment,
    config: Config,
    *,
    check: bool,
    diff: bool,
    progress: Progress,
    upstream: Upstream | None = None,
) -> Outcome:
    """Bring about what ``config`` declares; under ``check`` say what that would do.

    A step that fails ends it: the outcome carries the error, with its exit code, beside the steps,
    and running it again goes on from there. The steps carry their differences only with ``diff``.
    """
    declared = declared_steps(environment, config, upstream)
    converged = converge(declared, check=check, progress=progress)
    steps = converged.steps
    if not diff:
        steps = tuple(msgspec.structs.replace(step, diff=()) for step in steps)
    error = converged.error
    return Outcome(
        status=gravest(steps),
        steps=steps,
        exit_code=error.exit_code if error else 0,
        failure=error,
    )


def status(environment: Environment, config: Config, upstream: Upstream | None = None) -> Outcome:
    """Compare what ``config`` declares with what is; change nothing.

    A difference is a finding and no failure: the exit code is 0.
    """
    parts = [_compared(step) for step in declared_steps(environment, config, upstream)]
    differing = [part for part in parts if part.status is not Status.OK]
    return Outcome(
        summary=_verdict(parts, differing),
        status=Status.WOULD_CHANGE if differing else Status.OK,
        text="\n".join([_as_table(parts), *_details(differing)]),
        data={"parts": parts},
        hint="invoke lab.up" if differing else "",
    )


def down(
    environment: Environment,
    *,
    check: bool,
    progress: Progress,
    upstream: Upstream | None = None,
) -> Outcome:
    """Stop what the lab started, and keep the states; ``ok`` where nothing runs.

    The upstream goes last: what reads it has ended then.
    """
    stopped = environments.stop(environment, check=check, progress=progress)
    if upstream is None:
        return stopped
    steps = (*stopped.steps, stop(upstream, check=check, progress=progress))
    data = {**stopped.data, "upstream": upstream.found()}
    return Outcome(status=gravest(steps), steps=steps, data=data)


def _compared(step: DeclaredStep) -> Part:
    try:
        look = step.look()
    except LabError as error:
        return Part(
            name=step.name, declared="", found="", status=Status.UNKNOWN, why=_in_full(error)
        )
    return Part(
        name=step.name,
        declared=look.declared,
        found=look.found,
        status=_status(look),
        why=_in_full(look.obstacle) if look.obstacle else look.unknown,
        diff=look.diff,
    )


def _status(look: Look) -> Status:
    if look.obstacle is not None:
        return Status.FAILED
    if look.diff:
        return Status.WOULD_CHANGE
    return Status.UNKNOWN if look.unknown else Status.OK


def _as_table(parts: Sequence[Part]) -> str:
    rows = [(part.name, part.declared, part.found, part.status.value) for part in parts]
    return table(rows, headers=("part", "declared", "found", "status"))


def _details(differing: Sequence[Part]) -> list[str]:
    lines: list[str] = []
    for part in differing:
        lines += ["", f"{part.name}: {part.why}" if part.why else f"{part.name}:"]
        lines += [f"  {line}" for line in part.diff]
    return lines


def _verdict(parts: Sequence[Part], differing: Sequence[Part]) -> str:
    if not differing:
        return "Everything is as declared."
    return f"{len(differing)} of {len(parts)} parts are not, or not known to be, as declared."


def _in_full(error: LabError) -> str:
    return " ".join(filter(None, (error.what, error.why, error.remedy)))
