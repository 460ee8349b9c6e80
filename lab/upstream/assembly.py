"""Put an upstream together out of a workspace's configuration and record; nothing is started."""

from __future__ import annotations

from lab.core.config import Config, UpstreamConfig
from lab.core.errors import StateMismatchError, UsageError
from lab.core.workspace import Workspace
from lab.upstream.base import DEFAULT_TABLES, Provider
from lab.upstream.record import UpstreamRecord, UpstreamRecords
from lab.upstream.tables import require_count
from lab.upstream.upstream import Upstream

PROVIDERS = ("embedded", "docker", "url")


def open_upstream(workspace: Workspace, config: Config, *, provider: str = "") -> Upstream:
    """Return the upstream of ``workspace``.

    ``provider`` is what a flag says; without it the one that was brought up is meant, or else the
    one that ``lab.toml`` declares.

    Raises
    ------
    UsageError
        There is no such provider.
    StateMismatchError
        Another one was brought up (``upstream.other-provider``, ``upstream.other-server``).
    """
    if provider and provider not in PROVIDERS:
        raise UsageError(
            f"There is no provider `{provider}` of an upstream.",
            code="upstream.unknown-provider",
            why=f"Known: {', '.join(PROVIDERS)}.",
            remedy="Choose from these, or leave --provider out.",
        )
    records = UpstreamRecords.of(workspace)
    record = records.read()
    name = _chosen(provider, config.upstream, record)
    made = _provider(name, workspace, config.upstream)
    if record is not None and record.server not in ("", made.identity):
        raise StateMismatchError(
            f"The upstream was brought up at {record.server}, not {made.identity}.",
            code="upstream.other-server",
            why="What is remembered of the one, that it was adopted for example, is not so of the"
            " other.",
            remedy="Name the former again under [upstream] url, or forget it with `upstream.down"
            " --destroy`, which leaves that server alone.",
        )
    return Upstream(made, records, config.upstream)


def open_recorded(workspace: Workspace, config: Config) -> Upstream | None:
    """Return the upstream that was brought up, whatever ``lab.toml`` declares by now; or None."""
    records = UpstreamRecords.of(workspace)
    record = records.read()
    # Without its URL there is nothing to be found, and nothing that the lab could stop.
    if record is None or (record.provider == "url" and not config.upstream.url):
        return None
    return Upstream(
        _provider(record.provider, workspace, config.upstream), records, config.upstream
    )


def declared_columns(config: UpstreamConfig, record: UpstreamRecord | None) -> str:
    """Return the column list that is meant: the declared one, or else the recorded one."""
    usual = UpstreamConfig().columns
    if config.columns != usual or record is None:
        return config.columns
    return record.columns


def declared_tables(config: UpstreamConfig, record: UpstreamRecord | None) -> int:
    """Return how many tables are meant: as declared, or else as recorded, or else 3,000.

    Raises UsageError where more are declared than the lab makes (``upstream.too-many-tables``).
    """
    if config.tables is not None:
        return require_count(config.tables, "`tables` under [upstream]")
    return record.tables if record and record.tables else DEFAULT_TABLES


def _chosen(flag: str, config: UpstreamConfig, record: UpstreamRecord | None) -> str:
    usual = UpstreamConfig().provider
    wanted = flag or (config.provider if config.provider != usual else "")
    if record is None:
        return wanted or usual
    if wanted and wanted != record.provider:
        raise StateMismatchError(
            f"The upstream was brought up with provider {record.provider}, not {wanted}.",
            code="upstream.other-provider",
            why="A workspace has one upstream: its tables, role and password belong together.",
            remedy=f"Go on with provider {record.provider}, or take that upstream down with"
            " --destroy first.",
        )
    return record.provider


def _provider(name: str, workspace: Workspace, config: UpstreamConfig) -> Provider:
    if name == "docker":
        from lab.upstream.container import ContainerProvider

        return ContainerProvider(workspace, config)
    if name == "url":
        from lab.upstream.url import UrlProvider

        return UrlProvider(workspace, config)
    from lab.upstream.embedded import EmbeddedProvider

    return EmbeddedProvider(workspace, config)
