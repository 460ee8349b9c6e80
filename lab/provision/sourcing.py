"""The source by which an environment reads the upstream: made, and taken away without a trace."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

import msgspec
import psycopg

from lab.core.errors import LabError
from lab.core.progress import Progress
from lab.core.results import Check, Outcome, Status, Step, gravest
from lab.provision.baseline import (
    Baseline,
    Baselines,
    Replication,
    new_slots,
    objects_compared,
    objects_now,
    picture,
    replication_compared,
    replication_now,
)
from lab.provision.failures import explained
from lab.provision.upstream import verdict
from lab.servers.connection import Connection
from lab.servers.records import Condition
from lab.targets.base import Environment
from lab.targets.parts import Sourcing
from lab.upstream.checks import described
from lab.upstream.record import missing
from lab.upstream.swept import Standing
from lab.upstream.tables import counted
from lab.upstream.upstream import Upstream

_PURPOSE = "upstream.connect"
_SETTLE_S = 20.0
"""For how long slots, WAL senders and sessions are waited for that go away by themselves."""
_POLL_S = 0.25
_UNPROVEN = "not everything is proven to be back where it was"


def connect(
    environment: Environment,
    upstream: Upstream,
    cluster: str,
    *,
    check: bool,
    progress: Progress,
) -> Outcome:
    """Make the source in ``cluster``, and wait until it sees the published tables; idempotent.

    Raises
    ------
    LabError
        As `Sourcing.connect` says, or what its `diagnose` makes of an error.
    """
    steps = connect_source(environment, upstream, cluster, check=check, progress=progress)
    done = gravest(steps) in (Status.OK, Status.CHANGED)
    tables = upstream.link().tables
    return Outcome(
        summary=f"The source sees {counted(tables)}." if done else "",
        status=gravest(steps),
        steps=steps,
        data={"tables": tables},
        hint="invoke measure.batch" if done else "",
    )


def connect_source(
    environment: Environment,
    upstream: Upstream,
    cluster: str,
    *,
    check: bool,
    progress: Progress,
) -> tuple[Step, ...]:
    """Make the source, as `connect` does, and keep in mind how things were before."""
    sourcing = environment.sourcing(upstream.link(), cluster)
    with _connected(environment, sourcing) as connection:
        diff = sourcing.look(connection)
        if check:
            status = Status.WOULD_CHANGE if diff else Status.OK
            return (Step(name="source", status=status, why=sourcing.product, diff=diff),)
        baselines = Baselines.of(upstream)
        known = baselines.read(environment)
        if known is None or not environment.count_objects(connection).upstream:
            known = Baseline(picture(environment, connection, upstream))
            baselines.write(environment, known)
        steps = sourcing.connect(connection, progress)
        unlike = known.connected is None or gravest(steps) is Status.CHANGED
        if unlike and not sourcing.made(connection):
            now = picture(environment, connection, upstream)
            baselines.write(environment, Baseline(known.before, now))
        return steps


def clean(
    environment: Environment,
    upstream: Upstream,
    cluster: str,
    *,
    keep_source: bool,
    check: bool,
    progress: Progress,
) -> Outcome:
    """Drop the tables and, unless ``keep_source``, the source; prove that nothing is left.

    Where something is left, the outcome is ``failed`` with the exit code of a state mismatch. Where
    one side does not answer, what the other shows is proven all the same.

    Raises
    ------
    LabError
        The environment refuses a statement, or, under ``check``, does not answer.
    """
    _require_anything(environment, upstream)
    sources = _sources(environment, upstream, cluster)
    try:
        environment.connect(_PURPOSE).close()
    except LabError as error:
        if check:
            raise
        return _without_environment(environment, upstream, error, keep_source=keep_source)
    steps: list[Step] = []
    with _connected(environment, sources[0]) as connection:
        for number, sourcing in enumerate(sources):
            # A sweep's copies go whole: they are of no use once the sweep is over.
            keep = keep_source and number == 0
            steps += _dropped(sourcing, connection, keep=keep, check=check, progress=progress)
    steps += _databases_dropped(upstream, check=check)
    if check:
        steps += () if keep_source else (_source_foreseen(environment),)
        return Outcome(status=gravest(steps), steps=tuple(steps))
    return _proven(environment, upstream, tuple(steps), keep_source=keep_source, progress=progress)


def drop_leftovers(
    environment: Environment, upstream: Upstream, cluster: str, progress: Progress
) -> tuple[Step, ...]:
    """Drop the tables that interrupted runs left on a running environment; sources stay.

    Raises
    ------
    LabError
        The environment refuses a statement.
    """
    dropped = 0
    sources = _sources(environment, upstream, cluster)
    with _connected(environment, sources[0]) as connection:
        for sourcing in sources:
            if sourcing.made(connection):
                dropped += sourcing.drop_tables(connection, progress)
    if not dropped:
        return ()
    why = f"dropped {counted(dropped)} that an interrupted run had left"
    return (Step(name="tables", status=Status.CHANGED, why=why),)


def _proven(
    environment: Environment,
    upstream: Upstream,
    steps: tuple[Step, ...],
    *,
    keep_source: bool,
    progress: Progress,
) -> Outcome:
    baselines = Baselines.of(upstream)
    known = baselines.read(environment)
    if keep_source and (known is None or known.connected is None):
        return Outcome(status=gravest(steps), steps=steps, summary="The source was kept.")
    before = known.before.replication if known else None
    wanted = known and (known.connected if keep_source else known.before)
    try:
        if not keep_source and not _is_gone(upstream):
            steps = (*steps, *_orphans_dropped(environment, upstream, before))
        passing = _settled(upstream, before, keep_source=keep_source, progress=progress)
    except LabError as error:
        passing = (_unseen("upstream", error),)
    with contextlib.closing(environment.connect(_PURPOSE)) as connection, explained(environment):
        now = objects_now(environment, connection)
    checks = (*objects_compared(wanted.objects if wanted else None, now), *passing)
    if all(each.passed for each in checks) and not keep_source:
        baselines.forget(environment)
    return verdict(checks, _UNPROVEN, steps)


def _without_environment(
    environment: Environment, upstream: Upstream, error: LabError, *, keep_source: bool
) -> Outcome:
    """Prove what can be seen on the upstream; the environment does not answer."""
    known = Baselines.of(upstream).read(environment)
    before = known.before.replication if known else None
    try:
        passing = _compared(upstream, before, keep_source=keep_source)
    except LabError as silent:
        passing = (_unseen("upstream", silent),)
    skipped = tuple(
        Step(name=name, status=Status.SKIPPED, why="the environment does not answer")
        for name in (("tables",) if keep_source else ("tables", "source"))
    )
    said = verdict((_unseen("environment", error), *passing), _UNPROVEN, skipped)
    error.remedy = f"{error.remedy} Then run `upstream.clean` again."
    return msgspec.structs.replace(said, summary="", exit_code=error.exit_code, failure=error)


def _settled(
    upstream: Upstream,
    before: Replication | None,
    *,
    keep_source: bool,
    progress: Progress,
) -> tuple[Check, ...]:
    """Compare, again and again for some seconds where what differs may go away by itself."""
    deadline = time.monotonic() + _SETTLE_S
    told = False
    while True:
        checks = _compared(upstream, before, keep_source=keep_source)
        if all(each.passed for each in checks) or time.monotonic() > deadline:
            return checks
        if not told:
            progress.say("Waiting for what goes away by itself …")
            told = True
        time.sleep(_POLL_S)


def _compared(
    upstream: Upstream, before: Replication | None, *, keep_source: bool
) -> tuple[Check, ...]:
    if _is_gone(upstream):
        return (Check(name="upstream", passed=True, found="none: nothing can read it"),)
    return replication_compared(before, replication_now(upstream), kept=keep_source)


def _orphans_dropped(
    environment: Environment, upstream: Upstream, before: Replication | None
) -> tuple[Step, ...]:
    """Drop idle slots that no source uses any more, on an upstream of the lab's own."""
    if not upstream.provider.owned:
        return ()
    deadline = time.monotonic() + _SETTLE_S / 4
    # A source that was dropped takes its slots with it, a little later.
    while new_slots(before, upstream.slots()) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    others = Baselines.of(upstream).others(environment)
    # Slots that were there before may be those of another environment, which is stopped now.
    idle = new_slots(before if others else None, upstream.slots())
    # Sources are made for the lab's own databases: any other slot is somebody else's.
    own = {upstream.provider.database, *(each.database for each in upstream.swept())}
    orphans = [slot for slot in idle if not slot.active and slot.database in own]
    dropped = [slot for slot in orphans if upstream.drop_slot(slot.name)]
    if not dropped:
        return ()
    named = "; ".join(described(slot) for slot in dropped)
    return (
        Step(name="slots", status=Status.CHANGED, why=f"dropped, since no source uses it: {named}"),
    )


def _sources(environment: Environment, upstream: Upstream, cluster: str) -> tuple[Sourcing, ...]:
    """Return the sources of the upstream itself and of what sweeps left; it need not answer."""
    links = [upstream.nominal_link()]
    links += [
        upstream.nominal_link(database=each.database, name=each.name) for each in upstream.swept()
    ]
    return tuple(environment.sourcing(link, cluster) for link in links)


def _require_anything(environment: Environment, upstream: Upstream) -> None:
    """Refuse where no upstream is known, nor anything that was made from one."""
    known = upstream.record() or upstream.swept() or Baselines.of(upstream).read(environment)
    if known:
        return
    try:
        connection = environment.connect(_PURPOSE)
    except LabError:
        raise missing() from None
    with contextlib.closing(connection), explained(environment):
        if not environment.count_objects(connection).upstream:
            raise missing()


def _is_gone(upstream: Upstream) -> bool:
    """Say whether it was destroyed with its server: nothing can read it any more."""
    return upstream.record() is None and upstream.found().condition is Condition.ABSENT


def _dropped(
    sourcing: Sourcing, connection: Connection, *, keep: bool, check: bool, progress: Progress
) -> tuple[Step, ...]:
    made = sourcing.made(connection)
    count = f"{counted(len(made))} made from the upstream"
    if check:
        status = Status.WOULD_CHANGE if made else Status.OK
        diff = (f"- {count}",) if made else ()
        return (
            Step(name="tables", status=status, why="" if made else "there are none", diff=diff),
        )
    if not keep:
        return sourcing.disconnect(connection, progress)
    if not made:
        return (Step(name="tables", status=Status.OK, why="there are none"),)
    sourcing.drop_tables(connection, progress)
    return (Step(name="tables", status=Status.CHANGED, why=f"dropped {count}"),)


def _source_foreseen(environment: Environment) -> Step:
    with contextlib.closing(environment.connect(_PURPOSE)) as connection:
        there = environment.count_objects(connection).upstream
    if not there:
        return Step(name="source", status=Status.OK, why="there is none")
    return Step(
        name="source",
        status=Status.WOULD_CHANGE,
        diff=(f"- {there:,} objects by which the environment reads the upstream",),
    )


def _databases_dropped(upstream: Upstream, *, check: bool) -> tuple[Step, ...]:
    """Drop the databases that an interrupted sweep left: those alone that it is known to have made.

    Sources that read them are dropped before.
    """
    recorded = [each.database for each in upstream.swept()]
    if not recorded:
        return ()
    if _is_gone(upstream):
        for each in () if check else recorded:
            upstream.forget_swept(each)
        return ()
    if upstream.found().condition is not Condition.RUNNING:
        why = f"the upstream does not run; a sweep left {', '.join(recorded)}"
        return (Step(name="databases", status=Status.SKIPPED, why=why),)
    if not upstream.changeable:
        why = f"that server is not adopted; a sweep left {', '.join(recorded)}"
        return (Step(name="databases", status=Status.SKIPPED, why=why),)
    standings = {each: upstream.swept_standing(each) for each in recorded}
    theirs = [each for each, standing in standings.items() if standing is Standing.THEIRS]
    left = [each for each, standing in standings.items() if standing is not Standing.THEIRS]
    there = [each for each in left if standings[each] is not Standing.ABSENT]
    for each in () if check else left:
        upstream.drop_database(each)
    return (*_dropped_databases(there, check=check), *_spared(theirs))


def _dropped_databases(names: Sequence[str], *, check: bool) -> Iterator[Step]:
    if names:
        status = Status.WOULD_CHANGE if check else Status.CHANGED
        diff = tuple(f"- database {each}" for each in names)
        yield Step(name="databases", status=status, why="left by a sweep", diff=diff)


def _spared(names: Sequence[str]) -> Iterator[Step]:
    if names:
        why = f"left alone, since the mark of a sweep is not on it: {', '.join(names)}"
        yield Step(name="databases", status=Status.SKIPPED, why=why)


@contextlib.contextmanager
def _connected(environment: Environment, sourcing: Sourcing) -> Iterator[Connection]:
    """Lend a connection to the environment; errors are put into the words of ``sourcing``."""
    with (
        contextlib.closing(environment.connect(_PURPOSE)) as connection,
        explained(environment),
    ):
        try:
            yield connection
        except psycopg.Error as error:
            known = sourcing.diagnose(f"{error.sqlstate or ''} {error}".strip())
            if known is None:
                raise
            raise known from error


def _unseen(side: str, error: LabError) -> Check:
    return Check(
        name=f"{side} answers",
        passed=False,
        found=f"{error.what} {error.why}".strip(),
        expected="yes",
        remedy=f"{error.remedy} Then run `upstream.clean` again.",
    )
