"""Watch the upstream between the transactions of a batch benchmark, also where it is restarted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeVar

import psycopg

from lab.core.errors import LabError
from lab.measure.batch_ledger import Ledger
from lab.metrics.reading import Reading
from lab.upstream.activity import Activity
from lab.upstream.upstream import Upstream

_SETTLE_S = 30.0

T = TypeVar("T")


class AwayError(Exception):
    """The upstream does not answer; holds the error that says so."""

    def __init__(self, error: psycopg.Error | LabError) -> None:
        super().__init__(str(error))
        self.error = error


class Watch:
    """What is asked in one database of the upstream; takes down what it saw in ``ledger``.

    Holds a connection: to be closed. Raises psycopg.Error, LabError where it cannot be opened.
    """

    def __init__(self, upstream: Upstream, database: str, ledger: Ledger) -> None:
        self._upstream = upstream
        self._database = database
        self._ledger = ledger
        self._activity = Activity(upstream, database)

    def close(self) -> None:
        """Take down what was seen, as far as that can be told, and close the connection."""
        with contextlib.suppress(psycopg.Error, LabError):
            self._ledger.saw(self._activity.shapes_seen(), self._activity.unknown())
        with contextlib.suppress(psycopg.Error):
            self._activity.close()

    def settle(self) -> str:
        """Wait until the upstream is at rest; return what is still under way after 30 s.

        Raises
        ------
        AwayError
            It does not answer, on a new connection either.

        """
        with contextlib.suppress(AwayError):
            return _asked(lambda: self._activity.settle(_SETTLE_S))
        # The connection ends with a restart of the upstream, which may be there again.
        self.close()
        self._activity = _asked(lambda: Activity(self._upstream, self._database))
        return _asked(lambda: self._activity.settle(_SETTLE_S))

    def read(self) -> Reading:
        """Read what the upstream counted; raises AwayError."""
        return _asked(self._activity.read)

    def read_if_there(self) -> Reading | None:
        """Read what the upstream counted; None where it cannot be read."""
        with contextlib.suppress(AwayError):
            return self.read()
        return None


def sentences(error: psycopg.Error | LabError) -> str:
    """Return what is known of ``error``: what, why and what to do, without the last full stop."""
    parts = [str(error).partition("\n")[0]]
    if isinstance(error, LabError):
        parts = [error.what, error.why, error.remedy]
    return ". ".join(part.strip().rstrip(".") for part in parts if part)


def _asked(look: Callable[[], T]) -> T:
    try:
        return look()
    except (psycopg.Error, LabError) as error:
        raise AwayError(error) from error
