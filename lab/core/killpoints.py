"""Points at which a test may kill the process, to prove that the next command converges.

Each journaled step passes two of them, ``STEP:before`` and ``STEP:after``. They do nothing unless
``LAB_KILL_AT`` names one, which is how the crash tests reach every gap between two steps.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "LAB_KILL_AT"


def reached(point: str) -> None:
    """Die by SIGKILL if ``LAB_KILL_AT`` names this point."""
    if os.environ.get(VARIABLE) == point:
        os.kill(os.getpid(), signal.SIGKILL)
