"""A Docker engine for a test module, or the reason why its tests are skipped."""

import contextlib
import socket
import urllib.error
import urllib.request

import docker
import docker_images
import pytest

from lab.servers import ports
from lab.servers.containers import WORKSPACE


@contextlib.contextmanager
def engine_or_skip():
    try:
        client = docker.from_env()
    except docker.errors.DockerException as error:
        pytest.skip(f"no Docker engine: {error} (tests/install_docker.sh brings one)")
    with contextlib.closing(client):
        try:
            docker_images.base(client)
        except OSError as error:
            pytest.skip(f"no images can be made: {error}")
        yield client


def take_away(client, container):
    """Remove what the lab made under the labels of ``container``."""
    label = f"{WORKSPACE}={container._labels[WORKSPACE]}"
    for each in client.containers.list(all=True, filters={"label": label}):
        each.remove(force=True, v=True)
    for each in client.volumes.list(filters={"label": label}):
        each.remove()


def answer(port):
    """What the little server answers; None where nothing does."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as reply:
            return reply.read().decode()
    except (urllib.error.URLError, OSError):
        return None


def free_ports(count):
    while True:
        first = ports.choose_free()
        if all(ports.is_free(each) for each in range(first, first + count)):
            return first


@contextlib.contextmanager
def held_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]
