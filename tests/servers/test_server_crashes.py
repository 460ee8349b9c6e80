"""Servers that are killed, or are ending when a command comes along."""

import contextlib
import os
import signal
import subprocess
import threading

import psutil
import pytest
from server_support import (
    QUIET,
    Listening,
    kill,
    make_server,
    postmasters,
    query,
)

from lab.core.errors import LabTimeoutError
from lab.core.results import Status
from lab.servers import launch, stopping
from lab.servers.accounts import account_for
from lab.servers.records import Condition


def test_recovers_after_a_kill_and_says_so(root):
    server = make_server(root)
    server.start(QUIET)
    query(server, "CREATE TABLE kept (a int)")
    kill(server)
    (step,) = server.start(QUIET)
    assert step.status is Status.CHANGED
    assert "recovered after a crash; redo took" in step.why
    assert query(server, "SELECT to_regclass('kept') IS NOT NULL") == (True,)

    server.stop(QUIET)
    (step,) = server.start(QUIET)
    assert "recovered" not in step.why


def test_waits_for_backends_that_outlive_a_killed_server(root, monkeypatch):
    server = make_server(root)
    server.start(QUIET)
    connection = server.connect("postgres", "ddl-lab test")
    backend = connection.info.backend_pid
    os.kill(backend, signal.SIGSTOP)
    try:
        kill(server)
        monkeypatch.setattr(stopping, "SURVIVORS_S", 0.3)
        with pytest.raises(LabTimeoutError, match=str(backend)):
            server.start(QUIET)
    finally:
        os.kill(backend, signal.SIGCONT)
    connection.close()
    monkeypatch.undo()
    (step,) = server.start(QUIET)
    assert "recovered" in step.why


def test_kills_a_server_that_does_not_listen_to_signals(root, monkeypatch):
    server = make_server(root)
    server.start(QUIET)
    monkeypatch.setattr(stopping, "SESSIONS_S", 0.2)
    monkeypatch.setattr(stopping, "_FORCED", ((signal.SIGQUIT, 0.2), (signal.SIGKILL, 10.0)))
    os.kill(server.inspect().process.pid, signal.SIGSTOP)
    (step,) = server.stop(QUIET)
    assert "SIGKILL" in step.why
    assert "recovers" in step.why
    assert postmasters(root) == []


def test_a_pid_that_went_to_another_process_is_no_server(root):
    server = make_server(root)
    server.start(QUIET)
    kill(server)
    bystander = subprocess.Popen(["sleep", "60"], **account_for(server.data).popen_arguments())
    try:
        file = server.data / "postmaster.pid"
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join([f"{bystander.pid}\n", *lines[1:]]))
        assert server.inspect().condition is Condition.CRASHED
        server.start(QUIET)
        assert server.inspect().condition is Condition.RUNNING
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_start_right_after_a_kill_waits_and_succeeds(root):
    server = make_server(root)
    server.start(QUIET)
    connections = [server.connect("postgres", "ddl-lab test") for _ in range(8)]
    for _ in range(5):
        query(server, "CREATE TABLE IF NOT EXISTS t AS SELECT generate_series(1, 20000)")
        os.kill(server.inspect().process.pid, signal.SIGKILL)
        (step,) = server.start(QUIET)
        assert step.status is Status.CHANGED
        assert "recovered" in step.why
        assert len(postmasters(root)) == 1
    for connection in connections:
        connection.close()


def test_a_start_waits_for_what_outlives_a_kill_and_succeeds(root):
    server = make_server(root)
    server.start(QUIET)
    with contextlib.closing(server.connect("postgres", "ddl-lab test")) as connection:
        backend = psutil.Process(connection.info.backend_pid)
        backend.suspend()
        os.kill(server.inspect().process.pid, signal.SIGKILL)
        resume = threading.Timer(1.0, backend.resume)
        resume.start()
        (step,) = server.start(QUIET)
        resume.join()
    assert "recovered" in step.why
    assert len(postmasters(root)) == 1


def test_a_server_that_is_killed_while_it_is_adopted_is_started_anew(root):
    server = make_server(root)
    server.start(QUIET)
    before = server.inspect().process
    os.kill(before.pid, signal.SIGSTOP)  # it listens, and answers nobody
    kill_later = threading.Timer(0.5, os.kill, (before.pid, signal.SIGKILL))
    kill_later.start()
    (step,) = server.start(QUIET)
    kill_later.join()
    assert step.status is Status.CHANGED
    assert "recovered" in step.why
    assert server.inspect().process != before


def checkpointer(server) -> psutil.Process:
    children = psutil.Process(server.inspect().process.pid).children()
    return next(each for each in children if "checkpointer" in " ".join(each.cmdline()))


@contextlib.contextmanager
def slow_checkpoint(server, seconds: float):
    """Keep the checkpointer from its work, as a slow disk does, and let it go on then."""
    process = checkpointer(server)
    process.suspend()
    timer = threading.Timer(seconds, process.resume)
    timer.start()
    yield
    timer.join()


def test_a_start_while_the_server_shuts_down_waits_and_succeeds(root):
    server = make_server(root)
    server.start(QUIET)
    before = server.inspect().process
    progress = Listening()
    with slow_checkpoint(server, 1.0):
        os.kill(before.pid, signal.SIGINT)
        assert launch.wait_until(lambda: server.inspect().stopping, 10)
        (step,) = server.start(progress)
    assert step.status is Status.CHANGED
    assert "recovered" not in step.why
    assert any("shutting down" in said for said in progress.said)
    assert server.inspect().process != before
    assert query(server, "SELECT 1") == (1,)


def test_a_stop_waits_for_the_last_checkpoint_and_says_so(root, monkeypatch):
    monkeypatch.setattr(stopping, "SESSIONS_S", 0.7)
    monkeypatch.setattr(stopping, "_QUIET_S", 0.6)
    server = make_server(root)
    server.start(QUIET)
    progress = Listening()
    with slow_checkpoint(server, 1.8):
        (step,) = server.stop(progress)
    assert any("checkpoint" in said for said in progress.said)
    assert "recovers" not in step.why
    assert server.inspect().condition is Condition.STOPPED


def test_a_checkpoint_is_not_broken_off(root, monkeypatch):
    server = make_server(root)
    server.start(QUIET)
    process = server.inspect().process
    monkeypatch.setattr(stopping, "CHECKPOINT_S", 0.3)
    with (
        slow_checkpoint(server, 1.5),
        pytest.raises(LabTimeoutError) as caught,
    ):
        stopping.end_in_order(process, QUIET)
    assert caught.value.code == "server.still-stopping"
    assert launch.wait_until(lambda: not process.alive(), 10)
    assert server.inspect().condition is Condition.STOPPED


def test_ctrl_c_while_it_stops_leaves_it_stopping(root):
    server = make_server(root)
    server.start(QUIET)
    progress = Listening()
    with slow_checkpoint(server, 1.0):
        interrupt = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        interrupt.start()
        with pytest.raises(KeyboardInterrupt):
            server.stop(progress)
    assert any("goes on stopping by itself" in said for said in progress.said)
    (step,) = server.stop(QUIET)
    assert step.status in (Status.OK, Status.CHANGED)
    assert server.inspect().condition is Condition.STOPPED


def test_a_reset_writes_no_checkpoint(root):
    server = make_server(root)
    server.start(QUIET)
    with server.log.open() as log:
        server.reset(QUIET)
        said = log.read()
    assert "received immediate shutdown request" in said
    assert "checkpoint starting: shutdown" not in said
    assert server.inspect().condition is Condition.ABSENT
    assert postmasters(root) == []
