"""The standard streams, whose other ends may be missing or go away at any time."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.core.errors import PreconditionError


def ensure_streams() -> None:
    """Give the process all three streams, where it was started with one of them closed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123


def settle_streams() -> None:
    """Flush what was said; what nobody can read any more is let go of.

    Without this the interpreter would try again at its end, complain, and exit with 120.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


def output_lost(error: OSError) -> PreconditionError:
    """Return the lab's error for a result that standard output did not take."""
    from lab.core.errors import PreconditionError

    return PreconditionError(
        "Standard output cannot be written.",
        code="output.lost",
        why=f"{error.strerror}.",
        remedy="The task itself has ended as it should. Send its output elsewhere; "
        "`session.brief` and `log.show` say again what came of it.",
    )
