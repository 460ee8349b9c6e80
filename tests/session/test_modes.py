"""`session.measure` in a mode and with a budget, and what it foresees of its readings."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab_driver import Driver, make_driver, remove_driver

from lab.core.config import Config, MeasureConfig
from lab.session.measuring import settings_of
from lab.session.opening import MeasureOptions

QUICK = ("--samples", "6", "--statements", "create-table", "--budget", "0")


@pytest.fixture(scope="module")
def lab() -> Iterator[Driver]:
    made = make_driver()
    yield made
    remove_driver(made)


def test_a_session_in_transactions_is_not_compared_with_one_in_autocommit(lab: Driver) -> None:
    first = lab.ok("session.measure", *QUICK, "--json").data
    assert {cell["mode"] for cell in first["runs"][0]["cells"]} == {"autocommit"}
    again = lab.ok("session.measure", *QUICK, "--mode", "transaction", "--json").data
    (run,) = again["runs"]
    assert {cell["mode"] for cell in run["cells"]} == {"transaction"}
    assert all(0 < cell["commit_share"] < 1 for cell in run["cells"])
    # No block is added once the time is used; the least number is taken all the same.
    assert {cell["summary"]["n"] for cell in run["cells"]} == {6}
    assert [each[0] for each in run["comparison"]["differences"]] == ["mode"]
    assert again["headline"].endswith(
        "session 1 measured in autocommit mode, this one in transaction mode"
    )
    third = lab.ok("session.measure", *QUICK, "--json").data
    assert third["runs"][0]["comparison"]["session"] == 1
    assert lab.ok("log.verify").code == 0


def test_what_reading_the_counters_takes_is_foreseen_where_the_server_runs(lab: Driver) -> None:
    lab.ok("env.start")
    steps = lab.ok("session.measure", *QUICK, "--check", "--json").envelope["steps"]
    (counters,) = (step for step in steps if step["name"] == "counters")
    # A block for latency and two for costs, read before and after.
    assert counters["why"].startswith("Counters are read at least 6 times at ")
    (measure,) = (step for step in steps if step["name"] == "measure")
    assert measure["why"].endswith("in autocommit mode")
    lab.ok("env.stop")
    steps = lab.ok("session.measure", *QUICK, "--check", "--json").envelope["steps"]
    assert not any(step["name"] == "counters" for step in steps)


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (("--mode", "transactions"), "measure.mode", "`transaction`"),
        (("--budget", "soon"), "usage.number", "--budget"),
    ],
)
def test_what_cannot_be_is_refused(
    lab: Driver, words: tuple[str, ...], code: str, named: str
) -> None:
    result = lab.run("session.measure", *words, "--json")
    assert result.code == 2
    assert result.error["code"] == code
    assert named in f"{result.error['what']} {result.error['why']} {result.error['next']}"


def test_a_mode_in_the_configuration_is_one_of_two(lab: Driver) -> None:
    result = lab.run("session.measure", "--check", "--json", LAB_MEASURE_MODE="both")
    assert (result.code, result.error["code"]) == (2, "config.wrong-value")
    assert "autocommit, transaction" in result.error["why"]


def test_flags_come_before_the_configuration() -> None:
    config = Config(measure=MeasureConfig(mode="transaction", budget_s=7))
    assert settings_of(config, MeasureOptions()).mode == "transaction"
    given = settings_of(config, MeasureOptions(mode="autocommit", budget_s=0))
    assert (given.mode, given.budget_s) == ("autocommit", 0)


def test_the_options_of_a_session_name_its_mode_and_budget() -> None:
    assert MeasureOptions(mode="transaction", budget_s=0).text() == "--mode transaction --budget 0"
    assert MeasureOptions().text() == "no options"
