"""What the sources of all targets have in common: names, references, and what is said of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from lab.core.errors import ExternalError, LabError, PreconditionError, StateMismatchError
from lab.servers.connection import Connection
from lab.targets.base import Trouble
from lab.targets.diagnosis import described
from lab.upstream.base import PREFIX, Link

if TYPE_CHECKING:
    import psycopg

UPSTREAM_SCHEMA = "ddl_lab_upstream"
"""Where the source is, and what it needs."""
BATCH_SCHEMA = "ddl_lab_batch"
"""Where the tables are that are made from it."""

MISSING = "missing"
STALLED = "stalled"
RUNNING = "running"
"""States of a source."""

_NUMBERED = re.compile(rf"{PREFIX}([1-9][0-9]{{0,8}})")
_SHOWN = 5


class Schemas(msgspec.Struct, frozen=True):
    """The schemas of one source: its own, and that of the tables made from it."""

    upstream: str
    batch: str


def schemas(name: str) -> Schemas:
    """Return the schemas of the source that reads the upstream's copy ``name``, empty for itself.

    A copy's source lies beside that of the upstream itself.
    """
    suffix = f"_{name}" if name else ""
    return Schemas(f"{UPSTREAM_SCHEMA}{suffix}", f"{BATCH_SCHEMA}{suffix}")


def is_for_upstream(schema: str) -> bool:
    """Say whether a schema is one in which sources, or tables made from them, lie."""
    return _belongs(schema, UPSTREAM_SCHEMA) or is_for_batches(schema)


def is_for_batches(schema: str) -> bool:
    """Say whether a schema is one in which tables made from sources lie."""
    return _belongs(schema, BATCH_SCHEMA)


def _belongs(schema: str, own: str) -> bool:
    return schema == own or schema.startswith(f"{own}_")


def numbers(names: Iterable[str]) -> frozenset[int]:
    """Return the numbers of the bench tables among ``names``."""
    return frozenset(int(found[1]) for found in map(_NUMBERED.fullmatch, names) if found)


def literal(text: str) -> str:
    """Return ``text`` as a string of SQL."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Return ``name`` as a quoted identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def without_password(text: str, link: Link) -> str:
    """Return ``text`` with the upstream's password blotted out."""
    return text.replace(link.password, "…") if link.password else text


def execute(
    connection: Connection,
    statement: str,
    link: Link,
    *,
    classify: Callable[[psycopg.Error, str], Trouble],
    diagnose: Callable[[str], LabError | None],
) -> psycopg.Cursor[tuple[Any, ...]]:
    """Execute a statement that makes or asks the source that reads ``link``.

    Raises
    ------
    psycopg.Error
        The target is gone.
    LabError
        Anything else, as ``diagnose`` says or else ``server.refused``, the password blotted out.
    """
    import psycopg

    try:
        return connection.execute(statement.encode())
    except psycopg.Error as error:
        if classify(error, "") is Trouble.GONE:
            raise
        said = without_password(described(error), link)
        raise diagnose(said) or refused("to make the source", said) from None


def unlike(found: dict[str, str], declared: dict[str, str]) -> tuple[str, ...]:
    """Return in what ``found`` is other than ``declared``, as lines with ``-`` or ``+``."""
    return tuple(
        line
        for key, value in declared.items()
        if found.get(key, "") != value
        for line in (*((f"- {key} {found[key]}",) if found.get(key) else ()), f"+ {key} {value}")
    )


def reference_differences(seen: frozenset[int], tables: int) -> tuple[str, ...]:
    """Compare the tables that a source sees with those that are published, 1 to ``tables``.

    Tables are published in a row: where some are left out, those at the end are as many too many.
    Return a line for what is missing, with a leading ``+``, and one for what is too many.
    """
    published = frozenset(range(1, tables + 1))
    lines: tuple[str, ...] = ()
    if seen - published:
        lines += (f"- {_listed(seen - published)} beyond {tables:,}, to be seen",)
    if published - seen:
        lines += (f"+ {_listed(published - seen)} of 1 to {tables:,}, not to be seen",)
    return lines


def other_references(lines: Sequence[str], remedy: str) -> StateMismatchError:
    """Return the error for a source that sees other tables than are published."""
    return StateMismatchError(
        "The source sees other tables than the upstream publishes.",
        code="source.references",
        why="; ".join(line[2:] for line in lines) + ".",
        remedy=remedy,
    )


def tables_hang(lines: Sequence[str], tables: int) -> StateMismatchError:
    """Return the error for a source that would have to be made anew, and has tables."""
    return StateMismatchError(
        "The source is other than declared, and cannot be made anew.",
        code="source.in-use",
        why=f"{tables:,} tables were made from it; it differs by: {', '.join(lines)}",
        remedy="`upstream.clean` drops the tables that were made from it; run this again then.",
    )


def missing() -> PreconditionError:
    """Return the error for a source that was not made."""
    return PreconditionError(
        "There is no source that reads the upstream.",
        code="source.missing",
        why="It was not made yet, or was dropped.",
        remedy="`upstream.connect` makes it.",
    )


def stalled(error: str) -> ExternalError:
    """Return the error for a source that does not go on."""
    return ExternalError(
        "The source does not go on.",
        code="source.stalled",
        why=error,
        remedy="`upstream.status` shows whether the upstream runs. Once it does, the source goes on"
        " by itself; where it does not, `upstream.clean` drops its tables and `upstream.connect`"
        " makes it anew.",
    )


def refused(what: str, error: str) -> ExternalError:
    """Return the error for a statement that failed for a reason which is not known."""
    return ExternalError(
        f"The server refused {what}.",
        code="server.refused",
        why=error,
        remedy="`env.logs` shows what the server says, `upstream.status` how the upstream is.",
    )


def _listed(tables: frozenset[int]) -> str:
    ranges = list(_ranges(sorted(tables)))
    more = f" and {len(ranges) - _SHOWN:,} more ranges" if len(ranges) > _SHOWN else ""
    shown = ", ".join(f"{a:,}" if a == b else f"{a:,} to {b:,}" for a, b in ranges[:_SHOWN])
    return f"{len(tables):,} {'table' if len(tables) == 1 else 'tables'} ({shown}{more})"


def _ranges(ordered: Sequence[int]) -> Iterator[tuple[int, int]]:
    first = last = 0
    for number in ordered:
        if first and number == last + 1:
            last = number
            continue
        if first:
            yield first, last
        first = last = number
    if first:
        yield first, last
