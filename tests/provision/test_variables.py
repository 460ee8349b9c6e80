"""System variables are declared, set, recorded, expected and given back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab_on_materialize import Lab, lab_on_materialize
from provision_support import seeded

from lab.core.config import Config, PopulationConfig
from lab.core.errors import UsageError
from lab.core.progress import SilentProgress
from lab.core.results import Outcome, Status
from lab.provision import lab as whole
from lab.provision import variables as provision
from lab.targets.base import Environment, Phase
from lab.targets.changes import DECLARED, SEEDING, Change, aims, expected, for_sessions
from lab.targets.parts import Variables

QUIET = SilentProgress()
NAMES = ("max_tables", "max_sources", "enable_x")
values = st.sampled_from(("1", "2", "3"))
changes = st.lists(
    st.builds(
        Change,
        name=st.sampled_from(NAMES),
        given=st.one_of(st.none(), values),
        before=values,
        after=values,
        at=st.just(""),
        by=st.sampled_from((DECLARED, SEEDING, "env.set")),
        session=st.sampled_from(("", "S")),
    )
)
declarations = st.dictionaries(st.sampled_from(NAMES), values)


def change(name: str, before: str, after: str, **more: str) -> Change:
    known = {"given": after, "at": "", "by": "env.set", **more}
    return Change(name=name, before=before, after=after, **known)


@given(changes, declarations)
def test_all_that_was_declared_or_set_is_expected(
    made: list[Change], declared: Mapping[str, str]
) -> None:
    assert set(expected(made, declared)) == set(declared) | {each.name for each in made}
    assert set(aims(made, declared)) == set(declared)


@given(changes, declarations, values)
def test_what_was_set_last_is_expected(
    made: list[Change], declared: Mapping[str, str], value: str
) -> None:
    last = change("max_tables", "1", value)
    assert expected([*made, last], declared)["max_tables"] == value


def test_what_lab_toml_says_now_counts_more_than_what_up_once_set() -> None:
    made = [change("max_tables", "200", "300", by=DECLARED)]
    assert expected(made, {"max_tables": "400"}) == {"max_tables": "400"}
    assert expected(made, {}) == {"max_tables": "300"}


def test_declared_values_are_compared_in_the_servers_spelling() -> None:
    made = [change("enable_x", "off", "on", given="true", by=DECLARED)]
    for found in (expected, aims):
        assert found(made, {"enable_x": "true"}) == {"enable_x": "on"}


def test_up_undoes_what_was_set_by_hand_but_not_what_seeding_needed() -> None:
    declared = {"max_tables": "300"}
    assert aims([change("max_tables", "300", "400")], declared) == declared
    raised = [change("max_tables", "300", "7000", by=SEEDING)]
    assert aims(raised, declared) == {"max_tables": "7000"}


def test_a_session_gives_back_what_was_before_its_first_change() -> None:
    made = [
        change("max_tables", "200", "300"),
        change("max_tables", "300", "400", session="S"),
        change("max_tables", "400", "500", session="S"),
        change("max_sources", "200", "300", session="S"),
        change("max_sources", "300", "350"),
    ]
    assert for_sessions(made) == {"max_tables": "300"}
    assert for_sessions(made, but="S") == {}
    assert for_sessions(made, but="T") == {"max_tables": "300"}
    given_back = [*made, change("max_tables", "500", "300", by="session.finish")]
    assert for_sessions(given_back) == {}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    declared = (
        "[materialize.variables]",
        'max_sources = "250"',
        'enable_create_table_from_source = "true"',
    )
    with lab_on_materialize(*declared) as made:
        yield made


@pytest.fixture
def environment(lab: Lab) -> Environment:
    lab.environment.start(QUIET)
    return lab.environment


def set_(
    environment: Environment, *, session: str = "", check: bool = False, **wanted: str | None
) -> Outcome:
    return provision.set_variables(environment, wanted, session=session, check=check)


def value(environment: Environment, name: str) -> str:
    return _of(environment).read((name,))[0].value


def up(environment: Environment, *, check: bool = False) -> list[Status]:
    config = Config(target="materialize", population=PopulationConfig(count=3))
    outcome = whole.up(environment, config, check=check, diff=True, progress=QUIET)
    assert [step.name for step in outcome.steps] == ["environment", "variables", "population"]
    return [step.status for step in outcome.steps]


def test_up_brings_declared_variables_about_and_converges(lab: Lab) -> None:
    assert lab.environment.inspect().phase is Phase.ABSENT
    before = up(lab.environment, check=True)
    assert before == [Status.WOULD_CHANGE, Status.SKIPPED, Status.WOULD_CHANGE]
    assert up(lab.environment) == [Status.CHANGED] * 3
    assert up(lab.environment) == [Status.OK] * 3
    assert value(lab.environment, "enable_create_table_from_source") == "on"
    set_(lab.environment, max_sources="260")
    assert up(lab.environment, check=True) == [Status.OK, Status.WOULD_CHANGE, Status.OK]
    assert up(lab.environment) == [Status.OK, Status.CHANGED, Status.OK]
    assert value(lab.environment, "max_sources") == "250"


def test_before_and_after_are_shown_and_again_is_ok(environment: Environment) -> None:
    set_(environment, max_secrets=None)
    foreseen = set_(environment, check=True, max_secrets="500")
    assert [step.status for step in foreseen.steps] == [Status.WOULD_CHANGE]
    assert value(environment, "max_secrets") == "100"
    done = set_(environment, max_secrets="500")
    assert done.steps[0].why == "100 → 500"
    assert done.steps[0].diff == foreseen.steps[0].diff
    known = _of(environment).changes()
    assert set_(environment, max_secrets="500").status is Status.OK
    assert _of(environment).changes() == known


def test_one_that_is_refused_ends_it_with_what_was_done_before(environment: Environment) -> None:
    done = set_(environment, max_secrets="501", max_sinks="many", max_roles="9")
    assert [step.status for step in done.steps] == [Status.CHANGED, Status.FAILED]
    assert done.failure is not None
    assert done.exit_code == UsageError.exit_code
    with pytest.raises(UsageError):
        set_(environment, max_secrets="600", max_sinkz="1")
    assert value(environment, "max_secrets") == "501"


def test_a_sessions_values_are_given_back_once(environment: Environment) -> None:
    set_(environment, max_secrets="111")
    set_(environment, session="S", max_secrets="222")
    assert provision.for_sessions(_of(environment).changes()) == {"max_secrets": "111"}
    (step,) = provision.restore_for_session(environment)
    assert (step.status, step.why) == (Status.CHANGED, "max_secrets 222 → 111")
    assert value(environment, "max_secrets") == "111"
    assert provision.restore_for_session(environment) == ()
    assert _of(environment).expected()["max_secrets"] == "111"


def test_a_sessions_values_wait_for_a_server_that_does_not_run(environment: Environment) -> None:
    set_(environment, max_secrets="111")
    set_(environment, session="S", max_secrets="222")
    environment.stop(QUIET)
    (step,) = provision.restore_for_session(environment)
    assert step.status is Status.SKIPPED
    environment.start(QUIET)
    provision.restore_for_session(environment)
    assert value(environment, "max_secrets") == "111"


def test_what_is_shown_says_what_is_expected(environment: Environment) -> None:
    set_(environment, max_secrets="321")
    one = provision.read(environment, ("max_secrets",), "")
    assert "321" in one.text
    assert "as declared or set" in one.text
    matching = provision.read(environment, (), "secret")
    assert {each.name for each in matching.data["variables"]} >= {"max_secrets"}
    assert all("secret" in each.name for each in matching.data["variables"])
    assert "no_such" in provision.read(environment, (), "no_such").summary


def test_a_limit_that_a_population_needed_stays_raised(environment: Environment) -> None:
    set_(environment, max_tables="4")
    seeded(environment, 6)
    raised = value(environment, "max_tables")
    assert int(raised) >= 6
    assert _of(environment).expected()["max_tables"] == raised


def _of(environment: Environment) -> Variables:
    assert environment.variables is not None
    return environment.variables
