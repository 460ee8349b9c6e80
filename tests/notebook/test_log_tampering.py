"""Whatever is taken out of a log, put into it or changed in it, `log.verify` names it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from log_support import change, put, region_of, reseal, text_of, three_sessions, write_entry
from notebook_support import make_run

from lab.core.workspace import Workspace
from lab.notebook import evidence
from lab.notebook.contents import contents_comment
from lab.notebook.entries import entries
from lab.notebook.regions import parse_regions
from lab.notebook.verify import Problem, verify_log


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return three_sessions(tmp_path)


def entry_text(workspace: Workspace, number: int) -> str:
    entry = entries(workspace.log)[number - 1]
    return workspace.log.read_bytes()[entry.begin : entry.end].decode()


def named(workspace: Workspace) -> list[tuple[int | None, str]]:
    return [(each.entry, each.region) for each in verify_log(workspace).problems]


def only(workspace: Workspace) -> Problem:
    problems = verify_log(workspace).problems
    assert len(problems) == 1, problems
    return problems[0]


@pytest.mark.parametrize("name", ["setup", "results", "findings", "evidence"])
def test_a_region_that_was_deleted(workspace: Workspace, name: str) -> None:
    put(workspace, region_of(workspace, name, "-b"), "")
    problem = only(workspace)
    assert (problem.entry, problem.region) == (2, name)
    assert "20260218T100000-b is missing" in problem.what
    assert problem.line == entries(workspace.log)[1].line


def test_a_region_whose_comments_were_deleted_and_digits_changed(workspace: Workspace) -> None:
    region = region_of(workspace, "results", "-a")
    body = text_of(workspace, region).split("\n")[1:-2]
    put(workspace, region, "\n".join(body).replace("1.04", "0.04") + "\n")
    assert named(workspace) == [(1, "results")]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_entry_that_was_deleted(workspace: Workspace, number: int) -> None:
    change(workspace.log, entry_text(workspace, number), "")
    problem = only(workspace)
    assert problem.entry == number
    assert f"ddl-perf-evidence/00{number}" in problem.what
    assert str(problem).startswith(f"session {number}: ")


def test_a_log_that_was_deleted(workspace: Workspace) -> None:
    workspace.log.unlink()
    assert [each.entry for each in verify_log(workspace).problems] == [1, 2, 3]


def test_the_open_session_needs_no_entry_yet(workspace: Workspace) -> None:
    evidence.write_run(workspace, make_run(4, "20260218T120000-d"))
    assert only(workspace).entry == 4
    assert verify_log(workspace, open_session=4).problems == ()
    assert [each.entry for each in verify_log(workspace, open_session=5).problems] == [4]
    (workspace.evidence / "005").mkdir()
    assert verify_log(workspace, open_session=4).problems == ()


def test_a_hash_in_the_list_of_evidence(workspace: Workspace) -> None:
    region = region_of(workspace, "evidence", "-a")
    full = evidence.runs_of(workspace, 1)[0].sha256
    wrong = full[:-1] + ("0" if full[-1] != "0" else "1")
    for tamper in (change_in, reseal):
        good = workspace.log.read_text()
        tamper(workspace, region, full, wrong)
        problem = only(workspace)
        assert (problem.entry, problem.region, problem.line) == (1, "evidence", region.line + 1)
        assert full in problem.expected
        assert wrong in problem.found
        workspace.log.write_text(good)


def change_in(workspace: Workspace, region: object, old: str, new: str) -> None:
    change(workspace.log, old, new)


def test_another_sessions_region_in_the_place_of_its_own(workspace: Workspace) -> None:
    other = text_of(workspace, region_of(workspace, "results", "-b"))
    put(workspace, region_of(workspace, "results", "-a"), other)
    foreign, missing = verify_log(workspace).problems
    assert (foreign.entry, foreign.region) == (1, "results")
    assert "ddl-perf-evidence/002/run-20260218T100000-b.json" in foreign.what
    assert (missing.entry, missing.region) == (1, "results")
    assert "20260218T090000-a is missing" in missing.what


def test_another_sessions_region_beside_its_own(workspace: Workspace) -> None:
    other = text_of(workspace, region_of(workspace, "results", "-b"))
    change(workspace.log, "**Costs**", f"{other}\n**Costs**")
    assert named(workspace) == [(1, "results")]


def test_a_region_that_stands_twice(workspace: Workspace) -> None:
    own = text_of(workspace, region_of(workspace, "results", "-a"))
    change(workspace.log, "**Costs**", f"{own}\n**Costs**")
    assert "twice" in only(workspace).what


def test_an_entry_that_stands_twice(workspace: Workspace) -> None:
    workspace.log.write_text(workspace.log.read_text() + "\n" + entry_text(workspace, 2))
    assert "already" in only(workspace).what


def test_regions_outside_of_the_labs_entries(workspace: Workspace) -> None:
    own = text_of(workspace, region_of(workspace, "results", "-a"))
    good = workspace.log.read_text()
    workspace.log.write_text(f"{own}\n{good}")
    assert named(workspace) == [(None, "results")]
    assert str(only(workspace)).startswith("before the first session, results, line 1: ")
    workspace.log.write_text(f"{good}\n## Session 9: by hand\n\n{own}")
    assert named(workspace) == [(9, "results")]
    workspace.log.write_text(f"{good}\n## Summary\n\n{own}")
    assert named(workspace) == [(3, "results")]
    assert verify_log(workspace).regions == 22


def test_headings_put_into_an_entry_are_free(workspace: Workspace) -> None:
    change(workspace.log, "**Costs**", "### A remark\n\nText.\n\n**Costs**")
    assert verify_log(workspace).problems == ()


def without_marker(text: str) -> str:
    return text.replace("<!-- lab:entry id=S1 -->\n", "", 1)


def without_contents(text: str) -> str:
    line = next(line for line in text.split("\n") if line.startswith("<!-- lab:contents"))
    return text.replace(f"{line}\n", "", 1)


def without_contents_and_costs(text: str) -> str:
    region = next(r for r in parse_regions(text) if r.attributes["region"] == "costs")
    return without_contents(text[: region.begin] + text[region.end :])


def with_fewer_contents(text: str) -> str:
    return text.replace("regions=setup,method,", "regions=setup,", 1)


def renumbered(text: str) -> str:
    return text.replace("### Session 1:", "### Session 7:", 1)


@pytest.mark.parametrize(
    ("tamper", "wanted"),
    [
        (without_marker, {(1, "results"), (1, "")}),
        (without_contents, {(1, "")}),
        (without_contents_and_costs, {(1, ""), (1, "costs")}),
        (with_fewer_contents, {(1, ""), (1, "method")}),
        (renumbered, {(7, "results"), (1, "")}),
    ],
)
def test_what_an_entry_says_of_itself(
    workspace: Workspace, tamper: Callable[[str], str], wanted: set[tuple[int, str]]
) -> None:
    good = workspace.log.read_text()
    workspace.log.write_text(tamper(good))
    assert workspace.log.read_text() != good
    assert wanted <= set(named(workspace))


def test_a_run_that_was_put_into_the_folder_later(workspace: Workspace) -> None:
    evidence.write_run(workspace, make_run(1, "20260218T093000-x"))
    assert "run-20260218T093000-x.json" in only(workspace).what


def test_a_run_of_another_session_in_the_folder(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    write_entry(workspace, 1, [make_run(1, "20260218T090000-a")])
    shutil.move(workspace.evidence / "001", workspace.evidence / "002")
    change(workspace.log, "### Session 1:", "### Session 2:")
    problems = verify_log(workspace).problems
    assert len(problems) == 7
    assert all("it is of session 1" in each.what for each in problems)


def test_a_template_without_a_section_is_fine(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.templates.mkdir()
    (workspace.templates / "entry.md.j2").write_text(
        "### Session {{ number }}: {{ title }}\n{{ marker }}\n\n{{ sections.results }}\n"
    )
    write_entry(workspace, 1, [make_run(1, "20260218T090000-a")])
    report = verify_log(workspace)
    assert (report.regions, report.verified, report.problems) == (1, 1, ())
    assert contents_comment(["results"], ["20260218T090000-a"]) in workspace.log.read_text()
    put(workspace, region_of(workspace, "results", "-a"), "")
    assert named(workspace) == [(1, "results")]


def several(root: Path) -> Workspace:
    """Two sessions, the second with two runs; the second run is compared with the first."""
    workspace = Workspace(root)
    write_entry(workspace, 1, [make_run(1, "20260218T090000-a", factor=0.7)])
    runs = [
        make_run(2, "20260218T100000-b"),
        make_run(2, "20260218T110000-c", factor=1.5, created_at="2026-02-18T11:00:00+00:00"),
    ]
    write_entry(workspace, 2, runs)
    return workspace


def test_each_run_of_a_session_has_all_its_regions(tmp_path: Path) -> None:
    workspace = several(tmp_path)
    report = verify_log(workspace)
    assert (report.regions, report.verified, report.problems) == (20, 20, ())
    change(workspace.log, "as run 1.", "as run 2.")
    problem = only(workspace)
    assert (problem.entry, problem.region) == (2, "setup")
    assert problem.expected == "Run 2 (`20260218T110000-c`): as run 1."


def test_one_run_taken_for_the_other(tmp_path: Path) -> None:
    workspace = several(tmp_path)
    first, second = (region_of(workspace, "results", run) for run in ("-b", "-c"))
    text = workspace.log.read_text()
    swapped = text[second.body_begin : second.body_end]
    put(
        workspace, first, text[first.begin : first.body_begin] + swapped + "<!-- /lab:derived -->\n"
    )
    assert {(2, "results")} == set(named(workspace))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return several(tmp_path_factory.mktemp("kept"))


LETTERS = st.sampled_from(list("0123456789abz#|-`<> \t\r\n,.−±é\udc80")) | st.characters(
    codec="utf-8"
)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_single_changed_character_is_named(kept: Workspace, data: st.DataObject) -> None:
    good = kept.log.read_bytes()
    text = good.decode()
    owners = [(each.begin, each.number) for each in entries(kept.log)]
    region = data.draw(st.sampled_from(parse_regions(text)), "region")
    # All but the end of its last line: what follows is no part of the region.
    position = data.draw(st.integers(region.begin, region.end - 2), "position")
    letter = data.draw(LETTERS.filter(lambda each: each != text[position]), "letter")
    owner = max(number for begin, number in owners if begin <= len(text[:position].encode()))
    changed = text[:position] + letter + text[position + 1 :]
    try:
        kept.log.write_bytes(changed.encode("utf-8", "surrogateescape"))
        problems = verify_log(kept).problems
    finally:
        kept.log.write_bytes(good)
    name = region.attributes["region"]
    assert (owner, name) in {(each.entry, each.region) for each in problems}


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_digit_changed_is_named_even_with_a_hash_that_fits(
    kept: Workspace, data: st.DataObject
) -> None:
    good = kept.log.read_bytes()
    text = good.decode()
    region = data.draw(st.sampled_from(parse_regions(text)), "region")
    lines = text[region.body_begin : region.body_end].rstrip("\n")
    places = [place for place, letter in enumerate(lines) if letter in "0123456789"]
    if not places:
        return
    place = data.draw(st.sampled_from(places), "place")
    wrong = lines[:place] + str((int(lines[place]) + 1) % 10) + lines[place + 1 :]
    try:
        reseal(kept, region, lines, wrong)
        problems = verify_log(kept).problems
    finally:
        kept.log.write_bytes(good)
    assert [each.region for each in problems] == [region.attributes["region"]]
    assert problems[0].found in wrong.split("\n")
