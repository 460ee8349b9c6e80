"""The plot of cost by position, as text: where its points lie, and that it keeps its room."""

from __future__ import annotations

import msgspec
import pytest
from batch_support import CONSTANT, LINEAR, make_batch_analysis, make_batch_run
from hypothesis import given
from hypothesis import strategies as st

from lab.notebook.curve import HEIGHT, WIDTH, plot
from lab.stats.positions import PositionBin, Shape

BINS = make_batch_analysis(make_batch_run()).batch
assert BINS is not None
BINS = BINS.bins


def bin_of(first: int, last: int, ns: float) -> PositionBin:
    return PositionBin(
        first=first, last=last, n=1, transactions=1, median_ns=ns, low_ns=None, high_ns=None
    )


def heights(lines: list[str], character: str) -> dict[int, int]:
    """Return the height of the first ``character`` in each column, from the lower axis."""
    field = lines[1:-1]
    return {
        column: len(field) - 1 - row
        for row, line in enumerate(field)
        for column, each in enumerate(line)
        if each == character
    }


def test_a_line_that_grows_is_drawn_as_one() -> None:
    lines = plot(BINS, LINEAR)
    fitted = heights(lines, "·")
    ordered = [fitted[column] for column in sorted(fitted)]
    assert ordered == sorted(ordered)
    assert ordered[-1] - ordered[0] >= 5
    assert lines[0] == "ms by position: ● median of a range, · the fit (linear)"
    assert lines[1].startswith("600 ┤")
    assert lines[-2].startswith("  0 ┼──")
    assert lines[-1].split() == ["1", "100", "200", "300", "400", "500"]


def test_a_constant_is_flat() -> None:
    assert len(set(heights(plot(BINS, CONSTANT), "·").values())) == 1


def test_a_square_bends_upwards() -> None:
    fit = msgspec.structs.replace(LINEAR, shape=Shape.QUADRATIC, slope_ns=0, curvature_ns=2000)
    fitted = heights(plot(BINS, fit), "·")
    columns = sorted(fitted)
    half = fitted[columns[len(columns) // 2]]
    assert fitted[columns[-1]] - half > half - fitted[columns[0]]


def test_points_stand_where_their_ranges_are() -> None:
    lines = plot((bin_of(1, 1, 50e6), bin_of(2, 100, 100e6)), None)
    points = heights(lines, "●")
    assert sorted(points.values()) == [4, 8]
    left, middle = sorted(points)
    assert left == 5  # after "100 ┤"
    assert abs(middle - (left + WIDTH) / 2) < 3
    assert lines[0] == "ms by position: ● median of a range"
    assert lines[1].startswith("100 ┤")


@pytest.mark.parametrize("bins", [(), BINS[:1], (bin_of(1, 500, 1e6),)])
def test_one_range_is_no_curve(bins: tuple[PositionBin, ...]) -> None:
    assert plot(bins, None) == []


def test_the_unit_is_marked_where_figures_show_shapes_alone() -> None:
    assert plot(BINS, LINEAR, "debug build")[0].startswith("ms† by position")


@given(
    medians=st.lists(st.floats(1, 1e12), min_size=2, max_size=12),
    step=st.integers(1, 400),
    slope=st.floats(-1e9, 1e9),
)
def test_it_keeps_its_room_whatever_is_drawn(medians: list[float], step: int, slope: float) -> None:
    bins = [bin_of(1 + at * step, (at + 1) * step, ns) for at, ns in enumerate(medians)]
    last = bins[-1].last
    fit = msgspec.structs.replace(LINEAR, first=min(2, last), last=last, slope_ns=slope)
    lines = plot(bins, fit)
    assert len(lines) <= HEIGHT
    assert all(len(line) <= WIDTH for line in lines)
    assert any("●" in line for line in lines)
