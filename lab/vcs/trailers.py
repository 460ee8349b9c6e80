"""The trailers by which a change is known to belong to a session.

A trailer survives whatever moves a change about (rebase, amend, a new change id), which is why the
recording steps look for it rather than for an id that they remember.
"""

from __future__ import annotations

import re

SESSION = "Lab-Session"
ROLE = "Lab-Role"

_TRAILER = re.compile(r"[A-Za-z0-9-]+: \S.*")
_OURS = re.compile(rf"^(?:{SESSION}|{ROLE}): \S+[ \t]*(?:\n|\Z)", flags=re.MULTILINE)


def sign(message: str, session: str, role: str = "") -> str:
    """Return ``message`` with the trailers of ``session``, and of ``role`` where it has one.

    They replace those that ``message`` has already, and join others that it ends with in one
    paragraph, as git wants them.
    """
    body = _OURS.sub("", message).strip("\n").rstrip()
    trailers = [f"{SESSION}: {session}"] + ([f"{ROLE}: {role}"] if role else [])
    title, _, last = body.rpartition("\n\n")
    joined = not body or (title and all(map(_TRAILER.fullmatch, last.split("\n"))))
    return "\n".join([*([body] if body else []), *([] if joined else [""]), *trailers, ""])


def session_of(message: str) -> str:
    """Return the session that ``message`` names; empty where it names none."""
    return _last(SESSION, message)


def role_of(message: str) -> str:
    """Return the role that ``message`` names: ``prompt``, ``log``, or empty for the work itself."""
    return _last(ROLE, message)


def _last(name: str, message: str) -> str:
    # Hooks and jj's own `commit_trailers` may put more behind ours: every line counts.
    found = re.findall(rf"^{name}: (\S+)[ \t]*$", message, flags=re.MULTILINE)
    return found[-1] if found else ""
