"""Metadata stores in containers: the lab's own, and those of others that a URL leads to."""

import contextlib

import docker_images
import psycopg
import pytest
from docker_support import engine_or_skip, free_ports, take_away

from lab.core.config import MaterializeConfig
from lab.core.errors import ExternalError, PreconditionError
from lab.core.progress import SilentProgress
from lab.core.results import Status
from lab.core.workspace import Workspace
from lab.servers.launch import wait_until
from lab.servers.records import Condition
from lab.targets.materialize.metadata import metadata_store
from lab.targets.materialize.metadata_url import UrlStore

QUIET = SilentProgress()


@pytest.fixture(scope="module")
def client():
    with engine_or_skip() as opened:
        yield opened


@pytest.fixture(scope="module")
def images(client):
    named = {each: getattr(docker_images, each)(client) for each in ("postgres", "cockroach")}
    # CockroachDB by a name that does not say so, its entry point does; and the other way round.
    client.images.get(named["cockroach"]).tag("ddl-lab-test/renamed", "1")
    client.images.get(named["postgres"]).tag("ddl-lab-test/cockroach-like", "1")
    yield named | {each: f"ddl-lab-test/{each}:1" for each in ("renamed", "cockroach-like")}
    for each in ("renamed", "cockroach-like"):
        client.images.remove(f"ddl-lab-test/{each}:1")


@contextlib.contextmanager
def store_of(client, root, image):
    made = metadata_store(Workspace(root), MaterializeConfig(metadata=f"image:{image}"), "main")
    try:
        yield made
    finally:
        take_away(client, made.container)


@pytest.fixture
def store(client, tmp_path, images):
    with store_of(client, tmp_path, images["postgres"]) as made:
        yield made


@pytest.mark.parametrize(
    ("product", "user", "port"), [("postgres", "postgres", 5432), ("renamed", "root", 26257)]
)
def test_it_is_started_and_has_the_database(client, tmp_path, images, product, user, port):
    with store_of(client, tmp_path, images[product]) as store:
        assert store.url == ""
        assert store.inspect().condition is Condition.ABSENT
        steps = store.start(QUIET)
        assert steps[0].name == "metadata container"
        assert Status.CHANGED in {each.status for each in steps}
        found = store.inspect()
        assert (found.condition, found.kind) == (Condition.RUNNING, "image")
        assert (found.volatile, images[product] in found.detail) == ("", True)
        assert found.url == store.url
        assert store.url.startswith(f"postgres://{user}@127.0.0.1:")
        assert port in store.container.inspect().ports
        psycopg.connect(store.url).close()
        assert {each.status for each in store.start(QUIET)} == {Status.OK}


def test_what_it_holds_outlives_it(client, store):
    store.start(QUIET)
    url = store.url
    assert store.ensure_schemas() == ("consensus", "tsoracle", "storage")
    with store.connect("test") as connection:
        identity = store.identity(connection)
        assert store.sessions(connection) == ()
    store.stop(QUIET)
    assert store.inspect().condition is Condition.STOPPED
    with pytest.raises(PreconditionError) as caught:
        store.connect("test")
    assert caught.value.code == "metadata.down"
    client.containers.get(store.container.name).remove()
    store.start(QUIET)
    assert store.url == url
    with store.connect("test") as connection:
        assert store.identity(connection) == identity
        assert store.ensure_schemas() == ()
    store.reset(QUIET)
    assert store.inspect().condition is Condition.ABSENT
    store.start(QUIET)
    assert store.ensure_schemas() != ()


def test_a_name_that_says_cockroach_decides(client, tmp_path, images):
    with store_of(client, tmp_path, images["cockroach-like"]) as store:
        with pytest.raises(ExternalError) as caught:
            store.start(QUIET)
        assert caught.value.code == "container.exited"


@contextlib.contextmanager
def somebody_elses(client, image, **options):
    """A server that the lab did not make, and the store that its URL names."""
    port = free_ports(1)
    container = client.containers.run(
        image,
        ["postgres"],
        detach=True,
        environment={
            "PGDATA": "/somewhere/data",
            "POSTGRES_DB": "materialize",
            "POSTGRES_HOST_AUTH_METHOD": "trust",
        },
        ports={"5432/tcp": ("127.0.0.1", port)},
        **options,
    )
    try:
        url = f"postgres://postgres@127.0.0.1:{port}/materialize"
        assert wait_until(lambda: UrlStore(url).inspect().condition is Condition.RUNNING, 30)
        yield UrlStore(url), container
    finally:
        container.remove(force=True, v=True)


@pytest.fixture(scope="module")
def foreign(client, images):
    with somebody_elses(client, images["postgres"]) as made:
        yield made


def test_a_container_without_a_volume_is_volatile(foreign):
    store, container = foreign
    assert container.name in store.inspect().volatile
    store.start(QUIET)
    store.stop(QUIET)
    container.reload()
    assert container.status == "running"


def test_a_container_with_a_volume_is_not(client, images):
    volume = client.volumes.create()
    mounted = {volume.name: {"bind": "/somewhere", "mode": "rw"}}
    try:
        with somebody_elses(client, images["postgres"], volumes=mounted) as (store, _):
            assert store.inspect().volatile == ""
    finally:
        volume.remove()


def test_a_missing_database_is_made_where_the_user_may(foreign):
    store, _ = foreign
    other = UrlStore(store.url.replace("/materialize", "/another-one"))
    assert other.inspect().condition is Condition.STOPPED
    (step,) = other.start(QUIET)
    assert (step.status, "made the database another-one" in step.why) == (Status.CHANGED, True)
    assert other.start(QUIET)[0].status is Status.OK

    with store.connect("test") as connection:
        connection.execute("CREATE ROLE lowly LOGIN")
    lowly = UrlStore(store.url.replace("postgres@", "lowly@").replace("/mat", "/no-mat"))
    with pytest.raises(PreconditionError) as caught:
        lowly.start(QUIET)
    assert caught.value.code == "metadata.no-database"
    assert 'CREATE DATABASE "no-materialize" OWNER "lowly"' in caught.value.remedy
