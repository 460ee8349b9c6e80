"""Tasks on the environment."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lab.cli.command import Front, command
from lab.cli.flags import typed, whole_number

if TYPE_CHECKING:
    from lab.core.results import Outcome
    from lab.targets.base import Environment


def _environment(front: Front) -> Environment:
    from lab.cli.environment import open_environment

    return open_environment(front.workspace, front.config().config)


@command(
    "env.start",
    help={"build": "A profile (debug, optimized) or a build's id; default: the declared one."},
    changes=True,
)
def start(front: Front, build: str = "") -> Outcome:
    """Start the environment on its state, or adopt the one that runs; never reset.

    Example: invoke env.start --build optimized
    """
    from lab.provision import environment
    from lab.targets.base import Launch

    with front.lock():
        return environment.start(
            _environment(front),
            check=front.check,
            progress=front.progress,
            launch=Launch(build=build),
        )


@command(
    "env.switch", help={"build": "A profile (debug, optimized) or a build's id."}, changes=True
)
def switch(front: Front, build: str) -> Outcome:
    """Change over to another build on the same state: stop, start, verify the objects.

    Example: invoke env.switch optimized
    """
    from lab.provision.switching import switch

    with front.lock():
        return switch(_environment(front), build, check=front.check, progress=front.progress)


@command("env.stop", changes=True)
def stop(front: Front) -> Outcome:
    """Stop what the lab started; the state stays.

    Example: invoke env.stop
    """
    from lab.provision import environment

    with front.lock():
        return environment.stop(_environment(front), check=front.check, progress=front.progress)


@command("env.status", help={"boot": "Show what the last start consisted of instead."})
def status(front: Front, boot: bool = False) -> Outcome:
    """Show process, build, state, address and age of the environment.

    Example: invoke env.status --boot
    """
    from lab.provision import environment
    from lab.provision.boots import boots

    if boot:
        return boots(_environment(front))
    return environment.report(_environment(front))


@command("env.verify", help={"objects": "The exact number of user objects expected."})
def verify(front: Front, objects: str = "") -> Outcome:
    """Prove that the environment can be measured: one table, one verdict.

    Example: invoke env.verify --objects 100000
    """
    from lab.provision import environment

    expected = whole_number("--objects", objects, least=0)
    if expected is None:
        expected = front.config().config.population.count
    return environment.verify(_environment(front), expected)


@command("env.logs", help={"lines": "How many lines from the end (default: 40)."})
def logs(front: Front, lines: str = "40") -> Outcome:
    """Show the end of the server's log.

    Example: invoke env.logs --lines 100
    """
    from lab.core.results import Outcome

    text = _environment(front).log_tail(whole_number("--lines", lines, least=1) or 40)
    return Outcome(
        text=text.rstrip("\n"),
        summary="" if text else "There is no server log yet.",
        data={"lines": text.splitlines()},
    )


@command(
    "env.reset",
    help={
        "because": "Why the state has to go; kept in the session or the log.",
        "yes": "The name of the state, to confirm off a terminal.",
    },
    changes=True,
)
def reset(front: Front, because: str = "", yes: str = "") -> Outcome:
    """Destroy the environment's state, after a confirmation, for a stated reason.

    Example: invoke env.reset --because "the catalog is corrupt after a full disk"
    """
    from lab.provision import environment as provision
    from lab.session.notes import add_waiting_note
    from lab.targets.base import Phase

    with front.lock():
        environment = _environment(front)
        if because.strip() and not yes and not front.check and sys.stdin.isatty():
            yes = typed(f"Type the state's name, {environment.state}, to destroy it: ")
        if not front.check:
            found = provision.confirm_reset(environment, because=because, confirmed=yes)
            if found.phase is not Phase.ABSENT:
                # Kept before the state is gone: whatever happens then, the reason is known.
                add_waiting_note(
                    front.workspace, f"The state {environment.state} was reset: {because.strip()}"
                )
        return provision.reset(
            environment, because=because, confirmed=yes, check=front.check, progress=front.progress
        )
