"""Tasks that measure by other means than `session.measure`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.cli.batches import BATCH_HELP, batch_flags
from lab.cli.command import Front, command
from lab.cli.context import open_context
from lab.cli.flags import whole_number

if TYPE_CHECKING:
    from lab.core.results import Outcome


@command(
    "measure.profile",
    help={
        "statement": "The kind of statement that is driven (default: create-table).",
        "seconds": "How long stacks are sampled (default: 10).",
        "perf": "Sample the process with Linux's perf, by frame pointers.",
        "heap": "Fetch a heap profile, too, where the server makes one.",
    },
)
def profile(
    front: Front,
    statement: str = "create-table",
    seconds: str = "10",
    perf: bool = False,
    heap: bool = False,
) -> Outcome:
    """Drive a statement while the server's stacks are sampled; show the hottest functions.

    Inside a session the files become evidence, and the entry names the hottest functions.

    Example: invoke measure.profile --seconds 10 --statement create-table
    """
    from lab.session.profiling import take_profile

    with front.lock():
        return take_profile(
            open_context(front),
            statement,
            seconds=whole_number("--seconds", seconds, least=1) or 10,
            with_perf=perf,
            with_heap=heap,
        )


@command(
    "measure.batch",
    help={
        **BATCH_HELP,
        "objects": "Refuse to measure unless exactly this many user objects exist.",
        "keep": "Leave the tables that were made in place; `upstream.clean` drops them.",
    },
    changes=True,
)
def batch(
    front: Front,
    sizes: str = "",
    repetitions: str = "",
    upstream_sweep: str = "",
    grow: bool = False,
    objects: str = "",
    keep: bool = False,
) -> Outcome:
    """Time transactions of several statements that make tables of the upstream's, by position.

    Inside an open session it adds a run, as `session.measure --plan batch` does; outside of one
    nothing is logged.

    Example: invoke measure.batch --sizes 1,5,10,25,50 --repetitions 3
    """
    from lab.session.opening import BATCH, MeasureOptions
    from lab.session.unlogged import measure_batch

    options = MeasureOptions(
        plan=BATCH,
        objects=whole_number("--objects", objects, least=0),
        **batch_flags(sizes, repetitions, upstream_sweep, grow),
    )
    with front.lock():
        return measure_batch(open_context(front), options, check=front.check, keep=keep)
