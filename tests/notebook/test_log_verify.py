"""Figures are made again from evidence, and each difference is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from log_support import change, three_sessions
from notebook_support import corpus, make_run

from lab.core.workspace import Workspace
from lab.notebook import evidence
from lab.notebook.compose import compose
from lab.notebook.regions import parse_regions, splice, wrap
from lab.notebook.render import REGIONS
from lab.notebook.verify import verify_log


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return three_sessions(tmp_path)


def test_what_was_just_written_agrees(workspace: Workspace) -> None:
    report = verify_log(workspace)
    assert (report.entries, report.regions, report.verified) == (3, 21, 21)
    assert (report.older, report.problems) == (0, ())
    text = workspace.log.read_text()
    assert "Against session 1" in text
    assert "Not compared with session 2" in text


def test_prose_and_line_ends_are_free(workspace: Workspace) -> None:
    change(workspace.log, "1.04 ms is a lot.", "9.99 ms is a lot.")
    change(workspace.log, "**Goal:** Does it help?", "**Goal:** Did it?\n\nMore prose.")
    workspace.log.write_bytes(workspace.log.read_bytes().replace(b"\n", b"\r\n"))
    assert verify_log(workspace).problems == ()


def test_one_changed_digit_is_named(workspace: Workspace) -> None:
    lines = workspace.log.read_text().split("\n")
    number = next(i for i, line in enumerate(lines) if line.startswith("| `create-table` | "))
    good = lines[number]
    digits = [i for i, letter in enumerate(good) if letter.isdigit()]
    for position in (digits[0], digits[-1]):
        wrong = good[:position] + str((int(good[position]) + 1) % 10) + good[position + 1 :]
        workspace.log.write_text("\n".join([*lines[:number], wrong, *lines[number + 1 :]]))
        problems = verify_log(workspace).problems
        assert len(problems) == 1
        problem = problems[0]
        assert (problem.entry, problem.region, problem.line) == (1, "results", number + 1)
        assert (problem.expected, problem.found) == (good, wrong)
        for part in ("session 1", "results", good, wrong):
            assert part in str(problem)


def test_lines_that_came_or_went_are_named(workspace: Workspace) -> None:
    change(workspace.log, "- **Server:**", "- Somebody else's line\n- **Server:**")
    lines = workspace.log.read_text().split("\n")
    gone = next(i for i, line in enumerate(lines) if line.startswith("- Statements are permuted"))
    workspace.log.write_text("\n".join([*lines[:gone], *lines[gone + 1 :]]))
    added, missing = verify_log(workspace).problems
    assert (added.region, added.found, added.expected) == ("setup", "- Somebody else's line", "")
    assert lines[added.line - 1] == "- Somebody else's line"
    assert (missing.region, missing.found, missing.expected) == ("method", "", lines[gone])
    assert missing.line == gone + 1


def test_evidence_that_is_missing_or_changed_is_named(workspace: Workspace) -> None:
    file = evidence.runs_of(workspace, 1)[0]
    path = workspace.root / file.path
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"seed":7', b'"seed":8', 1))
    problems = verify_log(workspace).problems
    # The regions of session 1, and those of session 2 that compare with it.
    assert [(each.entry, each.region) for each in problems] == [
        *[(1, name) for name in (*REGIONS, "evidence")],
        (2, "comparison"),
        (2, "findings"),
    ]
    assert all("changed" in each.what for each in problems)
    path.unlink()
    assert all("missing" in each.what for each in verify_log(workspace).problems)


def test_a_region_that_was_tampered_with_is_named(workspace: Workspace) -> None:
    good = workspace.log.read_text()
    cases = (
        ("<!-- /lab:derived -->\n", "", "closing comment"),
        (" form=sha256:", " form=sha512:", "its opening comment was edited"),
        (" region=setup", " region=sums", "does not belong"),
        (" run=20260218T090000-a", " run=20260218T090000-z", "does not belong"),
        (" evidence=sha256:", " evidence=sha256:f", "it was edited"),
    )
    for old, new, said in cases:
        workspace.log.write_text(good)
        change(workspace.log, old, new)
        problems = verify_log(workspace).problems
        assert problems
        assert said in problems[0].what


def test_an_entry_whose_regions_were_taken_out_is_named(workspace: Workspace) -> None:
    text = workspace.log.read_text()
    lines = [line for line in text.split("\n") if "lab:derived" not in line]
    workspace.log.write_text("\n".join(lines))
    problems = verify_log(workspace).problems
    names = (*REGIONS, "evidence")
    assert [(p.entry, p.region) for p in problems] == [(i, n) for i in (1, 2, 3) for n in names]
    assert "20260218T090000-a" in problems[0].what


def test_a_hand_kept_log_has_nothing_to_verify(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.log.write_bytes((corpus() / "ddl-perf-log.md").read_bytes())
    report = verify_log(workspace)
    assert (report.entries, report.regions, report.problems) == (25, 0, ())


def test_a_second_run_is_compared_with_the_first_of_its_session(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    runs = [
        evidence.write_run(workspace, make_run(4, "20260218T090000-a")),
        evidence.write_run(workspace, make_run(4, "20260218T100000-b", factor=1.5)),
    ]
    entry, headline = compose(
        workspace, number=4, session="S4", goal="", date="2026-02-18", runs=runs, notes=[]
    )
    first, second = entry.runs
    assert first.analysis.comparison is None
    assert second.earlier == runs[0]
    assert second.analysis.comparison is not None
    assert second.analysis.comparison.cells["create-table"].ratio == pytest.approx(1.5, rel=0.01)
    assert "create-table 1.04 → 1.56 ms (ratio 1.500" in headline
    assert entry.title == "DDL latency on postgres at 1,000 objects"


@given(
    parts=st.lists(st.text(alphabet="ab\r\n `~#<!-", max_size=30), min_size=3, max_size=3),
    body=st.text(alphabet="ab <>-\n", max_size=30),
    replacement=st.text(max_size=20),
)
def test_regions_are_found_and_spliced_without_touching_the_rest(
    parts: list[str], body: str, replacement: str
) -> None:
    above, between, below = (part.replace("`", "").replace("~", "") + "\n" for part in parts)
    first = wrap("derived", {"region": "results", "run": "a"}, body)
    second = wrap("derived", {"region": "costs"}, body)
    text = above + first + between + second + below
    one, two = parse_regions(text)
    assert (one.attributes, two.attributes["region"]) == (
        {"region": "results", "run": "a"},
        "costs",
    )
    assert text[one.begin : one.end] == first
    assert text[two.begin : two.end] == second
    changed = splice(text, one.body_begin, one.body_end, replacement)
    assert changed.startswith(text[: one.body_begin])
    assert changed.endswith(text[one.body_end :])


def test_markers_in_code_are_no_regions() -> None:
    region = wrap("derived", {"region": "results"}, "x")
    assert parse_regions(f"```\n{region}```\n") == []
    assert len(parse_regions(f"```\n{region}```\n{region}")) == 1
    assert [each.closed for each in parse_regions(region.split("\n")[0])] == [False]
