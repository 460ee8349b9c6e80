"""An upstream in a container that cannot be had, is taken away, or is not the lab's."""

import os
import socket

import docker_images
import pytest
from docker_support import engine_or_skip, free_ports, held_port, take_away
from provider_support import QUIET, ask

from lab.core.config import UpstreamConfig
from lab.core.errors import ExternalError, LabTimeoutError, PreconditionError
from lab.core.results import Status
from lab.core.workspace import Workspace
from lab.servers.records import Condition
from lab.upstream import container
from lab.upstream.container import ContainerProvider


@pytest.fixture(scope="module")
def client():
    with engine_or_skip() as opened:
        yield opened


@pytest.fixture(scope="module")
def image(client):
    return docker_images.postgres(client)


@pytest.fixture
def make(client, tmp_path):
    """Makes providers of one workspace; all that they made is taken away."""

    def made(**config):
        return ContainerProvider(Workspace(tmp_path), UpstreamConfig(**config))

    yield made
    take_away(client, made().container)


@pytest.mark.parametrize("address", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:1"])
def test_no_engine(tmp_path, monkeypatch, address):
    monkeypatch.setenv("DOCKER_HOST", address)
    provider = ContainerProvider(Workspace(tmp_path), UpstreamConfig())
    for act in (
        provider.inspect,
        lambda: provider.start(QUIET),
        lambda: provider.stop(QUIET),
        lambda: provider.destroy(QUIET),
        provider.address,
        lambda: provider.connect("test"),
    ):
        with pytest.raises(PreconditionError) as caught:
            act()
        assert caught.value.code == "docker.missing"
    left = {each.name for each in (tmp_path / ".lab/upstream").iterdir()}
    assert not left & {"container-password", "container.json"}


def test_no_image(make):
    provider = make(image="127.0.0.1:1/nobody/postgres:17")
    with pytest.raises(PreconditionError) as caught:
        provider.start(QUIET)
    assert caught.value.code == "docker.no-image"
    assert "docker pull 127.0.0.1:1/nobody/postgres:17" in caught.value.remedy
    assert provider.inspect().condition is Condition.ABSENT


def test_one_that_runs_goes_on_where_the_declared_image_is_not_there(make, image):
    provider = make(image=image)
    provider.start(QUIET)
    before = provider.inspect()
    with pytest.raises(PreconditionError) as caught:
        make(image="127.0.0.1:1/nobody/postgres:17").start(QUIET)
    assert caught.value.code == "docker.no-image"
    assert provider.inspect() == before


def test_another_image_is_taken_on_the_same_volume(client, make, image):
    provider = make(image=image)
    provider.start(QUIET)
    ask(provider, "CREATE TABLE kept (a int)")
    client.images.get(image).tag("ddl-lab-test/renamed-postgres", "1")
    try:
        other = make(image="ddl-lab-test/renamed-postgres:1")
        assert [each.status for each in other.start(QUIET)] == [Status.CHANGED] * 2
        assert "renamed-postgres" in other.inspect().detail
        assert ask(other, "SELECT count(*) FROM kept") == [(0,)]
    finally:
        take_away(client, provider.container)
        client.images.remove("ddl-lab-test/renamed-postgres:1")


def test_the_image_comes_after_it_was_missing(make, image):
    with pytest.raises(PreconditionError):
        make(image="127.0.0.1:1/nobody/postgres:17").start(QUIET)
    provider = make(image=image)
    provider.start(QUIET)
    assert ask(provider, "SELECT 1") == [(1,)]


def test_the_declared_port_is_taken(make, image):
    with held_port() as port:
        provider = make(image=image, port=port)
        with pytest.raises(PreconditionError) as caught:
            provider.start(QUIET)
        assert caught.value.code == "port.taken"
        assert str(port) in caught.value.what
        assert str(os.getpid()) in caught.value.why
        with pytest.raises(PreconditionError) as caught:
            provider.connect("test")
        assert caught.value.code == "upstream.not-running"
    provider.start(QUIET)
    assert provider.address() == ("127.0.0.1", port)


def test_the_kept_port_is_taken_and_another_is_declared(make, image):
    provider = make(image=image)
    provider.start(QUIET)
    ask(provider, "CREATE TABLE kept (a int)")
    address = provider.address()
    provider.stop(QUIET)
    with socket.create_server(address):
        with pytest.raises(PreconditionError) as caught:
            provider.start(QUIET)
        assert caught.value.code == "port.taken"
        other = make(image=image, port=free_ports(1))
        other.start(QUIET)
        assert ask(other, "SELECT count(*) FROM kept") == [(0,)]


def test_killed_while_running_it_starts_again_with_its_tables(client, make, image):
    provider = make(image=image)
    provider.start(QUIET)
    address = provider.address()
    ask(provider, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS a")
    handle = client.containers.get(provider.container.name)
    handle.kill()
    handle.wait()
    assert provider.inspect().condition is Condition.CRASHED
    with pytest.raises(PreconditionError) as caught:
        provider.connect("test")
    assert caught.value.code == "upstream.not-running"
    assert "crashed" in caught.value.why
    assert [each.status for each in provider.start(QUIET)] == [Status.CHANGED]
    assert provider.address() == address
    assert ask(provider, "SELECT count(*) FROM kept") == [(1000,)]


def test_removed_by_hand_it_is_made_anew_on_its_volume(client, make, image):
    provider = make(image=image)
    provider.start(QUIET)
    ask(provider, "CREATE TABLE kept (a int)")
    client.containers.get(provider.container.name).remove(force=True)
    assert provider.inspect().condition is Condition.STOPPED
    provider.start(QUIET)
    assert ask(provider, "SELECT count(*) FROM kept") == [(0,)]


def test_made_and_never_started_it_is_started(client, make, image):
    """As a command leaves it that was killed before its file with the password was there."""
    provider = make(image=image)
    with held_port() as port:
        with pytest.raises(PreconditionError):
            make(image=image, port=port).start(QUIET)
        assert client.containers.get(provider.container.name).status == "created"
    provider.start(QUIET)
    assert ask(provider, "SELECT 1") == [(1,)]


def test_a_stranger_of_the_same_name_is_left_alone(client, make, image):
    provider = make(image=image)
    stranger = client.containers.create(image, name=provider.container.name)
    try:
        with pytest.raises(PreconditionError) as caught:
            provider.start(QUIET)
        assert caught.value.code == "container.foreign"
        provider.stop(QUIET)
        provider.destroy(QUIET)
        assert client.containers.get(provider.container.name).id == stranger.id
    finally:
        stranger.remove(v=True)


@pytest.mark.parametrize("damage", ["lost", "other"])
def test_a_password_that_is_not_that_of_the_volume(make, image, tmp_path, damage):
    provider = make(image=image)
    provider.start(QUIET)
    file = tmp_path / ".lab/upstream/container-password"
    password = file.read_text()
    file.unlink()
    if damage == "other":
        file.write_text("guess\n")
        with pytest.raises(ExternalError) as caught:
            provider.connect("test")
        assert caught.value.code == "upstream.refused"
    for _ in range(2):  # of one that runs, and of one that is stopped
        with pytest.raises(ExternalError) as caught:
            provider.start(QUIET)
        assert caught.value.code == "upstream.refused"
        assert str(file) in caught.value.remedy
        assert password.strip() not in caught.value.why
        provider.stop(QUIET)
    file.write_text(password)
    provider.start(QUIET)
    assert ask(provider, "SELECT 1") == [(1,)]


def test_an_image_that_is_no_postgres_ends_with_its_log(client, make):
    provider = make(image=docker_images.cockroach(client))
    with pytest.raises(ExternalError) as caught:
        provider.start(QUIET)
    assert caught.value.code == "container.exited"
    assert "exit code 64" in caught.value.what
    assert provider.inspect().condition is Condition.CRASHED


def test_one_that_is_slow_goes_on_starting(make, image, monkeypatch):
    provider = make(image=image)
    with monkeypatch.context() as hurried:
        hurried.setattr(container, "READY_S", 0.0)
        with pytest.raises(LabTimeoutError) as caught:
            provider.start(QUIET)
    assert caught.value.code == "container.not-ready"
    assert provider.inspect().condition is Condition.RUNNING
    assert [each.status for each in provider.start(QUIET)] == [Status.OK]
    assert ask(provider, "SELECT 1") == [(1,)]


def test_a_database_that_is_not_there(make, image):
    provider = make(image=image)
    provider.start(QUIET)
    with pytest.raises(ExternalError) as caught:
        provider.connect("test")
    assert caught.value.code == "upstream.refused"
    assert '"upstream" does not exist' in caught.value.why
