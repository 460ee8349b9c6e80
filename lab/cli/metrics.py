"""Tasks on the server's counters, for use by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lab.cli.command import Front, command
from lab.cli.flags import whole_number

if TYPE_CHECKING:
    from lab.core.results import Outcome
    from lab.metrics.reading import Reading
    from lab.provision.metrics import Around, Moved
    from lab.targets.base import Environment

_LIMIT = "40"
_MOST_NAMED = 3
# Time comes first, and of each unit what moved most.
_UNITS = ("ns", "bytes", "count", "series")

_MATCH_HELP = "Only series with this text in their name."
_LIMIT_HELP = f"How many series to print (default: {_LIMIT})."


def _environment(front: Front) -> Environment:
    from lab.cli.environment import open_environment

    return open_environment(front.workspace, front.config().config)


@command(
    "metrics.show",
    help={
        "match": _MATCH_HELP,
        "limit": _LIMIT_HELP,
        "all": "Print every series, those at zero, too.",
    },
)
def show(front: Front, match: str = "", limit: str = _LIMIT, all: bool = False) -> Outcome:
    """Show the server's counters as they are now.

    Example: invoke metrics.show --match oracle
    """
    from lab.core.results import Outcome
    from lab.core.tables import table
    from lab.provision import metrics

    most = whole_number("--limit", limit, least=1)
    reading = metrics.read(_environment(front), match)
    chosen = [each for each in reading.series if all or each.value]
    shown = chosen if all else chosen[:most]
    rows = [(each.name, _figure(each.value, each.unit), each.kind.value) for each in shown]
    left_out = len(shown) < len(reading.series)
    return Outcome(
        text=table(rows, headers=("series", "value", "kind")) if rows else "",
        summary=_counted(len(shown), len(reading.series))
        + ("; --all prints the others, too, those at zero among them" if left_out else ""),
        warnings=(*reading.notes, _cost((reading,))),
        data={"reading": reading},
    )


@command(
    "metrics.diff",
    help={
        "around": "The command to run, in quotes; its output goes to standard error.",
        "match": _MATCH_HELP,
        "idle": "Watch the server at rest for so many seconds before, and show its own share.",
        "limit": _LIMIT_HELP,
        "all": "Print every series that moved.",
    },
)
def diff(
    front: Front,
    around: str = "",
    match: str = "",
    idle: str = "0",
    limit: str = _LIMIT,
    all: bool = False,
) -> Outcome:
    """Run a command and show what moved meanwhile.

    Example: invoke metrics.diff --around "psql -f ddl.sql" --idle 10
    """
    from lab.core.errors import ExternalError, UsageError
    from lab.core.results import Outcome, Status
    from lab.provision import metrics

    if not around:
        raise UsageError(
            "There is no command to look around.",
            code="usage.missing",
            remedy='Give it with --around, in quotes: --around "psql -f ddl.sql".',
        )
    most = whole_number("--limit", limit, least=1)
    seconds = whole_number("--idle", idle, least=0) or 0
    found = metrics.around(_environment(front), around, match, seconds, front.progress)
    moved = sorted(found.moved, key=_rank)
    shown = moved if all else moved[:most]
    failure = None
    if found.exit_code:
        failure = ExternalError(
            f"The command ended with {found.exit_code}: {around}",
            code="metrics.command-failed",
            why="What it printed stands above. What moved until then is shown all the same.",
            remedy="Remove the cause and run the same command again.",
        )
    return Outcome(
        status=Status.FAILED if failure else Status.OK,
        text=_moved_table(shown, watched=bool(seconds)),
        summary=(
            f"{_counted(len(shown), len(moved))} that moved in {found.duration_ns / 1e9:,.2f} s; "
            f"the command ended with {found.exit_code}."
        ),
        warnings=_warnings(found, watched=bool(seconds)),
        data=found,
        failure=failure,
        exit_code=failure.exit_code if failure else 0,
    )


@command(
    "metrics.save",
    help={
        "to": "The file to write; a page of metrics is compressed by gzip.",
        "force": "Replace the file where it is there already.",
    },
    changes=True,
)
def save(front: Front, to: str = "", force: bool = False) -> Outcome:
    """Write all that the server tells of its counters to a file.

    Example: invoke metrics.save --to metrics.txt.gz
    """
    import msgspec

    from lab.core.errors import UsageError
    from lab.provision import metrics

    if not to:
        raise UsageError(
            "There is no file to write to.",
            code="usage.missing",
            remedy="Give it with --to.",
        )
    path = Path(to).expanduser()
    outcome = metrics.save(_environment(front), path, force=force, check=front.check)
    if front.check:
        return outcome
    cost = (
        f"it took {outcome.data['cost_ns'] / 1e6:,.0f} ms to read {outcome.data['bytes']:,} bytes"
    )
    return msgspec.structs.replace(outcome, warnings=(f"{cost}: not to be done while measuring.",))


def _rank(moved: Moved) -> tuple[int, float, str]:
    unit = _UNITS.index(moved.unit) if moved.unit in _UNITS else len(_UNITS)
    return unit, -abs(moved.amount - (moved.idle or 0.0)), moved.name


def _moved_table(moved: Sequence[Moved], *, watched: bool) -> str:
    from lab.core.tables import table

    rows = []
    for each in moved:
        row = [each.name, _figure(each.amount, each.unit)]
        if watched:
            idle = each.idle or 0.0
            row += [_figure(idle, each.unit), _figure(each.amount - idle, each.unit)]
        rows.append(row)
    headers = ["series", "moved", *(["of that at rest", "left"] if watched else [])]
    return table(rows, headers=headers) if rows else ""


def _warnings(found: Around, *, watched: bool) -> tuple[str, ...]:
    said = [*found.before.notes, _cost((found.before, found.after))]
    if not watched:
        said.append("The server's own work is in these figures; --idle SECONDS tells how much.")
    if found.vanished:
        named = ", ".join(found.vanished[:_MOST_NAMED])
        said.append(f"{len(found.vanished):,} series vanished meanwhile, such as {named}.")
    return tuple(said)


def _cost(readings: Iterable[Reading]) -> str:
    taken = [*readings]
    cost = f"{sum(each.cost_ns for each in taken) / 1e6:,.1f} ms"
    size = sum(each.bytes for each in taken)
    page = f" and {size:,} bytes of the server's page" if size else ""
    times = "Reading this" if len(taken) == 1 else f"Reading {len(taken)} times"
    return f"{times} took {cost}{page}: not to be done while measuring."


def _counted(shown: int, there: int) -> str:
    return f"{shown:,} series" if shown == there else f"{shown:,} of {there:,} series"


def _figure(value: float, unit: str) -> str:
    from lab.notebook.figures import amount, ms

    if unit == "ns":
        return f"{ms(value)} ms"
    if unit == "series":
        return f"{value:,.0f} series"
    return amount(value, unit)
