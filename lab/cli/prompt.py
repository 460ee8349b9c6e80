"""Tasks on the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.cli.command import Front, command

if TYPE_CHECKING:
    from lab.core.results import Outcome

_WAIT_S = 10.0


@command("prompt.list")
def list_items(front: Front) -> Outcome:
    """List the open next steps.

    Example: invoke prompt.list
    """
    from lab.core.results import Outcome
    from lab.core.tables import table
    from lab.notebook.prompt import read_items

    items = read_items(front.workspace)
    rows = [(each.id, each.text.splitlines()[0]) for each in items]
    return Outcome(
        text=table(rows, headers=("item", "next step")) if rows else "",
        summary="" if rows else "No next step is open.",
        data={"prompt": str(front.workspace.prompt), "items": items},
        hint="" if rows else "`invoke prompt.add --text TEXT` adds one",
    )


@command("prompt.add", help={"text": "The next step."}, changes=True)
def add(front: Front, text: str = "") -> Outcome:
    """Add a next step.

    Example: invoke prompt.add --text "Profile CREATE VIEW at 50,000 objects."
    """
    from lab.core.errors import UsageError
    from lab.core.results import Outcome, Status, Step
    from lab.notebook.prompt import add_item

    if not text.strip():
        raise UsageError("The next step is empty.", code="prompt.empty", remedy="Give --text TEXT.")
    if front.check:
        step = Step(name="prompt", status=Status.WOULD_CHANGE, diff=(f"+ {text.strip()}",))
        return Outcome(status=step.status, steps=(step,))
    with front.lock(wait_s=_WAIT_S):
        item, changed = add_item(front.workspace, text.strip())
    status = Status.CHANGED if changed else Status.OK
    step = Step(name="prompt", status=status, why=f"{item.id}: {item.text.splitlines()[0]}")
    return Outcome(status=status, steps=(step,), data={"item": item})


@command(
    "prompt.resolve",
    help={"item": "The item's id, as `prompt.list` shows it.", "by": "What resolved it."},
    changes=True,
)
def resolve(front: Front, item, by: str = "") -> Outcome:  # type: ignore[no-untyped-def]  # Invoke's positional
    """Move a next step to what was completed.

    Example: invoke prompt.resolve N2 --by "Session 4: no measurable change"
    """
    from lab.core.errors import UsageError
    from lab.core.results import Outcome, Status, Step
    from lab.notebook.prompt import find_item, read_items, resolve_item

    if not by.strip():
        raise UsageError(
            "What resolved it is missing.",
            code="prompt.no-reason",
            remedy='Give --by, such as --by "Session 4: no measurable change".',
        )
    found = find_item(read_items(front.workspace), item)
    if front.check:
        step = Step(name="prompt", status=Status.WOULD_CHANGE, diff=(f"- {found.text}",))
        return Outcome(status=step.status, steps=(step,))
    with front.lock(wait_s=_WAIT_S):
        resolve_item(front.workspace, item, by.strip())
    step = Step(name="prompt", status=Status.CHANGED, why=f"{found.id} is resolved: {by.strip()}")
    return Outcome(status=step.status, steps=(step,), data={"item": found, "by": by.strip()})
