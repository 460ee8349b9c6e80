"""Tasks on the lab as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.cli.command import Front, command
from lab.cli.flags import whole_number

if TYPE_CHECKING:
    from lab.core.config import Config
    from lab.core.results import Outcome
    from lab.targets.base import Environment
    from lab.upstream.upstream import Upstream


def _declared(front: Front) -> tuple[Environment, Config]:
    from lab.cli.environment import open_environment

    config = front.config().config
    return open_environment(front.workspace, config), config


def _upstream(front: Front, config: Config) -> Upstream | None:
    """Return the upstream that lab.toml declares; None where it declares none."""
    if config.upstream.tables is None:
        return None
    from lab.upstream.assembly import open_upstream

    return open_upstream(front.workspace, config)


@command("lab.up", help={"diff": "Show what differs, line by line."}, changes=True)
def up(front: Front, diff: bool = False) -> Outcome:
    """Bring about what lab.toml declares, step by step.

    Example: invoke lab.up --check --diff
    """
    from lab.provision import lab

    with front.lock():
        environment, config = _declared(front)
        return lab.up(
            environment,
            config,
            check=front.check,
            diff=diff,
            progress=front.progress,
            upstream=_upstream(front, config),
        )


@command("lab.down", changes=True)
def down(front: Front) -> Outcome:
    """Stop what the lab started; states are kept.

    Example: invoke lab.down
    """
    from lab.provision import lab
    from lab.upstream.assembly import open_recorded

    with front.lock():
        environment, config = _declared(front)
        return lab.down(
            environment,
            check=front.check,
            progress=front.progress,
            upstream=open_recorded(front.workspace, config),
        )


@command("lab.status")
def status(front: Front) -> Outcome:
    """Compare what is declared with what is.

    Example: invoke lab.status
    """
    from lab.provision import lab

    environment, config = _declared(front)
    return lab.status(environment, config, _upstream(front, config))


@command(
    "lab.seed",
    help={
        "count": "The exact number of user objects to bring about.",
        "kind": "table, view, materialized-view or index (default: that of [population]).",
        "schema": "Schema of the objects (default: that of [population]).",
        "drop-surplus": "Drop objects of the lab's making where there are too many.",
        "by": "Let this build make them, then start again what ran before (profile or id).",
        "no-self-checks": "Switch a debug build's checks of itself off for as long as it takes.",
    },
    changes=True,
)
def seed(
    front: Front,
    count: str = "",
    kind: str = "",
    schema: str = "",
    drop_surplus: bool = False,
    by: str = "",
    no_self_checks: bool = False,
) -> Outcome:
    """Bring the environment to exactly COUNT user objects; goes on where it stopped.

    Example: invoke lab.seed --count 100000
    """
    from lab.cli.environment import open_environment
    from lab.core.errors import UsageError
    from lab.provision.population import seed as bring_about

    config = front.config(
        {
            "population.count": whole_number("--count", count, least=0),
            "population.kind": kind or None,
            "population.schema": schema or None,
        }
    ).config
    if config.population.count is None:
        raise UsageError(
            "How many objects is not said.",
            code="seed.no-count",
            remedy="Give --count N, or set `count` in [population] of lab.toml.",
        )
    with front.lock():
        environment = open_environment(front.workspace, config)
        return bring_about(
            environment,
            count=config.population.count,
            kind=config.population.kind,
            schema=config.population.schema,
            drop_surplus=drop_surplus,
            check=front.check,
            progress=front.progress,
            by=by,
            self_checks=not no_self_checks,
        )


@command("lab.config")
def config(front: Front) -> Outcome:
    """Show each setting, its value, and where it came from.

    Example: invoke lab.config
    """
    import msgspec

    from lab.core.results import Outcome
    from lab.core.tables import table

    origins = front.config().origins
    rows = [(each.key, msgspec.json.encode(each.value).decode(), each.source) for each in origins]
    return Outcome(
        text=table(rows, headers=("setting", "value", "from")),
        data={"file": str(front.workspace.config), "settings": origins},
    )


@command("lab.doctor")
def doctor(front: Front) -> Outcome:
    """Say what is installed or missing, what that costs, and how noisy this host is.

    Example: invoke lab.doctor
    """
    from lab.session.doctor import examine

    return examine(_declared(front)[0], front.workspace, front.config().config)
