"""The way to an upstream is timed, as it is."""

import time

import msgspec
import psycopg
import pytest
from delay_proxy import DelayProxy
from watched_support import as_role, watched_upstream, workspace

from lab.core.errors import ExternalError, PreconditionError
from lab.servers.ports import choose_free
from lab.upstream.probe import probe


@pytest.fixture(scope="module")
def link():
    with workspace() as place, watched_upstream(place, tables=1) as made:
        yield made.link()


def by(link, proxy):
    return msgspec.structs.replace(link, port=proxy.port)


def test_raw_times_of_both(link):
    connect_ns, round_trip_ns = probe(link, times=7)
    assert (len(connect_ns), len(round_trip_ns)) == (7, 7)
    assert all(type(ns) is int for ns in connect_ns + round_trip_ns)
    assert 0 < min(round_trip_ns) < min(connect_ns)


def test_a_longer_way_is_seen(link):
    with DelayProxy(link.host, link.port, delay_s=0.02) as proxy:
        slow_connect_ns, slow_ns = probe(by(link, proxy), times=3)
        proxy.delay_s = 0.0
        _, quick_ns = probe(by(link, proxy), times=3)
    assert min(slow_ns) >= 40e6
    assert min(slow_ns) < 60e6
    # The start, and two exchanges to prove the password.
    assert min(slow_connect_ns) >= 3 * 40e6
    assert min(quick_ns) < 20e6


def test_a_wrong_password_is_refused(link):
    with pytest.raises(ExternalError) as raised:
        probe(msgspec.structs.replace(link, password="wrong"), times=1)
    assert raised.value.code == "upstream.refused"
    assert "wrong" not in raised.value.why


def test_nothing_answers(link):
    with pytest.raises(PreconditionError) as raised:
        probe(msgspec.structs.replace(link, port=choose_free()), times=1)
    assert raised.value.code == "upstream.not-running"
    assert link.password not in raised.value.why


def test_connections_can_be_cut(link):
    with DelayProxy(link.host, link.port) as proxy:
        with as_role(by(link, proxy)) as connection:
            connection.execute("SELECT 1")
            proxy.cut()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
            assert connection.broken
        with as_role(by(link, proxy)) as connection:
            connection.execute("SELECT 1")
        assert proxy.connections == 2


def test_what_is_sent_arrives_whole_and_in_order_while_the_delay_changes(link):
    with (
        DelayProxy(link.host, link.port, delay_s=0.03) as proxy,
        as_role(by(link, proxy)) as connection,
    ):
        started = time.monotonic()
        proxy.delay_s = 0.0
        rows = connection.execute("SELECT g FROM generate_series(1, 50000) AS g").fetchall()
        assert [row[0] for row in rows] == list(range(1, 50001))
        assert time.monotonic() - started < 5


def test_a_target_that_is_not_there():
    with DelayProxy("127.0.0.1", choose_free()) as proxy, pytest.raises(psycopg.OperationalError):
        psycopg.connect(host="127.0.0.1", port=proxy.port, dbname="x", user="x")


def test_no_variable_and_no_service_leads_elsewhere(link, monkeypatch, tmp_path):
    service = tmp_path / "services"
    service.write_text(
        "[elsewhere]\nhostaddr=127.0.0.3\nport=1\ndbname=template1\noptions=-c geqo=what\n"
    )
    for name, value in {
        "PGSERVICEFILE": str(service),
        "PGSERVICE": "elsewhere",
        "PGHOSTADDR": "127.0.0.3",
        "PGOPTIONS": "-c geqo=what",
        "PGSSLMODE": "verify-full",
        "PGREQUIREAUTH": "md5",
        "PGCHANNELBINDING": "require",
    }.items():
        monkeypatch.setenv(name, value)
    connect_ns, _ = probe(link, times=1)
    assert len(connect_ns) == 1
