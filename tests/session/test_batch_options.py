"""The options of a measurement: what belongs to which plan, and what decides what is measured."""

from __future__ import annotations

import msgspec
import pytest

from lab.core.config import BatchConfig, Config
from lab.core.errors import UsageError
from lab.session.batching import batch_settings
from lab.session.opening import BATCH, LATENCY, MeasureOptions
from lab.session.plans import require_sense


def test_options_are_shown_as_they_would_be_given() -> None:
    options = MeasureOptions(plan=BATCH, sizes=(1, 5, 10), repetitions=2, sweep=(100, 3000))
    assert options.text() == (
        "--plan batch --sizes 1,5,10 --repetitions 2 --upstream-sweep 100,3000"
    )
    assert MeasureOptions(plan=BATCH, grow=True, objects=0).text() == (
        "--plan batch --objects 0 --grow"
    )


def test_a_journal_of_before_there_were_batches_is_read() -> None:
    old = {"statements": ["create-table"], "samples": 6, "objects": None, "mode": None}
    options = msgspec.convert(old, MeasureOptions)
    assert options == MeasureOptions(statements=("create-table",), samples=6)
    assert not options.of_batches


def test_growing_the_upstream_is_no_part_of_what_is_measured() -> None:
    plain = MeasureOptions(plan=BATCH, sizes=(3,))
    assert plain.same_as(msgspec.structs.replace(plain, grow=True))
    assert not plain.same_as(msgspec.structs.replace(plain, sizes=(4,)))
    assert MeasureOptions(plan=LATENCY).same_as(MeasureOptions())
    assert not MeasureOptions(plan=BATCH).same_as(MeasureOptions())


@pytest.mark.parametrize(
    "options",
    [
        MeasureOptions(),
        MeasureOptions(plan=LATENCY, statements=("create-table",), samples=6, mode="autocommit"),
        MeasureOptions(plan=BATCH, sizes=(1,), repetitions=2, sweep=(9,), grow=True, objects=3),
    ],
)
def test_flags_of_the_plan_are_taken(options: MeasureOptions) -> None:
    require_sense(options)


@pytest.mark.parametrize(
    ("options", "named", "owner"),
    [
        (MeasureOptions(plan=BATCH, statements=("create-table",)), "--statements", "latency"),
        (MeasureOptions(plan=BATCH, samples=6), "--samples", "latency"),
        (MeasureOptions(plan=BATCH, mode="transaction"), "--mode", "latency"),
        (MeasureOptions(plan=BATCH, budget_s=0), "--budget", "latency"),
        (MeasureOptions(sizes=(1, 2)), "--sizes", "batch"),
        (MeasureOptions(plan=LATENCY, repetitions=2), "--repetitions", "batch"),
        (MeasureOptions(sweep=(10,)), "--upstream-sweep", "batch"),
        (MeasureOptions(grow=True), "--grow", "batch"),
    ],
)
def test_flags_of_another_plan_are_refused(options: MeasureOptions, named: str, owner: str) -> None:
    with pytest.raises(UsageError) as refused:
        require_sense(options)
    assert refused.value.code == "measure.flag-of-other-plan"
    assert refused.value.what == f"{named} is of plan {owner}."
    assert f"--plan {owner}" in refused.value.remedy


def test_several_flags_of_another_plan_are_named_together() -> None:
    with pytest.raises(UsageError) as refused:
        require_sense(MeasureOptions(sizes=(1,), grow=True))
    assert refused.value.what == "--sizes, --grow are of plan batch."


def test_an_unknown_plan_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError) as refused:
        require_sense(MeasureOptions(plan="batches"))
    assert (refused.value.code, refused.value.remedy) == ("measure.plan", "Did you mean `batch`?")


def test_flags_come_before_the_configuration() -> None:
    config = Config(batch=BatchConfig(sizes=(7,), repetitions=9, sweep=(50,), sweep_size=5))
    assert batch_settings(config, MeasureOptions(plan=BATCH)) == config.batch
    given = MeasureOptions(plan=BATCH, sizes=(1, 2), repetitions=1, sweep=(60,))
    assert batch_settings(config, given) == BatchConfig(
        sizes=(1, 2), repetitions=1, sweep=(60,), sweep_size=5
    )
