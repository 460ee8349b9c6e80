"""A batch benchmark as a picture: what a table costs by size, and a statement by position.

Drawn with altair and vl-convert, which the extra ``report`` installs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lab.core.errors import PreconditionError, UsageError
from lab.core.workspace import Workspace
from lab.measure.findings import BatchFinding
from lab.measure.record import Run
from lab.notebook import evidence
from lab.notebook.batches import position_range
from lab.notebook.curve import fitted_ns, middle
from lab.notebook.shapes import legend
from lab.notebook.views import measured_title
from lab.stats.positions import PositionFit

if TYPE_CHECKING:
    import altair as alt

FORMATS = ("svg", "png")

_NS_PER_MS = 1e6
_WIDTH, _HEIGHT = 380, 280
_FIT_POINTS = 100
_MEASURED, _FITTED = "#1f77b4", "#d62728"
_PNG_SCALE = 2.0


def require_format(suffix: str) -> str:
    """Return the format that a file's ``suffix`` (``.svg``) asks for.

    Raises
    ------
    UsageError
        It is none that can be drawn.

    """
    wanted = suffix.lower().removeprefix(".")
    if wanted not in FORMATS:
        raise UsageError(
            f"A figure cannot be written as {suffix or 'a file without a suffix'}.",
            code="figure.format",
            remedy="Name a file that ends with .svg or .png.",
        )
    return wanted


def batch_run_of(workspace: Workspace, number: int) -> Run:
    """Return the last batch benchmark of session ``number``.

    Raises
    ------
    UsageError
        It holds none.
    PreconditionError
        Its evidence is corrupt, or a newer lab wrote it.

    """
    files = evidence.runs_of(workspace, number)
    runs = [evidence.read_file(workspace, file) for file in files]
    batches = sorted((run for run in runs if run.batch), key=lambda run: (run.created_at, run.id))
    if batches:
        return batches[-1]
    raise UsageError(
        f"Session {number} holds no batch benchmark to draw.",
        code="figure.no-batch",
        why="It holds other runs." if runs else "It has no evidence here.",
        remedy="`log.list` lists the sessions; `session.measure --plan batch` measures one.",
    )


def figure_title(run: Run) -> str:
    """Return the heading of the picture of ``run``."""
    return f"Session {run.session}: {measured_title(run)}"


def draw(finding: BatchFinding, title: str, wanted: str, shapes_only: str = "") -> bytes:
    """Return the picture of a batch benchmark in the format ``wanted`` (one of `FORMATS`).

    Raises
    ------
    PreconditionError
        The extra ``report`` is not installed.

    """
    try:
        import vl_convert
        from altair import SCHEMA_VERSION
    except ImportError as error:
        raise PreconditionError(
            "Figures need packages that are not installed.",
            code="figure.missing-extra",
            why=f"{error}. Only figures need them, so they come with the extra `report`.",
            remedy="pip install 'ddl-lab[report]'",
        ) from error
    spec = chart(finding, title, shapes_only).to_dict()
    version = ".".join(SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    if wanted == "png":
        return vl_convert.vegalite_to_png(spec, vl_version=version, scale=_PNG_SCALE)
    return vl_convert.vegalite_to_svg(spec, vl_version=version).encode()


def chart(finding: BatchFinding, title: str, shapes_only: str = "") -> alt.HConcatChart:
    """Return the two panels: cost of a table by size, of a statement by position."""
    import altair as alt

    subtitle = [f"{finding.statement}: {finding.product}"]
    subtitle += [f"{legend(shapes_only)}"] if shapes_only else []
    panels = alt.hconcat(_by_size(finding), _by_position(finding), spacing=90, bounds="flush")
    return panels.properties(
        title=alt.TitleParams(title, subtitle=subtitle, anchor="start"), background="white"
    )


def _by_size(finding: BatchFinding) -> alt.LayerChart:
    import altair as alt

    known = [(each.size, each.cost) for each in finding.sizes if each.cost]
    rows = [
        {"x": size, "ms": _ms(cost.ns), "low": _ms(cost.low_ns), "high": _ms(cost.high_ns)}
        for size, cost in known
    ]
    sizes = sorted(row["x"] or 0 for row in rows)
    x = alt.X(
        "x:Q",
        title="statements in a transaction (log)",
        scale=alt.Scale(type="log", nice=False, padding=12),
        axis=alt.Axis(values=sizes, labelOverlap=True, grid=False, format=",.0f"),
    )
    base = alt.Chart(_data(rows)).encode(x=x)
    y, low = (_y(field, "ms per table, COMMIT included") for field in ("ms", "low"))
    line = base.mark_line(color=_MEASURED, strokeWidth=1).encode(y=y)
    points = base.mark_point(color=_MEASURED, filled=True, size=25, opacity=1).encode(y=y)
    layers = [line, _intervals(base, low), points]
    return alt.LayerChart(layer=layers).properties(
        width=_WIDTH, height=_HEIGHT, title="Cost of a table by size, with 95% intervals"
    )


def _by_position(finding: BatchFinding) -> alt.LayerChart:
    import altair as alt

    rows = [
        {
            "x": middle(each),
            "first": each.first,
            "last": each.last,
            "ms": _ms(each.median_ns),
            "low": _ms(each.low_ns),
            "high": _ms(each.high_ns),
            "range": position_range(each.first, each.last),
        }
        for each in finding.bins
    ]
    x = alt.X(
        "x:Q",
        title="position in the transaction",
        scale=alt.Scale(nice=False, padding=6),
        axis=alt.Axis(grid=False, format=",.0f", tickCount=6),
    )
    y, low = (_y(field, "ms per statement") for field in ("ms", "low"))
    base = alt.Chart(_data(rows)).encode(x=x)
    ranges = base.mark_rule(color=_MEASURED, opacity=0.5, strokeWidth=2).encode(
        x=alt.X("first:Q"), x2="last:Q", y=y
    )
    points = base.mark_point(color=_MEASURED, filled=True, size=25, opacity=1).encode(y=y)
    layers: list[Any] = [ranges, _intervals(base, low), points]
    if finding.fit:
        fitted = alt.Chart(_data(_curve(finding.fit)))
        layers.append(
            fitted.mark_line(color=_FITTED, strokeWidth=1.5, strokeDash=[5, 3]).encode(x=x, y=y)
        )
    title = "Cost of a statement by position: medians"
    if finding.fit:
        title += f" and fit ({finding.fit.shape.value})"
    return alt.LayerChart(layer=layers).properties(width=_WIDTH, height=_HEIGHT, title=title)


def _intervals(base: alt.Chart, y: alt.Y) -> alt.Chart:
    """Return the 95% intervals, where there are any, on the axis ``y``."""
    known: alt.Chart = base.transform_filter("isValid(datum.low) && isValid(datum.high)")
    bars = known.mark_errorbar(color=_MEASURED, ticks=True, thickness=1.5)
    encoded: alt.Chart = bars.encode(y=y, y2="high:Q")
    return encoded


def _curve(fit: PositionFit) -> list[dict[str, Any]]:
    step = (fit.last - fit.first) / _FIT_POINTS
    positions = [fit.first + step * place for place in range(_FIT_POINTS + 1)]
    return [{"x": position, "ms": _ms(fitted_ns(fit, position))} for position in positions]


def _y(field: str, title: str) -> alt.Y:
    import altair as alt

    return alt.Y(f"{field}:Q", title=title, scale=alt.Scale(zero=True, nice=6))


def _data(rows: list[dict[str, Any]]) -> alt.InlineData:
    import altair as alt

    return alt.InlineData(values=rows)


def _ms(ns: float | None) -> float | None:
    return None if ns is None else ns / _NS_PER_MS
