"""Materialize out of an image, with a little server in its place: no image can be pulled here."""

import docker_images
import pytest
from docker_support import answer, engine_or_skip, free_ports, held_port, take_away

from lab.core.config import MaterializeConfig
from lab.core.errors import ExternalError, LabTimeoutError, PreconditionError
from lab.core.progress import SilentProgress
from lab.core.results import Status
from lab.core.workspace import Workspace
from lab.servers.records import Condition
from lab.targets.materialize.image import ImageRunner, image_build

QUIET = SilentProgress()


@pytest.fixture(scope="module")
def client():
    with engine_or_skip() as opened:
        yield opened


@pytest.fixture
def make_runner(client, tmp_path):
    image = docker_images.materialized(client)
    made = []

    def make(**changes):
        settings = {"image": image, "port": free_ports(4), "start_timeout_s": 30} | changes
        made.append(ImageRunner(Workspace(tmp_path), MaterializeConfig(**settings), "main"))
        return made[-1], settings["port"]

    yield make
    take_away(client, made[0].container)


def ready_on(port):
    return lambda: "" if answer(port) else "no answer yet"


def test_all_four_ports_answer_and_the_state_outlives_the_container(client, make_runner):
    runner, port = make_runner(arguments=("--log-filter=info",))
    assert runner.inspect().condition is Condition.ABSENT
    (step,) = runner.start(QUIET, ready_on(port + 3))
    assert step.status is Status.CHANGED
    assert [answer(each) for each in range(port, port + 4)] == ["1 --log-filter=info"] * 4
    assert runner.start(QUIET, ready_on(port + 3))[0].status is Status.OK
    assert "ready" in runner.log_tail(2)

    runner.stop(QUIET)
    assert runner.inspect().condition is Condition.STOPPED
    client.containers.get(runner.container.name).remove()
    runner.start(QUIET, ready_on(port + 3))
    assert answer(port) == "2 --log-filter=info"


def test_it_gets_the_variables_and_reports_to_nobody(client, make_runner):
    runner, port = make_runner()
    runner.start(QUIET, ready_on(port), {"MZ_SOFT_ASSERTIONS": "0"})
    given = client.containers.get(runner.container.name).attrs["Config"]["Env"]
    assert {"MZ_SOFT_ASSERTIONS=0", "MZ_NO_TELEMETRY=1"} <= set(given)


def test_the_build_is_the_image(client, make_runner):
    runner, port = make_runner()
    runner.start(QUIET, ready_on(port))
    found = runner.inspect()
    build = image_build(found, "v26.24.0 (1234abcd)")
    assert found.image_id == client.images.get(found.image).id
    assert build.id == found.image_id.removeprefix("sha256:")[:12]
    assert (build.version, build.origin) == ("v26.24.0 (1234abcd)", found.image)


def test_reset_begins_anew(make_runner):
    runner, port = make_runner()
    runner.start(QUIET, ready_on(port))
    runner.reset(QUIET)
    assert runner.inspect().condition is Condition.ABSENT
    runner.start(QUIET, ready_on(port))
    assert answer(port).split()[0] == "1"


def test_one_that_dies_while_starting(make_runner):
    runner, port = make_runner()
    with pytest.raises(ExternalError) as caught:
        runner.start(QUIET, ready_on(port), {"STOP_AFTER_S": "0.1"})
    assert caught.value.code == "container.exited"
    assert "panicked" in caught.value.why


def test_one_that_never_gets_ready(make_runner):
    runner, port = make_runner(start_timeout_s=1)
    with pytest.raises(LabTimeoutError) as caught:
        runner.start(QUIET, ready_on(port), {"NEVER_READY": "1"})
    assert "no answer yet" in caught.value.what
    runner.stop(QUIET)


def test_a_port_that_is_taken(make_runner):
    with held_port() as held:
        runner, port = make_runner(port=held - 2)
        with pytest.raises(PreconditionError) as caught:
            runner.start(QUIET, ready_on(port))
    assert (caught.value.code, str(held) in caught.value.what) == ("port.taken", True)
