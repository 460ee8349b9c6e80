"""Read out of a server's log which sessions of one role in one database began and ended.

With ``log_connections`` and ``log_disconnections`` PostgreSQL 14 to 18 write, each after a prefix
that ends in ``LOG:`` and two spaces::

    connection authorized: user=NAME database=NAME application_name=…
    replication connection authorized: user=NAME application_name=…
    disconnection: session time: 0:00:00.006 user=NAME database=NAME host=…

Which lines belong together is told by the process id in the prefix, ``[%p]``, which PostgreSQL's
own setting of ``log_line_prefix`` has. Since 18 ``log_connections`` may also be a list of what is
written. Sources: PostgreSQL's documentation, "Error Reporting and Logging"; logs of 15 and 18.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_ANY = re.compile(r"[^\[\n]*\[(?P<pid>\d+)\].*? LOG:  (?P<message>.*)")
_SPENT = re.compile(r"disconnection: session time: (\d+):(\d\d):(\d\d)\.(\d{1,3}) ")
_OFF = frozenset({"", "off", "false", "no", "0"})
_ALL = frozenset({"on", "true", "yes", "1", "all"})
_PLAIN_LANGUAGES = ("c", "posix", "en")

SETTINGS = ("log_connections", "log_disconnections", "log_line_prefix", "lc_messages")
"""What decides whether `why_unseen` finds something to say."""


def why_unseen(settings: Mapping[str, str]) -> str:
    """Return why a server of ``settings`` (see `SETTINGS`) logs no sessions; empty where it does.

    PostgreSQL shows an ``lc_messages`` that was never set as empty.
    """
    connections = {each.strip() for each in settings["log_connections"].lower().split(",")}
    if not connections & (_ALL | {"authorization"}):
        return "log_connections is off"
    if settings["log_disconnections"].lower() in _OFF:
        return "log_disconnections is off"
    if "[%p]" not in settings["log_line_prefix"]:
        return "log_line_prefix has no [%p]"
    language = settings["lc_messages"].lower()
    if language and not language.startswith(_PLAIN_LANGUAGES):
        return f"lc_messages is {settings['lc_messages']}"
    return ""


class SessionLog:
    """Sessions of ``role`` in ``database``, as far as the log was fed in.

    Replication connections are left out, and of sessions that began before the first line that was
    fed in, their ends: what they were cannot be told any more.
    """

    def __init__(self, role: str, database: str) -> None:
        self.begun = 0
        """How many sessions began."""
        self.ended_ns = 0
        """What those lasted that ended, in ns; the log gives whole ms, rounded down."""
        self._open: set[int] = set()
        self._rest = ""
        who = f"user={re.escape(role)} database={re.escape(database)}"
        self._begins = re.compile(f"connection authorized: {who}(?: .*)?")
        self._ends = re.compile(f"{_SPENT.pattern}{who}(?: .*)?")

    def __repr__(self) -> str:
        return f"SessionLog(begun={self.begun}, open={sorted(self._open)})"

    @property
    def open(self) -> frozenset[int]:
        """The process ids of the sessions that began and have not ended."""
        return frozenset(self._open)

    def feed(self, text: str) -> None:
        """Take in what was written since; the beginning of a line waits for the rest of it."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            found = _ANY.fullmatch(line.rstrip("\r"))
            if found:
                self._take(int(found["pid"]), found["message"])

    def give_up(self, pids: frozenset[int]) -> None:
        """Wait no longer for the ends of the sessions ``pids``: a killed process writes none."""
        self._open -= pids

    def _take(self, pid: int, message: str) -> None:
        if self._begins.fullmatch(message):
            self.begun += 1
            self._open.add(pid)
            return
        ended = self._ends.fullmatch(message)
        if ended and pid in self._open:
            self._open.remove(pid)
            hours, minutes, seconds, fraction = ended.groups()
            whole = (int(hours) * 60 + int(minutes)) * 60 + int(seconds)
            self.ended_ns += whole * 10**9 + int(fraction.ljust(3, "0")) * 10**6
