"""What is declared is brought about, compared, and taken down, on a real server."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from provision_support import environment_in

from lab.core.config import Config, PopulationConfig
from lab.core.errors import UsageError
from lab.core.progress import SilentProgress
from lab.core.results import Outcome, Status
from lab.provision import environment as environments
from lab.provision import lab
from lab.targets.base import Environment, Phase

DECLARED = Config(population=PopulationConfig(count=50))
QUIET = SilentProgress()


def statuses(outcome: Outcome) -> list[Status]:
    return [step.status for step in outcome.steps]


def up(environment: Environment, *, check: bool = False, config: Config = DECLARED) -> Outcome:
    return lab.up(environment, config, check=check, diff=True, progress=QUIET)


@pytest.fixture
def absent(roots: Callable[[], Path]) -> Iterator[Environment]:
    environment = environment_in(roots())
    yield environment
    if environment.inspect().phase is not Phase.ABSENT:
        environment.reset(QUIET)


def test_the_whole_way_up_and_down(absent: Environment) -> None:
    foreseen = up(absent, check=True)
    assert statuses(foreseen) == [Status.WOULD_CHANGE, Status.WOULD_CHANGE]
    assert absent.inspect().phase is Phase.ABSENT
    done = up(absent)
    assert statuses(done) == [Status.CHANGED, Status.CHANGED]
    assert [step.diff for step in done.steps] == [step.diff for step in foreseen.steps]
    assert statuses(up(absent, check=True)) == [Status.OK, Status.OK]
    assert statuses(up(absent)) == [Status.OK, Status.OK]

    assert lab.down(absent, check=True, progress=QUIET).status is Status.WOULD_CHANGE
    assert absent.inspect().phase is Phase.RUNNING
    assert lab.down(absent, check=False, progress=QUIET).status is Status.CHANGED
    assert absent.inspect().phase is Phase.STOPPED
    assert lab.down(absent, check=False, progress=QUIET).status is Status.OK

    assert statuses(up(absent, check=True)) == [Status.WOULD_CHANGE, Status.SKIPPED]
    assert statuses(up(absent)) == [Status.CHANGED, Status.OK]


def test_other_settings_are_brought_into_effect_by_up_alone(
    environment: Environment, shared_root: Path
) -> None:
    other = environment_in(shared_root, {"work_mem": "5MB"})
    before = environment.inspect().process
    started = environments.start(other, check=False, progress=QUIET)
    assert statuses(started) == [Status.OK]
    assert "other settings" in started.steps[0].why
    foreseen = up(other, check=True, config=Config())
    assert other.inspect().process == before
    done = up(other, config=Config())
    assert statuses(done) == [Status.CHANGED]
    assert done.steps[0].diff == foreseen.steps[0].diff
    assert "work_mem" in str(foreseen.steps[0].diff)
    with contextlib.closing(other.connect("test")) as connection:
        assert connection.execute("SHOW work_mem").fetchone() == ("5MB",)
    assert statuses(up(other, check=True, config=Config())) == [Status.OK]
    assert statuses(up(environment, config=Config())) == [Status.CHANGED]


def test_differences_are_shown_only_when_asked_for(environment: Environment) -> None:
    brief = lab.up(environment, DECLARED, check=True, diff=False, progress=QUIET)
    assert statuses(brief) == [Status.OK, Status.WOULD_CHANGE]
    assert not any(step.diff for step in brief.steps)


def test_a_refusal_ends_up_with_its_exit_code_and_remedy(environment: Environment) -> None:
    up(environment)
    refused = up(environment, config=Config(population=PopulationConfig(count=10)))
    assert statuses(refused) == [Status.OK, Status.FAILED]
    assert refused.exit_code == 4
    assert refused.failure is not None
    assert refused.failure.code == "population.surplus"
    assert "--drop-surplus" in refused.failure.remedy


def test_status_tells_declared_from_found_and_is_no_failure(environment: Environment) -> None:
    before = lab.status(environment, DECLARED)
    assert (before.status, before.exit_code) == (Status.WOULD_CHANGE, 0)
    assert "50 user objects" in before.text
    assert "0 user objects" in before.text
    assert before.hint == "invoke lab.up"
    up(environment)
    after = lab.status(environment, DECLARED)
    assert (after.status, after.hint) == (Status.OK, "")
    too_many = lab.status(environment, Config(population=PopulationConfig(count=10)))
    assert too_many.exit_code == 0
    assert [part.status for part in too_many.data["parts"]] == [Status.OK, Status.FAILED]


def test_without_a_declared_population_there_is_no_such_step(environment: Environment) -> None:
    assert [step.name for step in up(environment, config=Config()).steps] == ["environment"]


def test_a_report_says_what_is_there(environment: Environment) -> None:
    up(environment)
    report = environments.report(environment)
    situation = environment.inspect()
    assert situation.process is not None
    for expected in (environment.state, "running", f"pid {situation.process.pid}", "50"):
        assert expected in report.text
    assert report.data["objects"].total == 50


def test_verification_is_one_table_and_one_verdict(environment: Environment) -> None:
    up(environment)
    passed = environments.verify(environment, 50)
    assert (passed.status, passed.exit_code) == (Status.OK, 0)
    failed = environments.verify(environment, 51)
    assert (failed.status, failed.exit_code) == (Status.FAILED, 4)
    assert "FAILED" in failed.text
    assert "checks failed" in failed.summary


def test_starting_twice_is_ok(environment: Environment) -> None:
    outcome = environments.start(environment, check=False, progress=QUIET)
    assert statuses(outcome) == [Status.OK]


@pytest.mark.parametrize(
    ("because", "confirmed", "code"),
    [
        ("", "NAME", "reset.no-reason"),
        ("  ", "NAME", "reset.no-reason"),
        ("a trial", "", "reset.not-confirmed"),
        ("a trial", "yes", "reset.not-confirmed"),
    ],
)
def test_reset_wants_a_reason_and_the_name(
    environment: Environment, because: str, confirmed: str, code: str
) -> None:
    name = confirmed.replace("NAME", environment.state)
    with pytest.raises(UsageError) as refused:
        environments.reset(
            environment, because=because, confirmed=name, check=False, progress=QUIET
        )
    assert refused.value.code == code
    with pytest.raises(UsageError) as beforehand:
        environments.confirm_reset(environment, because=because, confirmed=name)
    assert beforehand.value.code == code
    assert not {"--yes", environment.state} <= set(refused.value.remedy.replace(",", " ").split())
    assert environment.inspect().phase is Phase.RUNNING


def test_reset_destroys_the_state_once(absent: Environment) -> None:
    up(absent)

    def reset(*, check: bool) -> Outcome:
        return environments.reset(
            absent, because="a trial", confirmed=absent.state, check=check, progress=QUIET
        )

    confirmed = environments.confirm_reset(absent, because="a trial", confirmed=absent.state)
    assert confirmed.phase is Phase.RUNNING
    foreseen = reset(check=True)
    assert foreseen.status is Status.WOULD_CHANGE
    with contextlib.closing(absent.connect("test")) as connection:
        assert absent.count_objects(connection).total == 50
    done = reset(check=False)
    assert (done.status, done.steps[0].diff) == (Status.CHANGED, foreseen.steps[0].diff)
    assert done.data["because"] == "a trial"
    assert absent.inspect().phase is Phase.ABSENT
    assert reset(check=False).status is Status.OK
