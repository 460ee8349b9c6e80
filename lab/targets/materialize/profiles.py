"""Profiles of environmentd, over its internal HTTP."""

from __future__ import annotations

import msgspec

from lab.core.errors import ExternalError, PreconditionError
from lab.metrics.stacks import Stack, from_page
from lab.targets.materialize import http
from lab.targets.materialize.ports import Ports

_BEYOND_S = 60.0


class HttpProfiler(msgspec.Struct, frozen=True):
    """The profiler that environmentd has built in (src/prof-http)."""

    ports: Ports

    def cpu(self, seconds: int, hertz: int) -> tuple[bytes, tuple[Stack, ...]]:
        """Sample all threads, merged, for ``seconds``; return the flamegraph page and its stacks.

        Raises
        ------
        ExternalError, LabTimeoutError
            It does not answer, or refuses.
        """
        form = f"action=time_fg&time_secs={seconds}&hz={hertz}&threads=merge"
        answer = http.call(
            self.ports.internal_http,
            "/prof/",
            method="POST",
            form=form,
            timeout_s=seconds + _BEYOND_S,
        )
        if answer.status != 200:
            raise ExternalError(
                f"The profile was refused: HTTP status {answer.status}.",
                code="profile.refused",
                why=answer.text[:200],
                remedy="Another profile may be under way: wait for its end, then run it again.",
            )
        try:
            return answer.body, from_page(answer.body.decode(errors="replace"))
        except ValueError as error:
            raise ExternalError(
                "The profile cannot be read.",
                code="profile.unreadable",
                why=f"{error}.",
                remedy="This version of Materialize may write another form: try `--perf`.",
            ) from error

    def heap(self) -> bytes:
        """Return a heap profile.

        Raises
        ------
        PreconditionError
            The build has none, or it is not activated.
        """
        answer = http.call(self.ports.internal_http, "/prof/heap", timeout_s=_BEYOND_S)
        if answer.status != 200:
            raise PreconditionError(
                "There is no heap profile.",
                code="profile.no-heap",
                why=answer.text[:200] or f"HTTP status {answer.status}.",
                remedy="Heap profiles need a build with jemalloc, and profiling activated.",
            )
        return answer.body
