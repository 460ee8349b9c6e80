"""Batches within a session: what they need of the upstream, what is foreseen, and the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from lab.core.config import BatchConfig, Config
from lab.core.errors import StateMismatchError
from lab.core.results import Check, Status, Step, gravest
from lab.measure.batch_plan import make_batch_plan, require_tables, transactions
from lab.measure.batch_record import BatchPlan
from lab.measure.record import Run
from lab.provision.environment import remedies
from lab.provision.sourcing import connect_source, drop_leftovers
from lab.servers.records import Condition
from lab.session.context import Context
from lab.session.opening import MeasureOptions
from lab.targets.base import Phase
from lab.upstream.assembly import open_upstream
from lab.upstream.base import DATABASE, Link
from lab.upstream.record import UpstreamRecords
from lab.upstream.tables import require_count
from lab.upstream.upstream import Upstream

_WOULD = Status.WOULD_CHANGE


def batch_settings(config: Config, options: MeasureOptions) -> BatchConfig:
    """Return the settings of ``[batch]`` with the options that were given on top."""
    settings = config.batch
    return msgspec.structs.replace(
        settings,
        sizes=options.sizes or settings.sizes,
        repetitions=options.repetitions or settings.repetitions,
        sweep=options.sweep or settings.sweep,
    )


def batch_plan(context: Context, options: MeasureOptions) -> BatchPlan:
    """Return the plan that ``options`` and the configuration describe; needs no server.

    Raises
    ------
    UsageError
        As `lab.measure.batch_plan.make_batch_plan`.
    """
    # How the statement is called follows from the target alone.
    for published in options.sweep or ():
        require_count(published, "--upstream-sweep")
    nowhere = Link(host="", port=0, database=DATABASE, password="", tables=0)
    sourcing = context.environment.sourcing(nowhere, context.config.upstream.cluster)
    return make_batch_plan(batch_settings(context.config, options), sourcing.statement)


def require_supply(context: Context, options: MeasureOptions) -> MeasureOptions:
    """Refuse batches that the upstream has too few tables for; starts and changes nothing.

    At a terminal it is asked whether they may be added: the options returned say so then.

    Raises
    ------
    UsageError
        The plan makes no sense.
    PreconditionError
        No upstream was ever brought up, or a sweep would change a server that is not adopted.
    StateMismatchError
        It publishes too few tables, and may not be grown.
    """
    plan = batch_plan(context, options)
    upstream = _upstream(context)
    if plan.sweep:
        upstream.require_sweepable()
    published = _published(context, upstream)
    if options.grow:
        return options
    try:
        require_tables(plan, published)
    except StateMismatchError as refusal:
        missing = plan.tables_needed - len(published)
        if not context.confirm(f"{refusal.what} Add {missing:,} to the upstream?"):
            raise
        return msgspec.structs.replace(options, grow=True)
    return options


def drop_left_tables(context: Context) -> tuple[Step, ...]:
    """Drop what interrupted batches left, which would keep the environment from being verified."""
    return drop_leftovers(
        context.environment,
        _upstream(context),
        context.config.upstream.cluster,
        context.progress,
    )


def take_batches(
    context: Context, options: MeasureOptions, session: int, *, keep: bool
) -> tuple[Run, list[Step]]:
    """Make upstream and source ready, and measure; ``session`` is 0 where it belongs to none.

    To be called with the environment running. The tables are dropped afterwards unless ``keep``.
    Returns what was done before the measurement, too.

    Raises
    ------
    LabError
        As upstream, source and `lab.measure.batch_runner.measure_batches` say.
    """
    from lab.measure.batch_runner import measure_batches

    plan = batch_plan(context, options)
    upstream = _upstream(context)
    steps = [_ready_upstream(context, upstream, plan, grow=bool(options.grow))]
    steps.append(_connect_source(context, upstream, check=False))
    run = measure_batches(
        context.environment,
        upstream,
        context.config.upstream.cluster,
        plan,
        session=session,
        progress=context.progress,
        keep=keep,
    )
    return run, steps


def _ready_upstream(context: Context, upstream: Upstream, plan: BatchPlan, *, grow: bool) -> Step:
    """Start the upstream where the lab owns it, and prove that it fits; grow it only if asked."""
    said = []
    if upstream.provider.owned and upstream.found().condition is not Condition.RUNNING:
        said += [step.why for step in upstream.start(context.progress) if step.why]
    published = upstream.published()
    if grow and len(published) < plan.tables_needed:
        upstream.provision(plan.tables_needed, upstream.columns(), context.progress)
        said.append(f"{plan.tables_needed - len(published):,} tables added")
        published = upstream.published()
    status = Status.CHANGED if said else Status.OK
    require_tables(plan, published)
    checks = upstream.verify(None)
    failed = [check for check in checks if not check.passed]
    if failed:
        raise _unfit(failed)
    said.append(f"{len(published):,} tables published, {len(checks)} checks passed")
    return Step(name="upstream", status=status, why="; ".join(said))


def _connect_source(context: Context, upstream: Upstream, *, check: bool) -> Step:
    steps = connect_source(
        context.environment,
        upstream,
        context.config.upstream.cluster,
        check=check,
        progress=context.progress,
    )
    why = "; ".join(step.why for step in steps if step.why)
    diff = tuple(line for step in steps for line in step.diff)
    return Step(name="source", status=gravest(steps), why=why, diff=diff if check else ())


def failed_text(failed: Sequence[Check]) -> str:
    """Return what was found where something else was expected, in one line."""
    return "; ".join(
        f"{check.name}: {check.found}" + (f", expected {check.expected}" if check.expected else "")
        for check in failed
    )


def foresee_batches(context: Context, options: MeasureOptions) -> tuple[list[Step], dict[str, Any]]:
    """Say what batches would take, as steps and as data; connects to nothing that does not run.

    Raises
    ------
    UsageError, PreconditionError, StateMismatchError
        As `require_supply`.
    """
    plan = batch_plan(context, options)
    upstream = _upstream(context)
    if plan.sweep:
        upstream.require_sweepable()
    published = _published(context, upstream)
    needed = plan.tables_needed
    if not options.grow:
        require_tables(plan, published)
    statements = needed + len(plan.sweep) * plan.repetitions * plan.sweep_size
    steps = [
        _foresee_upstream(upstream, missing=needed - len(published)),
        _foresee_source(context, upstream),
        Step(
            name="measure",
            status=_WOULD,
            why=f"{_plan_text(plan)}: {statements:,} statements, "
            f"{needed:,} tables needed, {len(published):,} published",
        ),
    ]
    data = {
        "statements": (plan.statement,),
        "least_statements": statements,
        "transactions": transactions(plan),
        "tables_needed": needed,
        "tables_published": len(published),
    }
    return steps, data


def _foresee_upstream(upstream: Upstream, *, missing: int) -> Step:
    found = upstream.found()
    running = found.condition is Condition.RUNNING
    why = found.condition.value + (f" at {found.address}" if found.address else "")
    if not running and upstream.provider.owned:
        why += "; would be started"
    diff = (f"+ {missing:,} tables",) if missing > 0 else ()
    return Step(
        name="upstream", status=_WOULD if diff or not running else Status.OK, why=why, diff=diff
    )


def _foresee_source(context: Context, upstream: Upstream) -> Step:
    ready = (
        context.environment.inspect().phase is Phase.RUNNING
        and upstream.found().condition is Condition.RUNNING
    )
    if not ready:
        return Step(name="source", status=_WOULD, why="would be connected where it is not")
    return _connect_source(context, upstream, check=True)


def _plan_text(plan: BatchPlan) -> str:
    swept = len(plan.sweep) * plan.repetitions
    text = (
        f"{transactions(plan) - swept:,} transactions of {_listed(plan.sizes)} {plan.statement}, "
        f"{plan.repetitions:,} of each size"
    )
    if not swept:
        return text
    return f"{text}, and {swept:,} of {plan.sweep_size:,} at {_listed(plan.sweep)} published tables"


def _listed(numbers: Sequence[int]) -> str:
    *others, last = [f"{number:,}" for number in numbers]
    return f"{', '.join(others)} and {last}" if others else last


def _upstream(context: Context) -> Upstream:
    """Open the upstream that was brought up."""
    UpstreamRecords.of(context.workspace).require()
    return open_upstream(context.workspace, context.config)


def _published(context: Context, upstream: Upstream) -> frozenset[int]:
    """Return what the upstream publishes; where it does not run, what it did when last seen."""
    if upstream.found().condition is Condition.RUNNING:
        return upstream.published()
    return frozenset(range(1, UpstreamRecords.of(context.workspace).require().tables + 1))


def _unfit(failed: Sequence[Check]) -> StateMismatchError:
    return StateMismatchError(
        "The upstream is not fit to be read by a source.",
        code="upstream.unfit",
        why=failed_text(failed),
        remedy=remedies(failed),
    )
