"""Containers on a real engine: made, adopted, stopped, reset; nobody else's is touched."""

import contextlib
import os
import socket
import threading

import docker
import docker_images
import psutil
import pytest
from docker_support import answer, engine_or_skip, free_ports, held_port, take_away
from server_support import QUIET

from lab.core.errors import ExternalError, LabTimeoutError, PreconditionError
from lab.core.results import Status
from lab.servers import containers
from lab.servers.container_records import Plan, Role
from lab.servers.containers import Container
from lab.servers.records import Condition


@pytest.fixture(scope="module")
def client():
    with engine_or_skip() as opened:
        yield opened


@pytest.fixture(scope="module")
def image(client):
    return docker_images.materialized(client)


@pytest.fixture
def container(client, tmp_path):
    made = Container(tmp_path, "main", Role.ENVIRONMENT)
    yield made
    take_away(client, made)


@pytest.fixture
def plan(image):
    return make_plan(image)


def make_plan(image, **changes):
    return Plan(**({"image": image, "mount": "/mzdata", "ports": {6875: free_ports(1)}} | changes))


def start(container, plan, progress=QUIET, timeout_s=30):
    def lacks():
        return "" if answer(plan.ports[6875]) else "no answer"

    (step,) = container.start(plan, progress, lacks, timeout_s=timeout_s)
    return step


def starts(plan):
    return int(answer(plan.ports[6875]).split()[0])


def test_it_is_started_once_stopped_and_started_again_on_its_volume(client, container, plan):
    assert container.inspect().condition is Condition.ABSENT
    assert start(container, plan).status is Status.CHANGED
    found = container.inspect()
    assert found.condition is Condition.RUNNING
    assert found.image == plan.image
    assert found.image_id == client.images.get(plan.image).id
    assert found.ports == plan.ports
    assert found.volatile == ""
    assert found.started_at.endswith("+00:00")

    again = start(container, plan)
    assert (again.status, again.diff) == (Status.OK, ())
    assert found.short_id in again.why
    assert starts(plan) == 1

    (stopped,) = container.stop(QUIET)
    assert stopped.status is Status.CHANGED
    assert container.inspect().condition is Condition.STOPPED
    assert container.stop(QUIET)[0].status is Status.OK
    start(container, plan)
    assert container.inspect().id == found.id
    assert starts(plan) == 2


def test_a_removed_container_is_made_anew_on_its_volume(client, container, plan):
    start(container, plan)
    client.containers.get(container.name).remove(force=True)
    assert container.inspect().condition is Condition.STOPPED
    start(container, plan)
    assert starts(plan) == 2


def test_reset_removes_the_container_and_its_volume(client, container, plan):
    start(container, plan)
    assert [each.status for each in container.reset(QUIET)] == [Status.CHANGED, Status.CHANGED]
    assert container.inspect().condition is Condition.ABSENT
    with pytest.raises(docker.errors.NotFound):
        client.volumes.get(container.name)
    assert [each.status for each in container.reset(QUIET)] == [Status.OK, Status.OK]
    start(container, plan)
    assert starts(plan) == 1


def test_it_is_published_on_loopback_alone(client, container, plan):
    start(container, plan)
    bindings = client.containers.get(container.name).attrs["HostConfig"]["PortBindings"]
    assert {each["HostIp"] for hosts in bindings.values() for each in hosts} == {"127.0.0.1"}
    listening = {
        each.laddr.ip
        for each in psutil.net_connections("tcp")
        if each.status == "LISTEN" and each.laddr.port == plan.ports[6875]
    }
    assert listening <= {"127.0.0.1"}


def test_a_port_that_is_taken_is_named_with_its_holder(container, image):
    with held_port() as port:
        plan = make_plan(image, ports={6875: port})
        with pytest.raises(PreconditionError) as caught:
            start(container, plan)
    assert caught.value.code == "port.taken"
    assert str(port) in caught.value.what
    assert str(os.getpid()) in caught.value.why
    assert container.inspect().condition is Condition.STOPPED
    start(container, plan)
    assert starts(plan) == 1


def test_a_port_of_a_stopped_program_that_another_container_took(client, container, image):
    plan = make_plan(image)
    other = client.containers.run(
        image,
        detach=True,
        ports={"6875/tcp": ("127.0.0.1", plan.ports[6875])},
        tmpfs={"/mzdata": ""},
    )
    try:
        with pytest.raises(PreconditionError) as caught:
            start(container, plan)
    finally:
        other.remove(force=True)
    assert caught.value.code == "port.taken"


def test_one_that_ends_is_reported_with_exit_code_and_log(container, image):
    plan = make_plan(image, environment={"STOP_AFTER_S": "0.2"})
    with pytest.raises(ExternalError) as caught:
        start(container, plan)
    assert caught.value.code == "container.exited"
    assert "exit code 7" in caught.value.what
    assert "panicked: no more" in caught.value.why
    found = container.inspect()
    assert (found.condition, found.exit_code) == (Condition.CRASHED, 7)
    assert container.log_tail(1) == "thread 'main' panicked: no more"


def test_one_that_is_not_ready_in_time_is_left_to_the_next_start(container, image):
    plan = make_plan(image, environment={"NEVER_READY": "1"})
    with pytest.raises(LabTimeoutError) as caught:
        start(container, plan, timeout_s=0.8)
    assert caught.value.code == "container.not-ready"
    assert "no answer" in caught.value.what
    assert "thank you for trying" in caught.value.why
    found = container.inspect()
    assert found.condition is Condition.RUNNING
    container.start(plan, QUIET, lambda: "", timeout_s=5)
    assert container.inspect().id == found.id


def test_what_the_engine_refuses_is_said(container, image):
    with pytest.raises(ExternalError) as caught:
        start(container, make_plan(image, mount="not/absolute"))
    assert caught.value.code == "docker.failed"
    assert container.name in caught.value.what
    assert "not/absolute" in caught.value.why


def test_a_killed_one_has_crashed_and_starts_again(client, container, plan):
    start(container, plan)
    client.containers.get(container.name).kill()
    client.containers.get(container.name).wait()
    assert container.inspect().condition is Condition.CRASHED
    start(container, plan)
    assert starts(plan) == 2


def test_a_paused_one_can_be_stopped(client, container, plan):
    start(container, plan)
    client.containers.get(container.name).pause()
    container.stop(QUIET)
    assert container.inspect().condition is Condition.STOPPED


def test_another_plan_takes_effect_at_the_next_start(container, image):
    before, after = make_plan(image), make_plan(image, command=("--all",))
    start(container, before)
    first = container.inspect().id
    (adopted,) = container.start(after, QUIET, lambda: "", timeout_s=5)
    assert adopted.status is Status.OK
    assert f"+ ports 6875→{after.ports[6875]}" in adopted.diff
    assert container.inspect().id == first
    container.stop(QUIET)
    start(container, after)
    assert container.inspect().id != first
    assert answer(after.ports[6875]) == "2 --all"


def test_two_workspaces_and_two_roles_do_not_see_each_other(client, tmp_path, image):
    (tmp_path / "other").mkdir()
    made = [
        Container(tmp_path, "main", Role.ENVIRONMENT),
        Container(tmp_path, "main", Role.METADATA),
        Container(tmp_path / "other", "main", Role.ENVIRONMENT),
    ]
    try:
        start(made[0], make_plan(image))
        assert [each.inspect().condition for each in made[1:]] == [Condition.ABSENT] * 2
        for each in made[1:]:
            each.stop(QUIET)
            each.reset(QUIET)
        assert made[0].inspect().condition is Condition.RUNNING
    finally:
        for each in made:
            take_away(client, each)


def test_a_stranger_of_the_same_name_is_left_alone(client, container, plan):
    stranger = client.containers.create(plan.image, name=container.name)
    try:
        with pytest.raises(PreconditionError) as caught:
            start(container, plan)
        assert caught.value.code == "container.foreign"
        container.stop(QUIET)
        container.reset(QUIET)
        assert client.containers.get(container.name).id == stranger.id
    finally:
        stranger.remove()


def test_a_strange_volume_of_the_same_name_is_left_alone(client, container, plan):
    volume = client.volumes.create(container.name)
    try:
        for act in (lambda: start(container, plan), lambda: container.reset(QUIET)):
            with pytest.raises(PreconditionError) as caught:
                act()
            assert caught.value.code == "container.foreign"
        assert client.volumes.get(container.name)
    finally:
        volume.remove()


@pytest.mark.parametrize("address", ["tcp://192.0.2.7:2375", "ssh://somebody@192.0.2.7"])
def test_an_engine_elsewhere_is_refused(tmp_path, monkeypatch, address):
    monkeypatch.setenv("DOCKER_HOST", address)
    with pytest.raises(PreconditionError) as caught:
        Container(tmp_path, "main", Role.METADATA).inspect()
    assert caught.value.code == "docker.remote"


@pytest.mark.parametrize("address", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:1"])
def test_no_engine(tmp_path, monkeypatch, address):
    monkeypatch.setenv("DOCKER_HOST", address)
    with pytest.raises(PreconditionError) as caught:
        Container(tmp_path, "main", Role.METADATA).inspect()
    assert caught.value.code == "docker.missing"
    assert address in caught.value.what
    assert containers.publishing(1) is None


def test_something_that_is_no_engine(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/socket")
    with socket.create_server(str(tmp_path / "socket"), family=socket.AF_UNIX) as server:

        def hang_up():
            with contextlib.suppress(OSError):
                while True:
                    server.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(PreconditionError) as caught:
            Container(tmp_path, "main", Role.METADATA).inspect()
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert caught.value.code == "docker.missing"


def test_what_a_stranger_keeps(client, image):
    port = free_ports(1)
    volume = client.volumes.create()
    other = client.containers.run(
        image,
        ["--some", "type=mem"],
        detach=True,
        ports={"6875/tcp": ("127.0.0.1", port)},
        volumes={volume.name: {"bind": "/mzdata", "mode": "rw"}},
        tmpfs={"/mzdata/scratch": ""},
    )
    try:
        seen = containers.publishing(port)
        assert seen.name == other.name
        assert seen.arguments[-2:] == ("--some", "type=mem")
        assert seen.keeps("/mzdata")
        assert seen.keeps("/mzdata/deep/down")
        assert not seen.keeps("/mzdata/scratch/x")
        assert not seen.keeps("/var/lib")
        assert containers.publishing(free_ports(1)) is None
    finally:
        other.remove(force=True)
        volume.remove()
