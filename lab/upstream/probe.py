"""Time what reaching the upstream takes, apart from anything that it is asked."""

from __future__ import annotations

import time

from lab.core.errors import ExternalError
from lab.servers.connection import Connection
from lab.upstream import connecting
from lab.upstream.base import Link
from lab.upstream.failures import not_running, refused


def probe(link: Link, times: int = 20) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return raw times in ns: of ``times`` new connections, and of as many round trips.

    By the host, port, role and password of ``link``, without TLS. A connection is one from its
    beginning until it may be used, logging in included; a round trip is an empty statement on one
    that is open. One of each, which is not in the result, goes first.

    Raises
    ------
    PreconditionError
        Nothing answers there (``upstream.not-running``).
    ExternalError
        It refuses the role or its password (``upstream.refused``), or the connection was lost.

    """
    import psycopg

    try:
        connect_ns = [_connect_ns(link) for _ in range(times + 1)]
        round_trip_ns = _round_trips_ns(link, times + 1)
    except psycopg.OperationalError as error:
        # What the server itself says is marked so; anything else comes from the way there.
        if "FATAL:" in str(error):
            raise refused(error) from error
        raise not_running(f"{link!r}: {str(error).strip()}") from error
    return tuple(connect_ns[1:]), tuple(round_trip_ns[1:])


def _connect_ns(link: Link) -> int:
    started_ns = time.perf_counter_ns()
    connection = _connect(link)
    taken_ns = time.perf_counter_ns() - started_ns
    connection.close()
    return taken_ns


def _round_trips_ns(link: Link, times: int) -> list[int]:
    from psycopg.pq import ExecStatus

    taken_ns = []
    with _connect(link) as connection:
        for _ in range(times):
            started_ns = time.perf_counter_ns()
            result = connection.pgconn.exec_(b"")
            taken_ns.append(time.perf_counter_ns() - started_ns)
            if result.status != ExecStatus.EMPTY_QUERY:
                raise ExternalError(
                    "The upstream stopped answering while it was probed.",
                    code="upstream.gone",
                    why=connection.pgconn.error_message.decode(errors="replace").strip(),
                    remedy="`upstream.status` shows what is there.",
                )
    return taken_ns


def _connect(link: Link) -> Connection:
    return connecting.connect(
        link.host,
        link.port,
        link.database,
        link.role,
        "ddl-lab probe",
        password=link.password,
        plain=True,
    )
