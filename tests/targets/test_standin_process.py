"""The stand-in's processes: wrapper chain, durable state, fencing, adoption, reset, builds."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import psycopg
import pytest
from standin import (
    Law,
    listener_config,
    set_behaviour,
    set_faults,
    set_version,
)
from standin_support import (
    Environment,
    environment,
    forget_sockets,
    free_ports,
    metadata_store,
    root_folder,
    wait_until,
)

FAST = {"boot_ms": 60.0, "boot_per_1000_objects_ms": 0.0, "build_seconds": 0.0}
COUNT = "SELECT type, count(*) FROM mz_objects WHERE id LIKE 'u%' GROUP BY type"


@pytest.fixture(scope="module")
def metadata():
    with root_folder() as root, metadata_store(root) as made:
        yield made


@pytest.fixture
def made(metadata):
    with environment(metadata, law=Law(2, 0), **FAST) as made:
        yield made


def counts(made: Environment) -> dict[str, int]:
    with made.connect() as connection:
        return dict(connection.execute(COUNT).fetchall())


def run_sql(made: Environment, *statements: str, user: str = "materialize") -> None:
    with made.connect(user) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def exit_code(process: subprocess.Popen) -> int:
    return process.wait(20)


def test_chain_of_processes(made):
    wrapper = made.up()
    server = made.server()
    middle = server.parent()
    workers = made.processes("clusterd")
    assert psutil.Process(wrapper.pid).cmdline()[1:4] == [
        "-m",
        "materialize.cli.run",
        "environmentd",
    ]
    assert middle.ppid() == wrapper.pid
    assert os.getpgid(middle.pid) == middle.pid
    assert {os.getpgid(p.pid) for p in (server, *workers)} == {middle.pid}
    assert len(workers) == 2
    assert all(worker.ppid() == server.pid for worker in workers)
    assert Path(server.exe()) == made.checkout / "target" / "debug" / "environmentd"
    assert server.cmdline()[0] == str(made.checkout / "mzbuild" / "bin" / "environmentd")
    wrapper.send_signal(signal.SIGINT)
    wrapper.wait(10)
    assert wait_until(lambda: not made.processes("environmentd") + made.processes("clusterd"), 10)


def test_killed_wrapper_leaves_the_rest(made):
    wrapper = made.up()
    wrapper.send_signal(signal.SIGTERM)
    wrapper.wait(10)
    assert made.server().is_running()
    assert made.ready()


def test_state_outlives_restarts_and_builds(made):
    made.up()
    first = made.environment_id
    run_sql(made, "CREATE SCHEMA s", "CREATE TABLE s.a (a int)", "CREATE TABLE b (a int)")
    run_sql(made, "CREATE VIEW v AS SELECT a FROM b", "DROP TABLE s.a")
    run_sql(made, "ALTER SYSTEM SET max_tables = 7", user="mz_system")
    made.stop()
    made.up("--optimized")
    assert made.environment_id == first
    assert counts(made) == {"table": 1, "view": 1}
    with made.connect() as connection:
        assert connection.execute("SHOW max_tables").fetchone() == ("7",)
        connection.execute("CREATE TABLE s.c (a int)")
    assert made.server().exe().endswith("target/optimized/environmentd")


def test_lost_id_is_an_empty_environment(made):
    made.up()
    run_sql(made, "CREATE TABLE a (a int)")
    made.stop()
    forget_sockets(made)
    (made.checkout / "mzdata" / "environment-id").unlink()
    made.up()
    assert counts(made) == {}


def test_missing_blobs_are_a_panic(made):
    made.up()
    run_sql(made, "CREATE TABLE a (a int)")
    made.stop()
    shutil.rmtree(made.checkout / "mzdata" / "persist")
    assert exit_code(made.start()) not in (0, None)
    assert "missing unleased key" in made.log.read_text()


def test_second_start_fences_the_first(made):
    wrapper = made.up()
    config = made.root / "listeners.json"
    other = free_ports()
    config.write_text(json.dumps(listener_config(other, "127.0.0.1")))
    arguments = made.server().cmdline()
    second = [*arguments, f"--listeners-config-path={config}"]
    second.append(f"--internal-persist-pubsub-listen-addr=127.0.0.1:{other + 4}")
    made.start(command=second)
    assert exit_code(wrapper) != 0
    log = made.log.read_text()
    assert "unable to advance catalog upper" in log
    assert "Fence(Epoch { current_epoch: 2, fence_epoch: 3 })" in log


def test_workers_are_adopted_with_their_environment(made):
    wrapper = made.up(MZ_SOFT_ASSERTIONS="0")
    before = {worker.pid for worker in made.processes("clusterd")}
    os.kill(wrapper.pid, signal.SIGKILL)
    server = made.server()
    arguments, middle = server.cmdline(), server.parent()
    os.kill(middle.pid, signal.SIGKILL)
    server.terminate()
    server.wait(10)
    assert {worker.pid for worker in made.processes("clusterd")} == before
    made.up(command=arguments, MZ_SOFT_ASSERTIONS="1")
    workers = made.processes("clusterd")
    assert {worker.pid for worker in workers} == before
    assert {worker.environ()["MZ_SOFT_ASSERTIONS"] for worker in workers} == {"0"}
    assert counts(made) == {}


def test_reset_destroys(made):
    made.up()
    run_sql(made, "CREATE TABLE a (a int)")
    first = made.environment_id
    made.stop()
    forget_sockets(made)
    made.up("--reset")
    assert made.environment_id != first
    assert counts(made) == {}


def test_newer_state_is_refused(made):
    made.up()
    made.stop()
    set_version(made.checkout, "26.23.0-dev.0")
    wrapper = made.start()
    message = "code at version 26.23.0-dev.0 cannot read data with version 26.24.0-dev.0"
    assert wait_until(lambda: message in made.log.read_text(), 15)
    assert wait_until(lambda: "environmentd halted; will restart" in made.log.read_text(), 5)
    wrapper.kill()


def test_saved_binaries_run_elsewhere(made):
    made.up()
    run_sql(made, "CREATE TABLE a (a int)")
    arguments = made.server().cmdline()
    made.stop()
    saved = made.root / "saved"
    saved.mkdir()
    for program in ("environmentd", "clusterd"):
        shutil.copy2(made.checkout / "target" / "debug" / program, saved / program)
    shutil.rmtree(made.checkout / "target")
    made.up(command=[str(saved / "environmentd"), *arguments[1:]])
    assert counts(made) == {"table": 1}
    assert Path(made.server().exe()) == saved / "environmentd"
    assert {Path(worker.exe()) for worker in made.processes("clusterd")} == {saved / "clusterd"}


def test_builds(made):
    hashes = set()
    for flags in ((), ("--optimized",), ("--release",)):
        done = made.build(*flags)
        assert done.returncode == 0
        assert "   Compiling mz-adapter v" in done.stderr
        assert "    Finished `" in done.stderr
        profile = flags[0].removeprefix("--") if flags else "debug"
        folder = made.checkout / "target" / profile
        hashes |= {(folder / name).read_bytes() for name in ("environmentd", "clusterd")}
    assert len(hashes) == 6
    before = (made.checkout / "target" / "debug" / "environmentd").stat()
    assert "Compiling" not in made.build().stderr
    assert (made.checkout / "target" / "debug" / "environmentd").stat() == before
    assert not _dirty(made)
    set_behaviour(made.checkout, Law(3, 0), **FAST)
    assert _dirty(made)
    assert "Compiling" in made.build().stderr
    assert (made.checkout / "target" / "debug" / "environmentd").read_bytes() not in hashes


def _dirty(made: Environment) -> bool:
    command = ["git", "-C", str(made.checkout), "status", "--porcelain"]
    return bool(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_failing_build(made):
    set_faults(made.checkout, build_fails=True)
    done = made.build("+nightly", "--optimized")
    assert done.returncode == 1
    assert "error[E0308]: mismatched types" in done.stderr
    assert "error: could not compile `mz-adapter`" in done.stderr
    assert not (made.checkout / "target").exists()


def test_clients_hang_until_the_adapter_is_up(made):
    set_faults(made.checkout, hang_before_ready=True)
    made.start()
    assert wait_until(lambda: made.get("/api/readyz") == (503, "not ready"), 10)
    assert made.get("/api/livez") == (200, "Liveness check successful!")
    assert made.get("/metrics")[0] == 200
    with pytest.raises(psycopg.errors.ConnectionTimeout):
        made.connect(connect_timeout=2)


def test_halts_are_restarted_and_panics_are_not(made):
    wrapper = made.up()
    set_faults(made.checkout, halt_after_ddl=2)
    run_sql(made, "CREATE TABLE a (a int)")
    with pytest.raises(psycopg.OperationalError):
        run_sql(made, "CREATE TABLE b (a int)")
    assert wait_until(lambda: "environmentd halted; will restart" in made.log.read_text())
    assert wait_until(made.ready, 15)
    assert counts(made) == {"table": 2}
    set_faults(made.checkout, panic_after_ddl=1)
    with pytest.raises(psycopg.OperationalError):
        run_sql(made, "CREATE TABLE c (a int)")
    assert exit_code(wrapper) != 0
    assert "panicked at" in made.log.read_text()


def test_abort_is_what_a_panic_ends_with(made):
    made.up()
    arguments = made.server().cmdline()
    made.stop()
    set_faults(made.checkout, panic_at_boot="no reason")
    assert exit_code(made.start(command=arguments)) == -signal.SIGABRT


def test_faults_of_connections(made):
    made.up()
    set_faults(made.checkout, conflicts=1)
    with made.connect() as connection:
        with pytest.raises(psycopg.errors.SerializationFailure):
            connection.execute("CREATE TABLE a (a int)")
        connection.execute("CREATE TABLE a (a int)")
        set_faults(made.checkout, reset_after_ddl=1)
        with pytest.raises(psycopg.OperationalError, match=r"reset|closed"):
            connection.execute("CREATE TABLE b (a int)")
    assert counts(made) == {"table": 2}
    set_faults(made.checkout, refuse="no more of you")
    with pytest.raises(psycopg.OperationalError, match="no more of you"):
        made.connect()


def test_faults_of_http(made):
    made.up()
    assert made.get("/api/coordinator/check") == (200, '""')
    set_faults(made.checkout, coordinator_check="read holds", readyz_never=True)
    assert json.loads(made.get("/api/coordinator/check")[1]) == {"err": "read holds"}
    assert made.get("/api/readyz") == (503, "not ready")
    assert made.get("/metrics", port=1)[0] == 404
    assert made.get("/prof/heap")[0] == 400


def test_restart_of_the_metadata_store(made):
    from lab.core.progress import SilentProgress

    made.up()
    with made.connect() as connection:
        connection.execute("CREATE TABLE a (a int)")
        made.metadata.server.stop(SilentProgress())
        made.metadata.server.start(SilentProgress())
        connection.execute("CREATE TABLE b (a int)")
    assert counts(made) == {"table": 2}


def test_blobs_that_go_under_a_living_server(made):
    made.up()
    blobs = made.checkout / "mzdata" / "persist" / "blob"
    aside = blobs.with_name("aside")
    with made.connect() as connection:
        connection.execute("CREATE TABLE a (a int)")
        blobs.rename(aside)
        connection.pgconn.send_query(b"CREATE TABLE b (a int)")
        assert wait_until(lambda: "blob::set failed, retrying" in made.log.read_text(), 10)
        aside.rename(blobs)
        assert connection.pgconn.get_result().command_status == b"CREATE TABLE"
        assert connection.pgconn.get_result() is None
    assert counts(made) == {"table": 2}


def test_arguments(made):
    made.build()
    binary = made.checkout / "target" / "debug" / "environmentd"
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"environmentd v26\.24\.0-dev\.0 \([0-9a-f]{9}\)", said.splitlines()[0])
    done = subprocess.run([binary, "--nonsense=1"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "unexpected argument '--nonsense' found" in done.stderr


def test_ports_that_are_taken(made):
    made.up()
    done = subprocess.run(
        made.server().cmdline(), capture_output=True, text=True, check=False, timeout=20
    )
    assert done.returncode == -signal.SIGABRT
    assert "Address already in use" in done.stderr


def test_latency_follows_the_law(made):
    set_behaviour(made.checkout, Law(10, 2000, soft_assertion_factor=1, jitter=0), **FAST)
    made.up()
    with made.connect() as connection:
        taken = []
        for number in range(15):
            began = time.monotonic()
            connection.execute(f"CREATE TABLE t{number} (a int)".encode())
            taken.append(time.monotonic() - began)
    for number, seconds in enumerate(taken):
        assert 0.010 + 0.002 * number <= seconds + 0.0005
    assert sorted(taken)[7] < 0.010 + 0.002 * 8 + 0.02
