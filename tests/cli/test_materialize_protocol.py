"""The whole protocol on a real environmentd, or on the stand-in for it.

Two builds take turns on one state, without a reset; what is measured is compared with what it can
be compared with, and with nothing else.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import pytest
from lab_driver import Result
from materialize_driver import REAL, MaterializeDriver, check_of, materialize_lab, standin_only
from standin import Law

from lab.core.files import read_struct
from lab.measure.record import LATENCY, Run

FEW, MANY = 20, 320
# Steep, so that a busy host cannot hide it: a table more takes so much longer each.
LAW = Law(floor_ms=6, per_1000_objects_ms=100, soft_assertion_factor=1.5, optimized_factor=0.5)
MEASURE = ("session.measure", "--samples", "6", "--statements", "create-table")


@pytest.fixture(scope="module")
def lab() -> Iterator[MaterializeDriver]:
    with materialize_lab(law=LAW) as made:
        made.variables["LAB_MEASURE_MOST_SAMPLES"] = "6"
        yield made


@pytest.fixture(scope="module")
def walk(lab: MaterializeDriver) -> dict[str, Any]:
    """Walk the protocol once; what each command left is what the tests look at."""
    done: dict[str, Any] = {"debug build": lab.json("build.debug")}
    done["start"] = lab.json("env.start")
    done["verify empty"] = lab.json("env.verify", "--objects", "0")
    done["seed few"] = lab.json("lab.seed", "--count", str(FEW))
    done["debug, few"] = lab.json(*MEASURE)
    done["seed many"] = lab.json("lab.seed", "--count", str(MANY))
    done["debug, many"] = lab.json(*MEASURE)
    done["optimized build"] = lab.json("build.optimized")
    done["to optimized"] = lab.json("env.switch", "optimized")
    done["verify optimized"] = lab.json("env.verify", "--objects", str(MANY))
    done["optimized, many"] = lab.json(*MEASURE)
    done["to debug"] = lab.json("env.switch", "debug")
    done["debug again"] = lab.json(*MEASURE)
    done["log"] = lab.json("log.verify")
    done["processes"] = (lab.processes("environmentd", "clusterd"), lab.processes(), lab.stores())
    done["stop"] = lab.json("env.stop")
    for name, result in done.items():
        if isinstance(result, Result):
            assert result.code == 0, f"{name}: {result.out}\n{result.err}"
    return done


def run_of(lab: MaterializeDriver, session: int) -> Run:
    (file,) = (lab.workspace / f"ddl-perf-evidence/{session:03}").glob("run-*.json")
    run = read_struct(file, Run)
    assert run is not None
    return run


def latencies_ms(run: Run, statement: str = "create-table") -> list[float]:
    return [
        sample.duration_ns / 1e6
        for block in run.blocks
        if block.purpose == LATENCY
        for sample in block.samples
        if sample.statement == statement and not sample.warmup
    ]


def median_ms(lab: MaterializeDriver, session: int) -> float:
    return statistics.median(latencies_ms(run_of(lab, session)))


def entry(lab: MaterializeDriver, session: int) -> str:
    return lab.ok("log.show", str(session)).out


def test_the_count_is_exact_and_survives_each_change_of_builds(
    lab: MaterializeDriver, walk: dict[str, Any]
) -> None:
    for step in ("to optimized", "to debug"):
        state = lab.step(walk[step], "state")
        assert state["why"] == f"the same objects: {MANY} ({MANY} table)"
        assert walk[step].data["objects"]["by_type"] == {"table": MANY}
    assert check_of(walk["verify optimized"].data, "user objects")["found"].startswith(str(MANY))
    for session, objects in ((1, FEW), (2, MANY), (3, MANY), (4, MANY)):
        for block in run_of(lab, session).blocks:
            assert block.objects_before.by_type == {"table": objects}


def test_both_builds_ran_and_are_known(lab: MaterializeDriver, walk: dict[str, Any]) -> None:
    debug = walk["debug build"].data["build"]["id"]
    optimized = walk["optimized build"].data["build"]["id"]

    assert debug != optimized
    assert debug in walk["start"].data["situation"]["build"]
    assert optimized in walk["to optimized"].data["situation"]["build"]
    passports = [run_of(lab, session).passport for session in range(1, 5)]
    facts = [{**each.alike, **each.noted} for each in passports]
    assert [each["build.id"] for each in facts] == [debug, debug, optimized, debug]
    assert [each["build.profile"] for each in facts] == ["debug", "debug", "optimized", "debug"]
    assert len({each["state.id"] for each in facts}) == 1


def test_across_profiles_nothing_is_compared_and_the_entry_says_why(
    lab: MaterializeDriver, walk: dict[str, Any]
) -> None:
    text = entry(lab, 3)

    assert "Compared with nothing: session 2 measured a debug build, this one an optimized" in text
    assert "| `build.profile`" in text
    assert "Verdict" not in text
    assert "compared with nothing" in walk["optimized, many"].envelope["summary"]


def test_the_debug_build_is_compared_with_the_debug_build(
    lab: MaterializeDriver, walk: dict[str, Any]
) -> None:
    text = entry(lab, 4)

    assert "Against session 2" in text
    assert "One build: both runs measured build" in text
    assert "Verdict" in text
    row = next(line for line in text.splitlines() if "debug build |" in line)
    assert "`create-table`" in row
    assert "slower" not in row
    assert "faster" not in row


def test_figures_of_a_debug_build_carry_a_mark_and_no_shares(
    lab: MaterializeDriver, walk: dict[str, Any]
) -> None:
    debug, optimized = entry(lab, 2), entry(lab, 3)

    assert "Median (ms)†" in debug
    assert "† debug build" in debug
    assert "Median (ms) " in optimized
    assert "†" not in optimized
    assert "ms†   own†  calls\n" in _tree(debug)
    assert "%" not in _tree(debug)
    assert "share" in _tree(optimized)
    assert "%" in _tree(optimized)


def _tree(text: str) -> str:
    costs = text.partition("**Costs**")[2].partition("\n**")[0]
    return costs.partition("```text\n")[2].partition("```")[0]


@standin_only
def test_latency_grows_with_the_objects_as_the_law_says(
    lab: MaterializeDriver, walk: dict[str, Any]
) -> None:
    """A busy host adds to each sample; hardly ever does it add to the smallest."""
    few, many = (min(latencies_ms(run_of(lab, session))) for session in (1, 2))

    grown = LAW.seconds("create-table", MANY, optimized=False, soft_assertions=True)
    grown -= LAW.seconds("create-table", FEW, optimized=False, soft_assertions=True)
    assert many - few == pytest.approx(grown * 1000, rel=0.35)
    assert median_ms(lab, 2) > median_ms(lab, 1) * 2


@standin_only
def test_the_optimized_build_is_quicker_as_the_law_says(
    lab: MaterializeDriver, walk: dict[str, Any]
) -> None:
    debug, optimized = (min(latencies_ms(run_of(lab, session))) for session in (2, 3))

    assert optimized / debug == pytest.approx(0.5 / 1.5, rel=0.5)


def test_costs_are_nested_as_the_server_nests_them(
    lab: MaterializeDriver, walk: dict[str, Any]
) -> None:
    lines = _tree(entry(lab, 3)).splitlines()

    depths = [
        next(line.index(part) for line in lines if part in line)
        for part in (
            "query message",
            "execute message",
            "transact with DDL transaction",
            "transact with side effects",
            "apply implications",
        )
    ]
    assert depths == sorted(set(depths))
    assert any(line.startswith("not attributed") for line in lines)


def test_the_log_agrees_with_the_evidence(lab: MaterializeDriver, walk: dict[str, Any]) -> None:
    assert walk["log"].envelope["status"] == "ok"
    assert (lab.workspace / "ddl-perf-log.md").read_text().count("\n### Session ") == 4


def test_the_stop_leaves_no_process_of_the_lab(
    lab: MaterializeDriver, walk: dict[str, Any]
) -> None:
    programs, family, stores = walk["processes"]
    assert len(programs) >= 3, "environmentd and its clusterds"
    assert len(family) >= 3
    assert len(stores) == 1

    assert lab.step(walk["stop"])["status"] == "changed"
    assert not lab.processes()
    assert not lab.stores()


@pytest.mark.skipif(bool(REAL), reason="compiling a real checkout takes its time")
def test_a_build_that_is_there_already_is_ok(lab: MaterializeDriver, walk: dict[str, Any]) -> None:
    for profile in ("debug", "optimized"):
        again = lab.json(f"build.{profile}")
        assert again.envelope["status"] == "ok"
        assert again.data["build"]["id"] == walk[f"{profile} build"].data["build"]["id"]
