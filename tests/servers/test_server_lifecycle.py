"""A server is started, adopted and stopped, with real processes and real signals."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys

import pytest
from server_support import QUIET, START, make_server, postmasters, query, start_elsewhere

from lab.core.errors import PreconditionError
from lab.core.results import Status
from lab.servers import binaries, cluster, launch, postgres
from lab.servers.accounts import account_for
from lab.servers.records import KILL_POINTS, Condition


def test_starts_adopts_and_stops(empty_root):
    server = make_server(empty_root)
    assert server.inspect().condition is Condition.ABSENT
    steps = server.start(QUIET)
    assert [(step.name, step.status) for step in steps] == [
        ("state", Status.CHANGED),
        ("server", Status.CHANGED),
    ]
    found = server.inspect()
    assert found.condition is Condition.RUNNING

    again = make_server(empty_root)
    (step,) = again.start(QUIET)
    assert step.status is Status.OK
    assert f"pid {found.process.pid}" in step.why
    assert again.inspect() == found

    (step,) = again.stop(QUIET)
    assert step.status is Status.CHANGED
    assert server.inspect().condition is Condition.STOPPED
    assert postmasters(empty_root) == []
    (step,) = server.stop(QUIET)
    assert step.status is Status.OK


def test_outlives_the_command_and_its_terminal(root):
    leader, terminal = pty.openpty()
    shell = '"$0" "$@"; echo done; read forever'
    command = subprocess.Popen(
        ["setsid", "--ctty", "sh", "-c", shell, sys.executable, "-c", START, str(root), "start"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    said = b""
    while b"done" not in said:
        said += os.read(leader, 1000)
    os.close(leader)
    assert command.wait(10) != 0  # hung up

    server = make_server(root)
    found = server.inspect()
    assert found.condition is Condition.RUNNING
    assert os.getsid(found.process.pid) == found.process.pid
    (step,) = server.start(QUIET)
    assert step.status is Status.OK


def test_a_start_killed_anywhere_is_taken_up_again(empty_root):
    server = make_server(empty_root)
    ends_before_the_launch = KILL_POINTS[: KILL_POINTS.index("env.start.launch:after")]
    for point in KILL_POINTS:
        killed = start_elsewhere(empty_root, kill_at=point)
        assert killed.returncode == -signal.SIGKILL, (point, killed.stderr)
        if point in ends_before_the_launch:
            assert server.inspect().condition in (Condition.ABSENT, Condition.STOPPED)
            continue
        (step,) = server.start(QUIET)
        assert step.status is Status.OK, point  # adopted, not started again
        assert len(postmasters(empty_root)) == 1
        assert query(server, "SELECT 1") == (1,)
        server.stop(QUIET)
    server.start(QUIET)
    assert not list(server.folder.glob(".ddl-lab-*"))


def test_two_starts_at_once_make_one_server(root):
    commands = [
        subprocess.Popen(
            [sys.executable, "-c", START, str(root), "start"], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = sorted(command.communicate(timeout=60)[0].split()[1] for command in commands)
    assert said == ["changed", "ok"]
    assert len(postmasters(root)) == 1


def test_names_who_holds_the_port_and_keeps_the_port(root):
    server = make_server(root)
    server.start(QUIET)
    port = server.inspect().port
    server.stop(QUIET)
    with socket.create_server(("127.0.0.1", port)):
        with pytest.raises(PreconditionError) as caught:
            server.start(QUIET)
        assert caught.value.code == "port.taken"
        assert str(os.getpid()) in caught.value.why
    server.start(QUIET)
    assert server.inspect().port == port


def test_takes_the_port_that_is_declared(root):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = make_server(root, port=port)
    server.start(QUIET)
    assert server.inspect().port == port
    assert query(server, "SHOW port") == (str(port),)


def test_nothing_runs(root):
    server = make_server(root)
    with pytest.raises(PreconditionError) as caught:
        server.connect("postgres", "ddl-lab test")
    assert caught.value.code == "environment.not-running"


def test_leaves_a_server_alone_that_it_did_not_start(root):
    server = make_server(root)
    server.start(QUIET)
    server.stop(QUIET)
    other = subprocess.Popen(
        [server.binaries.program("postgres"), "-D", server.data],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=cluster.environment(),
        **account_for(server.data).popen_arguments(),
    )
    try:
        assert launch.wait_until(lambda: cluster.is_ready(server.data), 20)
        found = server.inspect()
        assert found.condition is Condition.FOREIGN
        assert found.process.pid == other.pid
        for action in (server.start, server.stop, server.reset):
            with pytest.raises(PreconditionError) as caught:
                action(QUIET)
            assert caught.value.code == "server.foreign"
        assert other.poll() is None
    finally:
        other.send_signal(signal.SIGINT)
        other.wait(20)


def test_the_record_tells_the_process_by_more_than_its_pid(root):
    server = make_server(root)
    server.start(QUIET)
    record = json.loads((root / "environments" / "main.json").read_text())
    assert record["process"]["executable"] == str(binaries.shipped().program("postgres").resolve())
    record["process"]["since_boot"] -= 10
    (root / "environments" / "main.json").write_text(json.dumps(record))
    (server.folder / "launch.json").unlink()
    assert server.inspect().condition is Condition.FOREIGN


def test_a_log_is_put_aside_when_it_has_grown(root, monkeypatch):
    server = make_server(root)
    server.log.parent.mkdir()
    server.log.write_bytes(b"old\n" * 100)
    monkeypatch.setattr(postgres.logs, "MAX_BYTES", 100)
    server.start(QUIET)
    assert server.log.with_name("main.log.1").read_bytes() == b"old\n" * 100
    assert "ready to accept connections" in server.log_tail(20)
    assert len(server.log_tail(2).splitlines()) == 2
