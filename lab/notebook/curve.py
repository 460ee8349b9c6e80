"""A small plot of cost by position, as text: what each range of positions took, and the fit."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lab.notebook.shapes import MARK
from lab.stats.positions import PositionBin, PositionFit, Shape

HEIGHT = 12
WIDTH = 72
"""The most lines and columns that a plot takes, its legend and axes included."""

_TICKS = 4
_ROWS = 2 * _TICKS + 1
_POSITIONS = 5
_EVEN = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
_ROUND = (1.0, 2.0, 5.0, 10.0)
_LEAST_APART = 4


def plot(bins: Sequence[PositionBin], fit: PositionFit | None, shapes_only: str = "") -> list[str]:
    """Return the lines of the plot; none where there are fewer than two ranges to be told apart.

    The cost begins at 0, and both axes are linear, so that a cost which grows by position is seen
    as the line or curve that it is.
    """
    last = max((each.last for each in bins), default=0)
    if len(bins) < 2 or last < 2:
        return []
    fitted = [fitted_ns(fit, position) for position in (fit.first, fit.last)] if fit else []
    step_ms = _step(max([each.median_ns for each in bins] + fitted) / 1e6 / _TICKS, _EVEN)
    # As many decimals as the step has: 0.25 has two, and so has 1.00 above it.
    decimals = len(f"{step_ms:.6f}".rstrip("0").partition(".")[2])
    labels = [f"{tick * step_ms:,.{decimals if tick else 0}f}" for tick in range(_TICKS + 1)]
    margin = max(len(label) for label in labels)
    field = _field(bins, fit, last, WIDTH - margin - 2, _TICKS * step_ms * 1e6)
    lines = [_legend(fit, f"ms{MARK if shapes_only else ''}")]
    for place, row in enumerate(field):
        tick, between = divmod((_ROWS - 1 - place) * _TICKS, _ROWS - 1)
        label, axis = ("", "│") if between else (labels[tick], "┤" if tick else "┼")
        body = "".join(row).rstrip() if tick or between else "".join(row).replace(" ", "─")
        lines.append(f"{label:>{margin}} {axis}{body}")
    return [*lines, f"{'':{margin}}  {_positions(last, len(field[0]))}"]


def middle(each: PositionBin) -> float:
    """Return the position that a range stands for where it is drawn as a point."""
    return (each.first + each.last) / 2


def fitted_ns(fit: PositionFit, position: float) -> float:
    """Return what the fit says of a statement at ``position``, in ns."""
    return fit.floor_ns + fit.slope_ns * position + fit.curvature_ns * position**2


def _legend(fit: PositionFit | None, unit: str) -> str:
    law = {
        Shape.CONSTANT: ", · the fit (constant)",
        Shape.LINEAR: ", · the fit (linear)",
        Shape.QUADRATIC: ", · the fit (quadratic)",
    }
    return f"{unit} by position: ● median of a range{law[fit.shape] if fit else ''}"


def _step(least: float, steps: Sequence[float]) -> float:
    """Return the first of ``steps``, times a power of ten, that is not below ``least``."""
    least = max(least, 1e-6)
    unit = 10.0 ** math.floor(math.log10(least))
    return unit * next(each for each in steps if each * unit >= least * (1 - 1e-9))


def _field(
    bins: Sequence[PositionBin], fit: PositionFit | None, last: int, width: int, top_ns: float
) -> list[list[str]]:
    """Return the characters between the axes, the top row first."""
    field = [[" "] * width for _ in range(_ROWS)]

    def put(position: float, ns: float, character: str) -> None:
        row = round(ns / top_ns * (_ROWS - 1))
        column = round((position - 1) / (last - 1) * (width - 1))
        field[_ROWS - 1 - min(max(row, 0), _ROWS - 1)][column] = character

    for column in range(width):
        position = 1 + column / (width - 1) * (last - 1)
        if fit and fit.first <= position <= fit.last:
            put(position, fitted_ns(fit, position), "·")
    for each in bins:
        put(middle(each), each.median_ns, "●")
    return field


def _positions(last: int, width: int) -> str:
    """Return the labels of the lower axis: first, last, and round positions between them."""
    step = max(1, round(_step((last - 1) / _POSITIONS, _ROUND)))
    line = [" "] * width
    end = f"{last:,}"
    line[0] = "1"
    line[width - len(end) :] = end
    for position in range(step, last, step):
        label = f"{position:,}"
        at = round((position - 1) / (last - 1) * (width - 1)) - len(label) // 2
        around = line[max(0, at - _LEAST_APART) : at + len(label) + _LEAST_APART]
        if at > 0 and not "".join(around).strip():
            line[at : at + len(label)] = label
    return "".join(line).rstrip()
