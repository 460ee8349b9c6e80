"""Names for what is kept: sessions, runs."""

from __future__ import annotations

import secrets
from datetime import datetime


def timed_id(now: datetime) -> str:
    """Return an id for what begins ``now`` (UTC): they sort by time, and no two are alike."""
    return f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
