"""Where environmentd keeps its metadata: which store ``lab.toml`` names, and what it can do."""

from __future__ import annotations

from lab.core.config import MaterializeConfig
from lab.core.errors import UsageError
from lab.core.workspace import Workspace
from lab.targets.materialize.metadata_base import MetadataStore, StoreFound
from lab.targets.materialize.metadata_embedded import EmbeddedStore
from lab.targets.materialize.metadata_queries import Session
from lab.targets.materialize.metadata_url import SCHEMES, UrlStore

__all__ = ["MetadataStore", "Session", "StoreFound", "metadata_store"]

EMBEDDED = "embedded"
IMAGE = "image:"


def metadata_store(workspace: Workspace, config: MaterializeConfig, state: str) -> MetadataStore:
    """Return the store that ``metadata`` names: ``embedded``, ``image:NAME`` or a URL.

    Nothing is started or connected to.

    Raises
    ------
    UsageError
        It names none, or the URL is one that environmentd cannot be given.

    """
    wanted = config.metadata
    if wanted == EMBEDDED:
        return EmbeddedStore(workspace, state)
    if wanted.startswith(IMAGE) and len(wanted) > len(IMAGE):
        from lab.targets.materialize.metadata_container import ContainerStore

        return ContainerStore(workspace, state, wanted.removeprefix(IMAGE))
    if wanted.startswith(tuple(f"{each}://" for each in SCHEMES)):
        return UrlStore(wanted)
    raise UsageError(
        "`metadata` under [materialize] in lab.toml names no metadata store.",
        code="metadata.unknown",
        why="It is `embedded`, `image:NAME` or a URL.",
        remedy="Leave it out for the store that comes with the lab.",
    )
