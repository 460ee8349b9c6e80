"""Stacks out of profilers' output, and the functions that they add up to."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.metrics.stacks import Stack, folded, from_page, from_perf, hottest, widest


def page(text: str) -> str:
    return f"<html><script>\n  let mzfg = {json.dumps(text)};\n  if (mzfg) {{}}\n</script></html>"


TEXT = """!!! COMMENT !!!: Open with a viewer
mz_fg_version: 1
display_bytes: 0

0x1;0x2;0x3;0x9;0x4; 7
0x1;0x2; 3

0x1 start;
0x2 outer::<A\\;B>;inlined;
0x3 hot::h0123456789abcdef;
0x4 perf_signal_handler;trace;
"""


def test_a_page_of_environmentd_is_read() -> None:
    found = from_page(page(TEXT))

    # The handler of the profiler's own signal, and the nameless frame before it, are left out.
    assert found == (
        Stack(("start", "outer::<A;B>", "inlined", "hot"), 7.0),
        Stack(("start", "outer::<A;B>", "inlined"), 3.0),
    )


@pytest.mark.parametrize("text", ["", "<html>nothing</html>", "let mzfg = null;"])
def test_a_page_without_stacks_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no stacks"):
        from_page(text)


PERF = """environmentd 12 100.1: 10 cycles:
\t55d0 inner+0x12 (/a/environmentd)
\t55d1 outer (/a/environmentd)

environmentd 12 100.2: 10 cycles:
\t55d0 inner+0x30 (/a/environmentd)
\t55d1 outer (/a/environmentd)

environmentd 13 100.3: 10 cycles:
\tffff [unknown] ([unknown])
"""


def test_what_perf_prints_is_read_and_counted() -> None:
    assert set(from_perf(PERF)) == {Stack(("outer", "inner"), 2), Stack(("[unknown]",), 1)}


def test_the_hottest_function_is_that_on_top_most_often() -> None:
    stacks = [Stack(("main", "a", "b"), 6), Stack(("main", "a"), 3), Stack(("main", "c"), 1)]

    first, second, *_ = hottest(stacks, 5)

    assert (first.name, first.own, first.total) == ("b", 0.6, 0.6)
    assert (second.name, second.own, second.total) == ("a", 0.3, 0.9)


def test_a_function_that_hands_all_its_samples_on_is_not_told() -> None:
    stacks = [Stack(("start", "main", "a"), 6), Stack(("start", "main", "b"), 4)]

    assert [frame.name for frame in widest(stacks, 5)] == ["main", "a", "b"]


def test_recursion_counts_once_a_sample() -> None:
    (frame,) = hottest([Stack(("f", "f", "f"), 2)], 5)

    assert (frame.own, frame.total) == (1.0, 1.0)


names = st.sampled_from(["a", "b", "c", "d"])
a_stack = st.builds(
    Stack, st.lists(names, min_size=1, max_size=6).map(tuple), st.integers(1, 50).map(float)
)


@given(st.lists(a_stack, min_size=1, max_size=20))
def test_own_shares_add_up_to_one_and_no_function_has_more_own_than_in_total(stacks: list) -> None:
    frames = hottest(stacks, 100)

    assert sum(frame.own for frame in frames) == pytest.approx(1)
    assert all(0 <= frame.own <= frame.total <= 1 + 1e-9 for frame in frames)


@given(st.lists(a_stack, max_size=20))
def test_the_folded_form_holds_every_stack(stacks: list) -> None:
    lines = folded(stacks).splitlines()

    assert [line.rpartition(" ")[0] for line in lines] == [";".join(s.frames) for s in stacks]
    assert sum(float(line.rpartition(" ")[2]) for line in lines) == sum(s.weight for s in stacks)


def test_no_samples_no_functions() -> None:
    assert hottest([], 5) == widest([], 5) == ()
