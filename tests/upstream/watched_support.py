"""An upstream with a few published tables, and a second server that reads it by postgres_fdw."""

import contextlib
import shutil
import tempfile
from pathlib import Path

import psycopg

from lab.core.config import Config
from lab.core.progress import SilentProgress
from lab.core.workspace import Workspace
from lab.servers.postgres import EmbeddedServer
from lab.upstream.assembly import open_upstream

QUIET = SilentProgress()
COLUMNS = "id int PRIMARY KEY, a int, b text"
TABLES = 12


@contextlib.contextmanager
def workspace():
    """A workspace that every user may pass through: as root the server runs as another one."""
    root = Path(tempfile.mkdtemp(prefix="ddl-lab-test-"))
    root.chmod(0o755)
    made = Workspace(root)
    try:
        made.prepare()
        yield made
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextlib.contextmanager
def watched_upstream(place, tables=TABLES):
    """A running upstream in the workspace ``place``, destroyed in the end."""
    upstream = open_upstream(place, Config())
    try:
        upstream.start(QUIET)
        upstream.provision(tables, COLUMNS, QUIET)
        yield upstream
    finally:
        upstream.destroy(QUIET)


@contextlib.contextmanager
def reader(place):
    """A running server with postgres_fdw, destroyed in the end."""
    server = EmbeddedServer(
        states=place.states, environments=place.environments, name="main", user_settings={}
    )
    try:
        server.start(QUIET)
        with server.connect("postgres", "test") as connection:
            connection.execute("CREATE EXTENSION postgres_fdw")
        yield server
    finally:
        server.reset(QUIET)


def as_role(link, **changes):
    """Connect as the source's role does."""
    return psycopg.connect(
        **(
            {
                "host": link.host,
                "port": link.port,
                "dbname": link.database,
                "user": link.role,
                "password": link.password,
                "autocommit": True,
                "prepare_threshold": None,
            }
            | changes
        )
    )


def point_at(connection, link, port):
    """Let postgres_fdw on ``connection`` read the upstream of ``link`` by ``port``."""
    connection.execute("DROP SERVER IF EXISTS upstream CASCADE")
    connection.execute(
        "CREATE SERVER upstream FOREIGN DATA WRAPPER postgres_fdw OPTIONS"
        f" (host '{link.host}', port '{port}', dbname '{link.database}', sslmode 'disable')"
    )
    connection.execute(
        "CREATE USER MAPPING FOR CURRENT_USER SERVER upstream OPTIONS"
        f" (user '{link.role}', password '{link.password}')"
    )


def import_table(number):
    return (
        f"IMPORT FOREIGN SCHEMA public LIMIT TO (bench_table_{number})"
        " FROM SERVER upstream INTO public"
    )


def moved(delta):
    assert not delta.void, delta.void
    return {change.name: change.amount for change in delta.changes}


def by_shape(amounts, what):
    """What moved, by shape: those of ``what`` (time, calls, rows) that are not zero."""
    found = {}
    for name, amount in amounts.items():
        _, _, rest = name.partition("upstream.")
        shape, _, kind = rest.rpartition(".")
        if kind == what and shape and amount:
            found[shape] = amount
    return found
