"""What is foreseen of a task that gets slower as it grows."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.core.pace import Line, Pace, Window, fit

seconds = st.floats(min_value=1e-6, max_value=100, allow_nan=False)
counts = st.integers(min_value=1, max_value=1000)
lines = st.builds(
    Line,
    st.floats(min_value=1e-3, max_value=1),
    st.one_of(st.just(0.0), st.floats(min_value=1e-7, max_value=1e-3)),
)


def windows_of(line: Line, lengths: Sequence[int]) -> list[Window]:
    windows, start = [], 0
    for count in lengths:
        windows.append(Window(start, count, line.seconds(start, start + count)))
        start += count
    return windows


@given(lines, st.lists(counts, min_size=3, max_size=20))
def test_a_line_is_found_again(line: Line, lengths: list[int]) -> None:
    done = sum(lengths)
    found = fit(windows_of(line, lengths))
    expected = line.seconds(done, done + 5000)
    assert found.seconds(done, done + 5000) == pytest.approx(expected, rel=1e-3)


@given(lines, st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_line_is_summed_unit_by_unit(line: Line, first: int, count: int) -> None:
    one_by_one = math.fsum(line.floor + line.slope * i for i in range(first, first + count))
    assert line.seconds(first, first + count) == pytest.approx(one_by_one)


@given(st.lists(st.tuples(counts, seconds), min_size=1, max_size=30), counts, counts)
def test_it_is_finite_never_negative_and_more_takes_longer(
    taken: list[tuple[int, float]], more: int, even_more: int
) -> None:
    windows, start = [], 0
    for count, each in taken:
        windows.append(Window(start, count, each))
        start += count
    line = fit(windows)
    assert line.floor >= 0
    assert line.slope >= 0
    short, long = line.seconds(start, start + more), line.seconds(start, start + more + even_more)
    assert 0 <= short <= long < math.inf
    assert line.seconds(start, start) == 0


def test_noise_of_the_first_seconds_says_little_of_what_comes_later() -> None:
    noise = random.Random(4)
    foreseen = []
    for _ in range(50):
        pace = Pace(100_000)
        for _ in range(60):
            pace.note(1, noise.uniform(0.04, 0.06))
        foreseen.append(pace.seconds_left)
    assert sorted(foreseen)[25] == pytest.approx(5000, rel=0.1)


def test_a_growing_latency_is_foreseen_in_time_and_its_rates_are_told() -> None:
    total, floor, slope = 20_000, 0.05, 5e-6
    noise = random.Random(1)
    pace = Pace(total)
    for unit in range(4000):
        pace.note(1, (floor + slope * unit) * noise.uniform(0.8, 1.2))
    truth = Line(floor, slope).seconds(4000, total)
    assert pace.seconds_left == pytest.approx(truth, rel=0.1)
    naive = (total - 4000) / (4000 / Line(floor, slope).seconds(0, 4000))
    assert abs(pace.seconds_left - truth) < abs(naive - truth) / 2
    assert pace.rate_at_first == pytest.approx(20, rel=0.1)
    assert pace.rate == pytest.approx(1 / 0.07, rel=0.1)


def test_before_anything_is_done_nothing_is_foreseen() -> None:
    assert Pace(10).seconds_left == math.inf
    assert Pace(10).rate == 0


@given(st.integers(1, 3000), counts)
def test_when_all_is_done_nothing_is_left(total: int, seed: int) -> None:
    noise = random.Random(seed)
    pace = Pace(total)
    for _ in range(total):
        pace.note(1, noise.random())
    assert pace.seconds_left == 0
