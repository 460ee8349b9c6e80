"""What a connection to a server is called, wherever one is annotated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import psycopg

    Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]
else:
    # Importing psycopg takes longer than most tasks that need no connection.
    Connection = Any
