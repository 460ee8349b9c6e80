"""Tasks on the environment's system variables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.cli.command import Front, command
from lab.cli.flags import listed

if TYPE_CHECKING:
    from lab.core.results import Outcome


@command(
    "env.get",
    help={
        "names": "Names of variables, as words after the task (default: all).",
        "match": "Only those whose names contain this.",
    },
)
def get(front: Front, *names: str, match: str = "") -> Outcome:
    """Show system variables of the running environment.

    Example: invoke env.get max_tables max_objects_per_schema
    """
    from lab.cli.environment import open_environment
    from lab.provision import variables

    environment = open_environment(front.workspace, front.config().config)
    return variables.read(environment, names, match)


@command(
    "env.set",
    help={
        "settings": "NAME=VALUE, as words after the task.",
        "reset": "Names to set to their defaults, with commas between.",
        "for-session": "Give the former values back when the open session ends.",
    },
    changes=True,
)
def set_(front: Front, *settings: str, reset: str = "", for_session: bool = False) -> Outcome:
    """Set system variables of the running environment, and show each before and after.

    Example: invoke env.set max_tables=5000 max_objects_per_schema=5000
    """
    from lab.cli.environment import open_environment
    from lab.core.errors import UsageError
    from lab.provision import variables

    wanted = {**_pairs(settings), **dict.fromkeys(listed("--reset", reset) or ())}
    if not wanted:
        raise UsageError(
            "It is not said what to set.",
            code="variables.nothing",
            remedy="Give NAME=VALUE, or --reset NAME; `env.get` shows what there is.",
        )
    with front.lock():
        environment = open_environment(front.workspace, front.config().config)
        variables.require_variables(environment)
        session = _open_session(front) if for_session else ""
        return variables.set_variables(environment, wanted, session=session, check=front.check)


def _pairs(settings: tuple[str, ...]) -> dict[str, str | None]:
    from lab.core.errors import UsageError

    pairs: dict[str, str | None] = {}
    for word in settings:
        name, _, value = word.partition("=")
        if not name or not value:
            raise UsageError(
                f"{word!r} does not say what to set to which value.",
                code="variables.pair",
                why="" if "=" not in word else "An empty value may come from an unset variable.",
                remedy="Give NAME=VALUE; `--reset NAME` brings the default back.",
            )
        if name in pairs:
            raise UsageError(
                f"`{name}` is given twice.", code="variables.twice", remedy="Give it once."
            )
        pairs[name] = value
    return pairs


def _open_session(front: Front) -> str:
    from lab.core.errors import UsageError
    from lab.session.opening import open_session

    session = open_session(front.workspace)
    if session is None:
        raise UsageError(
            "There is no open session to set anything for.",
            code="variables.no-session",
            why="With --for-session the former values come back when the session ends.",
            remedy="`invoke session.start` opens one; without --for-session the values stay.",
        )
    return session.id
