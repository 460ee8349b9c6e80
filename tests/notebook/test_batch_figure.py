"""The picture of a batch benchmark: what is drawn, in which formats, and what is refused."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from batch_support import CONSTANT, FAILURES, make_batch_analysis, make_batch_run
from notebook_support import make_run

from lab.core.errors import LabError, PreconditionError, UsageError
from lab.core.workspace import Workspace
from lab.measure.findings import BatchFinding
from lab.notebook import evidence
from lab.notebook.figure import batch_run_of, chart, draw, figure_title, require_format


def finding(**more: object) -> BatchFinding:
    batch = make_batch_analysis(make_batch_run(**more)).batch  # type: ignore[arg-type]
    assert batch is not None
    return batch


def test_a_drawing_names_what_it_shows() -> None:
    content = draw(finding(), "Session 23: Batches", "svg").decode()
    text = " ".join(each.text or "" for each in ET.fromstring(content).iter())
    for expected in (
        "Session 23: Batches",
        "create-table-from-source: CREATE TABLE … FROM SOURCE in transactions",
        "statements in a transaction (log)",
        "ms per table, COMMIT included",
        "position in the transaction",
        "fit (linear)",
        "500",
    ):
        assert expected in text


def test_the_same_finding_is_drawn_alike() -> None:
    assert draw(finding(), "x", "svg") == draw(finding(), "x", "svg")
    assert draw(finding(), "x", "png").startswith(b"\x89PNG\r\n")


def test_sizes_lie_on_a_logarithmic_axis_with_their_intervals() -> None:
    spec = chart(finding(failures=FAILURES), "x").to_dict()
    sizes, positions = spec["hconcat"]
    assert sizes["layer"][0]["encoding"]["x"]["scale"]["type"] == "log"
    values = spec["datasets"][sizes["data"]["name"]]
    assert [each["x"] for each in values] == [1, 5, 10, 25, 50, 100, 200, 300, 500]
    assert values[0]["low"] < values[0]["ms"] < values[0]["high"]
    fitted = positions["layer"][-1]["data"]["name"]
    assert len(spec["datasets"][fitted]) > 50


def test_without_a_fit_or_an_interval_there_is_a_picture_all_the_same() -> None:
    run = make_batch_run(sizes=(1,), repetitions=1)
    batch = make_batch_analysis(run, fit=None).batch
    assert batch is not None
    assert b"and fit" not in draw(batch, "x", "svg")


def test_shapes_alone_are_said_to_be_such() -> None:
    batch = make_batch_analysis(make_batch_run(), fit=CONSTANT).batch
    assert batch is not None
    assert (
        "† debug build: these figures show shapes"
        in draw(batch, "x", "svg", "debug build").decode()
    )


def test_the_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(PreconditionError) as caught:
        draw(finding(), "x", "svg")
    assert caught.value.code == "figure.missing-extra"
    assert caught.value.remedy == "pip install 'ddl-lab[report]'"


@pytest.mark.parametrize("suffix", [".pdf", "", ".svgz"])
def test_an_unknown_format_is_refused(suffix: str) -> None:
    with pytest.raises(UsageError) as caught:
        require_format(suffix)
    assert caught.value.code == "figure.format"
    assert require_format(".SVG") == "svg"


def test_the_last_batch_benchmark_of_a_session_is_drawn(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    evidence.write_run(workspace, make_batch_run(run="b-first"))
    later = make_batch_run(run="a-later", created_at="2026-03-10T11:00:00+00:00")
    evidence.write_run(workspace, later)
    evidence.write_run(workspace, make_run(23, "z-other"))
    run = batch_run_of(workspace, 23)
    assert run.id == "a-later"
    assert figure_title(run) == (
        "Session 23: Batches of create-table-from-source on postgres at 1,000 objects"
    )


@pytest.mark.parametrize("session", [1, 7])
def test_a_session_without_one_is_refused(tmp_path: Path, session: int) -> None:
    workspace = Workspace(tmp_path)
    evidence.write_run(workspace, make_run(1))
    with pytest.raises(LabError) as caught:
        batch_run_of(workspace, session)
    assert caught.value.code == "figure.no-batch"
    assert caught.value.exit_code == 2
