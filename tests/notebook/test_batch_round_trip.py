"""A batch benchmark from its evidence: analysed, written, verified, found again by a session."""

from __future__ import annotations

import re
from pathlib import Path

from batch_support import FAILURES, SLOPE_NS, make_batch_run
from log_support import change, text_of, three_sessions, write_entry

from lab.core.workspace import Workspace
from lab.notebook.regions import parse_regions
from lab.notebook.verify import verify_log

SIZES = (1, 5, 10, 25, 50, 100)


def log_of_two(root: Path, slope_ns: float = SLOPE_NS) -> Workspace:
    """Write two batch benchmarks, the second with failures."""
    workspace = Workspace(root)
    write_entry(workspace, 1, [make_batch_run(1, "a", sizes=SIZES, slope_ns=slope_ns)])
    second = make_batch_run(
        2,
        "b",
        sizes=(*SIZES, 300, 500),
        slope_ns=slope_ns,
        failures=FAILURES,
        created_at="2026-03-11T10:15:00+00:00",
    )
    write_entry(workspace, 2, [second])
    return workspace


def test_each_region_is_made_again_from_the_evidence(tmp_path: Path) -> None:
    workspace = log_of_two(tmp_path)
    report = verify_log(workspace)
    assert report.problems == ()
    assert report.verified == report.regions == 14
    assert len(parse_regions(workspace.log.read_text())) == 14


def test_a_changed_figure_is_found(tmp_path: Path) -> None:
    workspace = log_of_two(tmp_path)
    change(workspace.log, "per position (95%", "per position  (95%")
    assert verify_log(workspace).problems


def test_a_law_is_named_where_it_is_and_nowhere_else(tmp_path: Path) -> None:
    growing = log_of_two(tmp_path / "growing").log.read_text()
    constant = log_of_two(tmp_path / "constant", slope_ns=0.0).log.read_text()
    assert growing.count("**Linear by position**") == 2
    assert growing.count("costs O(n²), as where each statement carries out") == 2
    slopes = [float(each) for each in re.findall(r"cost grows by ([\d.]+) ms per", growing)]
    assert all(abs(slope - 0.9) < 0.03 for slope in slopes)
    assert constant.count("**Constant by position**") == 2
    assert "O(n²)" not in constant


def test_a_batch_benchmark_stands_beside_other_runs(tmp_path: Path) -> None:
    workspace = three_sessions(tmp_path)
    write_entry(workspace, 4, [make_batch_run(4, "d", sizes=SIZES)])
    assert verify_log(workspace).problems == ()
    comparison = next(
        region
        for region in parse_regions(workspace.log.read_text())
        if region.attributes["region"] == "comparison" and region.attributes["run"] == "d"
    )
    # A run of single statements is no measure for it.
    assert "There is no earlier run to compare with." in text_of(workspace, comparison)
