"""What a log tells of a start: phases, panics, halts; held to what a real environmentd wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.targets.materialize import startup
from lab.targets.parts import BootPhase

CAPTURED = (Path(__file__).parent / "data/materialize-startup.log").read_text().splitlines()
WHERE = "environmentd: 2026-11-23T03:58:27.740260Z  INFO mz_environmentd: startup: "


def everywhere(phases: Sequence[BootPhase]) -> Iterator[BootPhase]:
    for phase in phases:
        yield phase
        yield from everywhere(phase.children)


def test_phases_of_a_real_start() -> None:
    (whole,) = startup.phases(CAPTURED)

    assert whole.label == "envd init"
    assert whole.duration_ns == 5_970_896_781
    assert [child.label for child in whole.children] == ["preamble", "serving"]
    found = {phase.label: phase for phase in everywhere([whole])}
    assert found["system parameter sync"].duration_ns == 63_074
    assert found["catalog open"].duration_ns == 1_002_975_987
    assert [each.label for each in found["bootstrap"].children][:2] == [
        "preamble",
        "storage collections init",
    ]
    assert [each.label for each in found["catalog open"].children] == ["expr cache open"]


def test_all_phases_of_a_real_start_are_in_the_tree_and_fit_into_their_parents() -> None:
    told = sum(" complete in " in line for line in CAPTURED)
    phases = list(everywhere(startup.phases(CAPTURED)))

    assert len(phases) == told
    for phase in phases:
        assert sum(child.duration_ns for child in phase.children) <= phase.duration_ns, phase.label


def test_only_the_last_start_in_a_log_counts() -> None:
    assert startup.phases([*CAPTURED[:30], *CAPTURED]) == startup.phases(CAPTURED)
    assert len(startup.phases(CAPTURED + CAPTURED)) == 1


@given(st.integers(1, len(CAPTURED) - 1))
def test_a_start_that_is_not_done_yet(seen: int) -> None:
    """The phase that is said to be under way is one that ends later on."""
    current = startup.current_phase(CAPTURED[:seen])

    assert current
    assert not startup.phases(CAPTURED[:seen]), "the whole is not complete"
    assert any(re.search(rf"startup: {current}:? complete in", line) for line in CAPTURED[seen:])


def test_the_current_phase_of_a_real_start() -> None:
    assert startup.current_phase(CAPTURED[:38]) == (
        "coordinator init: bootstrap: storage collections init"
    )
    assert startup.current_phase(CAPTURED) == ""
    assert startup.current_phase([]) == ""


@pytest.mark.parametrize(
    ("took", "nanoseconds"),
    [("63ns", 63), ("63.074µs", 63_074), ("19.45ms", 19_450_000), ("1.000000001s", 1_000_000_001)],
)
def test_units(took: str, nanoseconds: int) -> None:
    lines = [f"{WHERE}catalog open beginning", f"{WHERE}catalog open complete in {took}"]

    (phase,) = startup.phases(lines)

    assert phase == BootPhase(label="catalog open", duration_ns=nanoseconds)


def test_a_phase_whose_beginning_was_not_seen() -> None:
    (phase,) = startup.phases([f"{WHERE}catalog open complete in 2s"])

    assert phase.duration_ns == 2_000_000_000


def test_colours_of_a_terminal_do_not_hide_a_phase() -> None:
    lines = [f"\x1b[2m{line}\x1b[0m" for line in CAPTURED]

    assert startup.phases(lines) == startup.phases(CAPTURED)


@given(st.lists(st.text(max_size=80), max_size=20))
def test_any_log_can_be_read(lines: list[str]) -> None:
    startup.phases(lines)
    startup.current_phase(lines)
    startup.panic("\n".join(lines))
    startup.halts("\n".join(lines))


def test_a_panic_is_shown_with_its_place_and_message_and_without_its_stack() -> None:
    log = "\n".join(
        [
            *CAPTURED[:3],
            "environmentd: 2026-11-23T04:00:00.000000Z  thread 'coordinator' panicked at"
            " src/adapter/src/coord/appends.rs:12:34:",
            "unable to advance catalog upper: Fence(Epoch { current_epoch: 3, fence_epoch: 4 })",
            "stack backtrace:",
            "   0: rust_begin_unwind",
        ]
    )

    said = startup.panic(log)

    assert said.startswith("panicked at src/adapter/src/coord/appends.rs:12:34:")
    assert "fence_epoch: 4" in said
    assert "rust_begin_unwind" not in said
    assert startup.panic("\n".join(CAPTURED)) == ""


def test_halts_are_told_with_their_reasons() -> None:
    log = "\n".join([*CAPTURED, "environmentd: … WARN mz_ore: halting process: fenced out  "])

    assert startup.halts(log) == ("fenced out",)
    assert startup.halts("\n".join(CAPTURED)) == ()
