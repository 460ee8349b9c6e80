"""Materialize out of an image, by the program itself, with ``image`` as its only setting.

No image can be pulled here: the one that runs holds the stand-in for environmentd.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import docker
import docker_images
import psycopg
import pytest
from docker_support import engine_or_skip, take_away
from lab_driver import Driver, make_driver, remove_driver
from materialize_driver import check_of, free_ports

from lab.servers.container_records import Role
from lab.servers.containers import Container

NEWER = "26.25.0-dev.0"


@pytest.fixture(scope="module")
def client() -> Iterator[docker.DockerClient]:
    with engine_or_skip() as opened:
        yield opened


@pytest.fixture(scope="module")
def image(client: docker.DockerClient) -> str:
    return docker_images.standin(client)


@pytest.fixture(scope="module")
def newer_image(client: docker.DockerClient, image: str) -> Iterator[str]:
    container = client.containers.create(image, environment={"STANDIN_VERSION": NEWER})
    made = container.commit(f"{docker_images.REPOSITORY}/newer", str(os.getpid()))
    container.remove()
    yield made.tags[0]
    client.images.remove(made.id, force=True)


@dataclass
class ImageLab(Driver):
    """A workspace whose environment is a container."""

    client: docker.DockerClient = field(kw_only=True)
    port: int = field(kw_only=True)

    def declare(self, image: str, *lines: str) -> None:
        known = ('target = "materialize"', "[materialize]", f'image = "{image}"')
        text = "\n".join([*known, f"port = {self.port}", *lines])
        (self.directory / "lab.toml").write_text(f"{text}\n")

    @property
    def labelled(self) -> Container:
        return Container(self.directory, "materialize", Role.ENVIRONMENT)

    def container(self) -> docker.models.containers.Container:
        return self.client.containers.get(self.labelled.name)

    def inject(self, **faults: object) -> None:
        """Write a fault to where the stand-in looks for it."""
        script = f"open('/mzdata/control.json', 'w').write({json.dumps(faults)!r})"
        assert self.container().exec_run(["python3", "-c", script]).exit_code == 0

    def tables(self) -> list[str]:
        query = "SELECT name FROM mz_objects WHERE id LIKE 'u%' AND type = 'table' ORDER BY name"
        with contextlib.closing(
            psycopg.connect(
                f"host=127.0.0.1 port={self.port} user=materialize dbname=materialize",
                options="--welcome_message=off",
                autocommit=True,
            )
        ) as connection:
            return [str(row[0]) for row in connection.execute(query)]

    def status(self) -> dict[str, object]:
        return self.json("env.status").data["situation"]


@pytest.fixture
def lab(client: docker.DockerClient, image: str) -> Iterator[ImageLab]:
    made = make_driver()
    lab = ImageLab(made.directory, made.home, client=client, port=free_ports(4))
    lab.variables = {"LAB_MEASURE_MOST_SAMPLES": "20"}
    lab.declare(image)
    yield lab
    take_away(client, lab.labelled)
    remove_driver(lab)


def test_the_image_is_the_only_setting_that_an_investigation_needs(
    client: docker.DockerClient, image: str, lab: ImageLab
) -> None:
    assert lab.status()["phase"] == "absent"
    lab.ok("env.start")
    boots = lab.json("env.status", "--boot").data["boots"]
    assert boots[0]["phases"]
    assert boots[0]["objects"] == 0
    situation = lab.status()
    assert situation["phase"] == "running"
    digest = str(client.images.get(image).id).removeprefix("sha256:")[:12]
    assert f"[{digest}]" in str(situation["build"])
    assert "v26.24.0-dev.0" in str(situation["build"])

    lab.ok("lab.seed", "--count", "50")
    changed = lab.ok("env.set", "max_tables=4321")
    assert "4321" in changed.out
    checks = lab.json("env.verify", "--objects", "50").data
    assert [each["name"] for each in checks["checks"] if not each["passed"]] == []
    assert check_of(checks, "volume")["found"] == "outlives the container"

    measured = lab.json("session.measure", "--statements", "create-table", "--samples", "20")
    assert measured.code == 0, measured.err
    (evidence,) = lab.directory.glob("ddl-perf-evidence/001/run-*.json")
    passport = json.loads(evidence.read_text())["passport"]
    told = json.dumps(passport)
    assert digest in told
    assert "within the image" in told
    assert "mz_catalog_transact_seconds" in lab.ok("metrics.show", "--match", "transact").out
    profile = lab.ok("measure.profile", "--seconds", "1")
    assert "apply_catalog_implications" in profile.out

    before = lab.tables()
    assert len(before) == 50
    lab.ok("env.stop")
    assert lab.status()["phase"] == "stopped"
    lab.ok("env.start")
    assert lab.tables() == before

    lab.ok("env.reset", "--because", "the test is over", "--yes", "materialize")
    assert lab.status()["phase"] == "absent"
    assert client.volumes.list(filters={"name": lab.labelled.name}) == []
    lab.ok("env.start")
    assert lab.json("env.verify", "--objects", "0").code == 0


def test_a_server_that_halts_is_started_anew_and_one_that_panics_is_not(lab: ImageLab) -> None:
    lab.ok("env.start")
    first = lab.container().attrs["State"]["StartedAt"]
    lab.inject(halt_after_ddl=10)
    lab.ok("lab.seed", "--count", "30")
    assert len(lab.tables()) == 30
    assert lab.container().attrs["State"]["StartedAt"] != first

    lab.inject(panic_after_ddl=5)
    failed = lab.json("lab.seed", "--count", "60")
    assert (failed.code, failed.error["code"]) == (6, "server.gone")
    assert lab.status()["phase"] == "crashed"
    assert "panicked" in lab.ok("env.logs").out
    lab.ok("lab.seed", "--count", "60")
    assert len(lab.tables()) == 60


def test_what_runs_otherwise_than_declared_is_a_drift_that_the_lab_mends(
    image: str, newer_image: str, lab: ImageLab
) -> None:
    lab.ok("env.start")
    lab.ok("lab.seed", "--count", "5")
    before = lab.tables()
    more = 'arguments = ["--log-filter=info"]'
    lab.declare(image, more)
    assert "- made from other arguments" in str(lab.status()["drift"])
    lab.declare(newer_image, more)
    assert "- build image v26.24.0-dev.0" in str(lab.status()["drift"])
    lab.port = free_ports(4)
    lab.declare(newer_image, more)
    refused = lab.json("env.start")
    assert (refused.code, refused.error["code"]) == (4, "environment.other-ports")

    lab.ok("lab.up")
    situation = lab.status()
    assert situation["drift"] == []
    assert f"v{NEWER}" in str(situation["build"])
    assert lab.container().attrs["Args"] == ["--log-filter=info"]
    assert lab.tables() == before
    # State goes forward only.
    lab.declare(image, more)
    refused = lab.json("lab.up")
    assert refused.error["code"] == "state.newer-version"


def test_what_only_a_checkout_has_is_refused(image: str, lab: ImageLab) -> None:
    refused = lab.json("env.start", "--build", "optimized")
    assert refused.error["code"] == "image.one-build"
    assert "`image`" in refused.error["next"]
    lab.declare(image, 'checkout = "elsewhere"', 'build = "optimized"')
    both = lab.json("env.status")
    assert (both.code, both.error["code"]) == (2, "image.not-with")
    assert "`checkout` and `build`" in both.error["next"]


def test_an_image_or_an_engine_that_is_not_there(lab: ImageLab) -> None:
    lab.declare("127.0.0.1:1/nobody/nothing:1")
    missing = lab.json("env.start")
    assert missing.error["code"] == "docker.no-image"
    assert "docker pull 127.0.0.1:1/nobody/nothing:1" in missing.error["next"]
    assert lab.status()["phase"] == "absent"
    engine = lab.json("env.start", DOCKER_HOST=f"unix://{lab.directory}/none.sock")
    assert (engine.code, engine.error["code"]) == (3, "docker.missing")


def test_a_container_is_known_by_its_labels_and_one_without_volume_is_an_alarm(
    client: docker.DockerClient, image: str, lab: ImageLab
) -> None:
    client.containers.run(
        image,
        name=lab.labelled.name,
        labels=lab.labelled._labels,
        ports={f"{6875 + i}/tcp": ("127.0.0.1", lab.port + i) for i in range(4)},
        detach=True,
    )
    lab.ok("env.start")
    assert "v26.24.0-dev.0" in str(lab.status()["build"])
    assert lab.json("env.start").envelope["steps"][0]["status"] == "ok"
    checks = lab.json("env.verify").data["checks"]
    assert [each["name"] for each in checks if not each["passed"]] == ["volume"]
    alarms = [each for each in lab.json("lab.doctor").data["findings"] if each["name"] == "state"]
    assert "volatile" in alarms[0]["found"]
