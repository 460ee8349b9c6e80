from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from contextlib import closing

import pytest
from measured_postgres import MeasuredPostgres, value

from lab.measure.sampler import Sampler, answers, undisturbed
from lab.servers.connection import Connection


def test_the_time_is_the_servers_and_within_the_clients(connection: Connection) -> None:
    sampler = Sampler(connection)
    began = time.perf_counter_ns()
    reply = sampler.time(b"SELECT pg_sleep(0.02)")
    total_ns = time.perf_counter_ns() - began
    assert 20_000_000 <= reply.duration_ns < total_ns
    assert began < reply.sent_ns < began + total_ns
    assert (reply.error, reply.lost) == ("", "")


def test_all_results_are_read(connection: Connection) -> None:
    sampler = Sampler(connection)
    reply = sampler.time(b"SELECT generate_series(1, 100000); SELECT pg_sleep(0.02)")
    assert reply.duration_ns >= 20_000_000
    assert value(connection, "SELECT 7") == 7


def test_a_failing_statement_is_told_and_leaves_the_connection_fit(connection: Connection) -> None:
    sampler = Sampler(connection)
    reply = sampler.time(b"DROP TABLE not_there")
    assert reply.error == '42P01 table "not_there" does not exist'
    assert reply.lost == ""
    assert sampler.time(b"SELECT 1").error == ""


def test_a_failure_after_a_success_is_told(connection: Connection) -> None:
    assert Sampler(connection).time(b"SELECT 1; SELECT 1/0").error == "22012 division by zero"


def test_a_server_that_does_not_answer_is_given_up(server: MeasuredPostgres) -> None:
    with closing(server.connect("test")) as connection:
        began = time.monotonic()
        reply = Sampler(connection, timeout_s=0.2).time(b"SELECT pg_sleep(30)")
        assert time.monotonic() - began < 5
        assert reply.lost == "no answer within 0.2 s"
        assert reply.duration_ns >= 200_000_000
        connection.cancel_safe()


def test_a_connection_that_is_ended_is_lost(
    server: MeasuredPostgres, connection: Connection
) -> None:
    with closing(server.connect("test")) as ended:
        sampler = Sampler(ended)
        killer = threading.Timer(
            0.2,
            connection.execute,
            ["SELECT pg_terminate_backend(%s)", (ended.info.backend_pid,)],
        )
        killer.start()
        reply = sampler.time(b"SELECT pg_sleep(30)")
        killer.join()
        assert "administrator command" in reply.lost
        assert sampler.time(b"SELECT 1").lost
        assert not answers(ended)
    assert answers(connection)


def test_ctrl_c_gets_through_while_a_statement_runs(server: MeasuredPostgres) -> None:
    with closing(server.connect("test")) as connection:
        sampler = Sampler(connection)
        interrupt = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT])

        def wait() -> None:
            with undisturbed():
                # Not before: a hook of the garbage collection there may swallow the signal.
                interrupt.start()
                sampler.time(b"SELECT pg_sleep(30)")

        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            wait()
        assert time.monotonic() - began < 5
        assert gc.isenabled()
        connection.cancel_safe()


def test_python_is_left_as_it_was_found() -> None:
    interval = sys.getswitchinterval()
    with undisturbed():
        assert not gc.isenabled()
        assert sys.getswitchinterval() < interval
    assert gc.isenabled()
    assert sys.getswitchinterval() == interval
