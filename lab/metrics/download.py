"""A server's page of metrics over HTTP, piece by piece, with what can go wrong told apart."""

from __future__ import annotations

import contextlib
import gzip
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lab.core.errors import ExternalError, LabTimeoutError
from lab.core.files import explained, sync_directory

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

_PIECE = 256 * 1024
NO_END = "Its last line has no end."
_LOOK_AT_LOG = "`env.status` and `env.logs` show what the server does."


def pieces(url: str, *, timeout_s: float) -> Iterator[bytes]:
    """Yield the page at ``url`` (``http://host:port/path``) in pieces of up to 256 KiB.

    No more than one piece is held at a time, however long the page is. ``timeout_s`` is for each
    wait and for the whole.

    Raises
    ------
    ExternalError
        ``metrics.refused`` (nothing listens), ``metrics.unavailable`` (another answer than 200),
        ``metrics.truncated`` (the page ended too early).
    LabTimeoutError
        ``metrics.slow``.

    """
    from http.client import HTTPConnection, HTTPException, IncompleteRead

    deadline = time.monotonic() + timeout_s
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    with contextlib.closing(connection):
        received = 0
        try:
            response = _answer(connection, url, parts.path or "/")
            length = response.length
            while piece := response.read1(_PIECE):
                received += len(piece)
                yield piece
                if time.monotonic() > deadline:
                    raise _slow(url, timeout_s, received)
        except TimeoutError as error:
            if isinstance(error, LabTimeoutError):
                raise
            raise _slow(url, timeout_s, received) from error
        except (IncompleteRead, ConnectionError) as error:
            raise truncated(url, received, str(error) or type(error).__name__) from error
        except HTTPException as error:
            raise _unavailable(url, f"It answered with no HTTP: {error!r}.") from error
        if length is not None and received < length:
            raise truncated(url, received, f"It had announced {length:,} bytes.")


def save(url: str, path: Path, *, timeout_s: float) -> int:
    """Write the page at ``url`` to ``path``, gzip-compressed; return the page's bytes.

    The whole page is there afterwards, or what was there before. Errors are those of `pieces`, and
    PreconditionError where the file cannot be written.
    """
    received, ending = 0, b""
    with explained(path, "writing"):
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with gzip.GzipFile(path.name, "wb", fileobj=file) as packed:
                for piece in pieces(url, timeout_s=timeout_s):
                    received, ending = received + len(piece), piece[-1:]
                    with explained(path, "writing"):
                        packed.write(piece)
            if ending != b"\n":
                raise truncated(url, received, NO_END)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return received


def truncated(url: str, received: int, why: str) -> ExternalError:
    """Return the error for a page that ended too early, after ``received`` bytes."""
    return ExternalError(
        f"The metrics of {url} broke off after {received:,} bytes.",
        code="metrics.truncated",
        why=why,
        remedy=f"Run the same command again. {_LOOK_AT_LOG}",
    )


def _answer(connection: HTTPConnection, url: str, path: str) -> HTTPResponse:
    try:
        connection.connect()
    except TimeoutError:
        raise
    except OSError as error:
        raise ExternalError(
            f"Nothing answers at {url}.",
            code="metrics.refused",
            why=str(error),
            remedy=f"Is the environment running? {_LOOK_AT_LOG}",
        ) from error
    connection.request("GET", path)
    response = connection.getresponse()
    if response.status != 200:
        raise _unavailable(url, f"It answered {response.status} {response.reason}.".strip())
    return response


def _unavailable(url: str, why: str) -> ExternalError:
    return ExternalError(
        f"There are no metrics at {url}.",
        code="metrics.unavailable",
        why=why,
        remedy=f"Is that the port that serves metrics, and is the server ready? {_LOOK_AT_LOG}",
    )


def _slow(url: str, timeout_s: float, received: int) -> LabTimeoutError:
    return LabTimeoutError(
        f"The metrics of {url} did not come within {timeout_s:g} s.",
        code="metrics.slow",
        why=f"{received:,} bytes came. The page grows with the number of objects.",
        remedy=f"Run the same command again when the server is less busy. {_LOOK_AT_LOG}",
    )
