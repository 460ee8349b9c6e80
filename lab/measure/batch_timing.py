"""Time one transaction of several statements by position, on one open connection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from lab.measure.sampler import Reply, Sampler, undisturbed
from lab.metrics.reading import Reading


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction as it was timed.

    ``statements_ns`` holds the statements that succeeded, in order. ``error`` is why it failed, at
    the position ``failed_at`` (0 is BEGIN, one after the last statement COMMIT); None where it did
    not. ``lost`` says why the connection cannot be used any more, empty where it can. ``middle`` is
    what was read before COMMIT was sent.
    """

    started_at: str
    begin_ns: int
    statements_ns: tuple[int, ...] = ()
    commit_ns: int = 0
    middle: Reading | None = None
    error: str = ""
    failed_at: int | None = None
    lost: str = ""


def time_transaction(
    sampler: Sampler,
    statements: Sequence[str],
    read: Callable[[], Reading | None],
    advance: Callable[[int], None],
) -> Taken:
    """Execute ``statements`` between BEGIN and COMMIT, each timed from sending it to its answer.

    After the first error nothing more is sent but ROLLBACK. ``read`` is called once, untimed,
    before COMMIT; ``advance`` is told of each statement between it and the next.
    """
    encoded = [sql.encode() for sql in statements]
    started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    durations: list[int] = []
    with undisturbed():
        begun = sampler.time(b"BEGIN")
        taken = Taken(started_at=started_at, begin_ns=begun.duration_ns)
        if _failed(begun):
            return _broken_off(sampler, taken, begun, 0)
        for position, sql in enumerate(encoded, 1):
            reply = sampler.time(sql)
            if _failed(reply):
                taken = msgspec.structs.replace(taken, statements_ns=tuple(durations))
                return _broken_off(sampler, taken, reply, position)
            durations.append(reply.duration_ns)
            advance(1)
        middle = read()
        commit = sampler.commit()
    taken = msgspec.structs.replace(
        taken, statements_ns=tuple(durations), commit_ns=commit.duration_ns, middle=middle
    )
    if _failed(commit):
        return _broken_off(sampler, taken, commit, len(encoded) + 1)
    return taken


def _failed(reply: Reply) -> bool:
    return bool(reply.error or reply.lost)


def _broken_off(sampler: Sampler, taken: Taken, reply: Reply, position: int) -> Taken:
    return msgspec.structs.replace(
        taken,
        error=reply.error or reply.lost,
        failed_at=position,
        lost=reply.lost or sampler.end(),
    )
