"""The one way in which a connection to an upstream is opened by host, port and role."""

from __future__ import annotations

from typing import Any

from lab.servers.connection import Connection

_CONNECT_S = 10
_PLAIN: dict[str, Any] = {
    "sslmode": "disable",
    "gssencmode": "disable",
    "channel_binding": "disable",
    # Any way of logging in that takes a password, or none.
    "require_auth": "!gss,!sspi",
}


def connect(
    host: str,
    port: int,
    database: str,
    user: str,
    application: str,
    *,
    password: str = "",
    plain: bool = False,
) -> Connection:
    """Open an autocommit connection that the server knows as ``application``.

    Without ``password`` libpq finds it: by ``PGPASSWORD``, ``PGPASSFILE`` or ``~/.pgpass``. With
    ``plain`` there is no TLS and no demand on the way of logging in, whatever the user's variables
    say; without, those decide that, and nothing else: none of them, and no service that they name,
    leads to another server, database or role, or gives options. Raises psycopg.OperationalError.
    """
    import psycopg

    more: dict[str, Any] = _PLAIN if plain else {}
    if password:
        more = {**more, "password": password}
    return psycopg.connect(
        host=host,
        # What is given here, even if it is empty, is looked for in no variable and no service.
        hostaddr="",
        port=port,
        dbname=database,
        user=user,
        application_name=application,
        # A server of the encoding SQL_ASCII would otherwise have text arrive as bytes.
        client_encoding="UTF8",
        options="",
        target_session_attrs="any",
        connect_timeout=_CONNECT_S,
        autocommit=True,
        prepare_threshold=None,
        **more,
    )
