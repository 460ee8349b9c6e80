"""Tasks that measure by other means than `session.measure`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.cli.command import Front, command
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
    from lab.cli.environment import open_environment
    from lab.session.context import Context
    from lab.session.profiling import take_profile

    config = front.config().config
    context = Context(
        workspace=front.workspace,
        config=config,
        environment=open_environment(front.workspace, config),
        progress=front.progress,
    )
    with front.lock():
        return take_profile(
            context,
            statement,
            seconds=whole_number("--seconds", seconds, least=1) or 10,
            with_perf=perf,
            with_heap=heap,
        )
