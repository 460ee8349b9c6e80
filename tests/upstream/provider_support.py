"""Providers of an upstream, in places of their own, and what their servers hold."""

import contextlib
import shutil
import tempfile
from pathlib import Path

from lab.core.progress import SilentProgress

QUIET = SilentProgress()
COLUMNS = "id int PRIMARY KEY, a int, b text"


@contextlib.contextmanager
def open_folder():
    """A folder that every user may pass through: as root the server runs as another one."""
    root = Path(tempfile.mkdtemp(prefix="ddl-lab-test-"))
    root.chmod(0o755)
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def ask(provider, sql, database="postgres"):
    """The rows of a query that the administrator runs."""
    with contextlib.closing(provider.connect("test", database)) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []
