"""Builds are what is compared: which one is noted, how it was compiled must be alike."""

import msgspec
import pytest
from made_runs import MS, around, block, in_blocks, reading, run, sample

from lab.measure.analysis import analyse
from lab.measure.comparison import compare, differences, find_comparable
from lab.measure.findings import Measured
from lab.measure.passport import make_passport
from lab.stats.summary import Verdict
from lab.targets.base import SHAPES_ONLY, ObjectCounts

BUILD = {
    "build.id": "5f2c9a",
    "build.commit": "e7ac38b33",
    "build.change": "qpvu",
    "build.dirty": "no",
    "build.version": "v26.24.0-dev.0 (e7ac38b33)",
    "build.profile": "optimized",
    "build.self-checks": "off",
}
DEBUG = {"build.profile": "debug", "build.self-checks": "on", SHAPES_ONLY: "debug build"}


def built(name, *, ms=1.0, **facts):
    passport = make_passport(
        target="postgres",
        mode="autocommit",
        environment={**BUILD, **facts},
        counts=ObjectCounts({"table": 1000}),
        host={"host.cores": "2"},
    )
    made = run(*in_blocks(boot=name, create_table=around(ms)), name=name)
    return msgspec.structs.replace(made, passport=passport)


def debug(name, **more):
    return built(name, **DEBUG, **more)


@pytest.mark.parametrize(
    "fact", ["build.id", "build.commit", "build.change", "build.dirty", "build.version"]
)
def test_two_builds_may_be_two_and_still_be_compared(fact):
    before, after = built("then"), built("now", **{fact: "another"})
    assert differences(before, after) == ()
    assert after.passport.noted[fact] == "another"


@pytest.mark.parametrize("fact", ["build.profile", "build.self-checks", SHAPES_ONLY])
def test_how_they_were_compiled_must_be_alike(fact):
    found = differences(built("then"), built("now", **{fact: "another"}))
    assert [each.field for each in found] == [fact]


def test_a_debug_build_is_compared_with_the_debug_build_before_the_optimized_one():
    first, optimized, second = debug("1"), built("2"), debug("3", **{"build.id": "another"})
    assert find_comparable(second, [(2, optimized), (1, first)]) == (1, first)
    assert find_comparable(built("4"), [(3, second), (2, optimized), (1, first)])[0] == 2
    # Where there is none, what it differs in is named.
    assert find_comparable(optimized, [(1, first)]) == (1, first)
    fields = {each.field for each in compare(optimized, (1, first)).differences}
    assert fields == {"build.profile", "build.self-checks", SHAPES_ONLY}


def test_a_comparison_names_both_builds():
    before = built("then")
    after = built("now", ms=0.8, **{"build.id": "77aa", "build.dirty": "9c1"})
    found = compare(after, (1, before))
    version = "v26.24.0-dev.0 (e7ac38b33)"
    assert found.builds == (
        Measured(build="5f2c9a", version=version, commit="e7ac38b33"),
        Measured(build="77aa", version=version, commit="e7ac38b33", dirty="9c1"),
    )
    stray = {"build.id": "unknown", "build.commit": "unknown", "build.dirty": "no"}
    assert compare(built("now", **stray), (1, before)).builds[1] == Measured(
        build="", version=version
    )
    assert found.cells["create-table"].verdict is Verdict.IMPROVED
    unnamed = run(*in_blocks(create_table=around(1)), name="then")
    assert compare(run(*in_blocks(create_table=around(1))), (1, unnamed)).builds == ()


def test_a_debug_build_is_said_to_show_shapes_alone_and_still_gets_a_verdict():
    found = analyse(debug("now", ms=0.8), (1, debug("then")))
    assert found.shapes_only == "debug build"
    assert found.comparison.shapes_only == "debug build"
    assert found.comparison.cells["create-table"].verdict is Verdict.IMPROVED
    assert analyse(built("now"), (1, built("then"))).shapes_only == ""


def test_costs_of_a_debug_build_warn_of_no_proportion():
    io = "subject.io.wal.normal"
    more = reading({f"{io}.{each}_time": 15 * MS for each in ("fsync", "write")}, at=10**9)
    costs = block(
        [sample("create-table", at=i) for i in range(20)], index=9, purpose="cost", after=more
    )

    def warnings(made):
        made = msgspec.structs.replace(made, blocks=(*made.blocks, costs))
        return " ".join(analyse(made, None).costs[0].warnings)

    assert "the parts add up to 150% of the client's latency" in warnings(built("now"))
    assert "the parts add up to more than the client's latency" in warnings(debug("now"))
    assert "%" not in warnings(debug("now"))
