"""Calls of environmentd's internal HTTP, on loopback."""

from __future__ import annotations

import http.client
from typing import NamedTuple

from lab.core.errors import ExternalError, LabTimeoutError
from lab.servers.ports import LOOPBACK


class Answer(NamedTuple):
    """An HTTP answer, read whole."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace").strip()


def call(
    port: int, path: str, *, timeout_s: float, method: str = "GET", form: str | None = None
) -> Answer:
    """Make one call and return its answer, whatever its status.

    Raises
    ------
    ExternalError
        ``http.no-answer``: nothing listens there, or the connection broke.
    LabTimeoutError
        ``http.slow``: no answer within ``timeout_s`` seconds.
    """
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout_s)
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if form is not None else {}
    try:
        connection.request(method, path, body=form, headers=headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read())
    except TimeoutError as error:
        raise LabTimeoutError(
            f"{LOOPBACK}:{port}{path} did not answer within {timeout_s:g} s.",
            code="http.slow",
            why="The server is busy, or hangs.",
            remedy="Look at `env.logs`, then run the command again.",
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise ExternalError(
            f"{LOOPBACK}:{port}{path} gives no answer.",
            code="http.no-answer",
            why=str(error) or type(error).__name__,
            remedy="`env.status` says what runs; `env.logs` shows what it says.",
        ) from error
    finally:
        connection.close()
