"""Sessions are read out of the logs of all versions, however the text comes in pieces."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.upstream.logs import SessionLog, why_unseen

# As PostgreSQL 15 and 18 wrote it, the first with its own prefix, the second with the lab's.
LOG_15 = """\
2026-11-23 12:23:27.915 UTC [10367] LOG:  connection received: host=127.0.0.1 port=52492
2026-11-23 12:23:27.916 UTC [10367] LOG:  connection authorized: user=reads database=upstream
2026-11-23 12:23:27.922 UTC [10367] LOG:  disconnection: session time: 0:00:00.010 user=reads \
database=upstream host=127.0.0.1 port=52492
2026-11-23 12:23:27.924 UTC [10368] LOG:  connection received: host=127.0.0.1 port=52494
2026-11-23 12:23:27.926 UTC [10368] LOG:  replication connection authorized: user=reads
2026-11-23 12:23:27.966 UTC [10368] LOG:  logical decoding found consistent point at 0/19965F8
2026-11-23 12:23:27.966 UTC [10368] DETAIL:  There are no running transactions.
2026-11-23 12:23:27.992 UTC [10368] LOG:  disconnection: session time: 0:00:00.069 user=reads \
database=upstream host=127.0.0.1 port=52494
"""
LOG_18 = """\
2026-11-23 12:22:53.015 UTC [5778] [unknown] LOG:  connection received: host=127.0.0.1 port=58980
2026-11-23 12:22:53.120 UTC [5778] [unknown] LOG:  connection authenticated: identity="reads" \
method=scram-sha-256 (/data/pg_hba.conf:115)
2026-11-23 12:22:53.120 UTC [5778] [unknown] LOG:  connection authorized: user=reads \
database=upstream application_name=made [1] up
2026-11-23 12:22:53.143 UTC [5788] [unknown] LOG:  connection authorized: user=reads \
database=upstream_100
2026-11-23 12:22:53.144 UTC [5789] [unknown] LOG:  connection authorized: user=readers \
database=upstream
2026-11-23 12:22:53.164 UTC [5778] made [1] up LOG:  disconnection: session time: 1:02:03.149 \
user=reads database=upstream host=127.0.0.1 port=58980
2026-11-23 12:22:53.165 UTC [5788] [unknown] LOG:  disconnection: session time: 0:00:00.200 \
user=reads database=upstream_100 host=127.0.0.1 port=58981
2026-11-23 12:22:53.166 UTC [5789] [unknown] LOG:  disconnection: session time: 0:00:00.300 \
user=readers database=upstream host=127.0.0.1 port=58982
"""
BOTH = LOG_15 + LOG_18
LASTED_NS = 10 * 10**6 + (3723 * 1000 + 149) * 10**6


def fed(*texts):
    log = SessionLog("reads", "upstream")
    for text in texts:
        log.feed(text)
    return log


@pytest.mark.parametrize(
    ("text", "lasted_ns"), [(LOG_15, 10 * 10**6), (LOG_18, LASTED_NS - 10 * 10**6)]
)
def test_sessions_of_the_role_in_the_database_and_no_others(text, lasted_ns):
    log = fed(text)
    assert (log.begun, log.ended_ns, log.open) == (1, lasted_ns, frozenset())


@given(st.lists(st.integers(0, len(BOTH)), max_size=8))
def test_a_log_may_come_in_any_pieces(cuts):
    ends = [0, *sorted(cuts), len(BOTH)]
    log = fed(*(BOTH[a:b] for a, b in pairwise(ends)))
    assert (log.begun, log.ended_ns, log.open) == (2, LASTED_NS, frozenset())


@given(st.text())
def test_any_text_can_be_in_a_log(text):
    log = fed("\n" + text + "\n", LOG_15)
    assert log.begun == 1


def test_a_session_is_open_until_its_end_is_written():
    lines = LOG_15.splitlines(keepends=True)
    log = fed("".join(lines[:2]))
    assert (log.begun, log.open) == (1, {10367})
    log.feed(lines[2][:-1])
    assert (log.ended_ns, log.open) == (0, {10367})
    log.feed("\n")
    assert (log.ended_ns, log.open) == (10 * 10**6, frozenset())


def test_ends_of_sessions_that_began_before_are_not_counted():
    after = "".join(LOG_15.splitlines(keepends=True)[2:])
    assert (fed(after).begun, fed(after).ended_ns) == (0, 0)


def test_a_session_that_was_given_up_adds_nothing():
    lines = LOG_15.splitlines(keepends=True)
    log = fed("".join(lines[:2]))
    log.give_up(frozenset({10367}))
    log.feed(lines[2])
    assert (log.begun, log.ended_ns) == (1, 0)


SEEN = {
    "log_connections": "on",
    "log_disconnections": "on",
    "log_line_prefix": "%m [%p] ",
    "lc_messages": "en_US.utf8",
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"log_connections": "all"},
        {"log_connections": "receipt, authorization"},
        {"lc_messages": "C"},
        {"lc_messages": ""},
    ],
)
def test_settings_with_which_sessions_are_logged(changes):
    assert why_unseen(SEEN | changes) == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"log_connections": "off"},
        {"log_connections": ""},
        {"log_connections": "receipt"},
        {"log_disconnections": "off"},
        {"log_line_prefix": "%m "},
        {"lc_messages": "de_DE.utf8"},
    ],
)
def test_settings_with_which_they_are_not(changes):
    assert next(iter(changes)) in why_unseen(SEEN | changes)
