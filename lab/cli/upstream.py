"""Tasks on the upstream: the PostgreSQL whose published tables a source reads."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lab.cli.command import Front, command
from lab.cli.flags import typed, whole_number

if TYPE_CHECKING:
    from lab.core.config import Config
    from lab.core.results import Outcome
    from lab.upstream.upstream import Upstream


def _upstream(front: Front, provider: str = "") -> tuple[Upstream, Config]:
    from lab.upstream.assembly import open_upstream

    config = front.config().config
    return open_upstream(front.workspace, config, provider=provider), config


@command(
    "upstream.up",
    help={
        "tables": "How many tables there are to be (default: [upstream] tables, or as many as "
        "there are, or 3,000).",
        "columns": "Their column list in SQL, or the number of columns (default: that of "
        "[upstream]).",
        "provider": "embedded, docker or url (default: that of [upstream]).",
        "adopt": "Let the lab change a server that it did not make.",
    },
    changes=True,
)
def up(
    front: Front, tables: str = "", columns: str = "", provider: str = "", adopt: bool = False
) -> Outcome:
    """Bring up a PostgreSQL with published tables that a source can read; goes on where it stopped.

    Example: invoke upstream.up --tables 3000
    """
    from lab.provision import upstream as provision
    from lab.upstream.assembly import declared_columns, declared_tables
    from lab.upstream.tables import column_list

    wanted = whole_number("--tables", tables, least=0)
    with front.lock():
        opened, config = _upstream(front, provider)
        record = opened.record()
        return provision.up(
            opened,
            tables=declared_tables(config.upstream, record) if wanted is None else wanted,
            columns=column_list(columns) or declared_columns(config.upstream, record),
            adopt=adopt,
            check=front.check,
            progress=front.progress,
        )


@command("upstream.status")
def status(front: Front) -> Outcome:
    """Show what of the upstream is there, against what is declared.

    Example: invoke upstream.status
    """
    from lab.provision import upstream as provision

    opened, config = _upstream(front)
    return provision.status(opened, config.upstream)


@command("upstream.verify", help={"tables": "The exact number of published tables expected."})
def verify(front: Front, tables: str = "") -> Outcome:
    """Prove that a source can read the upstream: one table, one verdict.

    Example: invoke upstream.verify --tables 3000
    """
    from lab.provision import upstream as provision

    return provision.verify(_upstream(front)[0], whole_number("--tables", tables, least=0))


@command(
    "upstream.down",
    help={
        "destroy": "Remove its data, too.",
        "yes": "The upstream's name, to confirm that off a terminal.",
    },
    changes=True,
)
def down(front: Front, destroy: bool = False, yes: str = "") -> Outcome:
    """Stop the upstream and keep its data, unless they are to be destroyed.

    Example: invoke upstream.down
    """
    from lab.provision import upstream as provision

    with front.lock():
        opened, _ = _upstream(front)
        if destroy and not yes and not front.check and sys.stdin.isatty():
            yes = typed(f"Type its name, {provision.NAME}, to destroy it with all its tables: ")
        return provision.down(
            opened, destroy=destroy, confirmed=yes, check=front.check, progress=front.progress
        )


@command("upstream.connect", changes=True)
def connect(front: Front) -> Outcome:
    """Make the source by which the environment reads the upstream, and wait until it sees all.

    Example: invoke upstream.connect
    """
    from lab.cli.environment import open_environment
    from lab.provision import sourcing

    with front.lock():
        opened, config = _upstream(front)
        return sourcing.connect(
            open_environment(front.workspace, config),
            opened,
            config.upstream.cluster,
            check=front.check,
            progress=front.progress,
        )


@command(
    "upstream.clean", help={"keep-source": "Drop the tables only; the source stays."}, changes=True
)
def clean(front: Front, keep_source: bool = False) -> Outcome:
    """Drop what was made from the upstream, and prove that everything is back where it was.

    Example: invoke upstream.clean --keep-source
    """
    from lab.cli.environment import open_environment
    from lab.provision import sourcing

    with front.lock():
        opened, config = _upstream(front)
        return sourcing.clean(
            open_environment(front.workspace, config),
            opened,
            config.upstream.cluster,
            keep_source=keep_source,
            check=front.check,
            progress=front.progress,
        )
