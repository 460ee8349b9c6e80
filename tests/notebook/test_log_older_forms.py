"""Entries stay verifiable after the wording changed, as far as their numbers can be made again."""

from __future__ import annotations

from pathlib import Path

import pytest
from log_support import change, put, region_of, reseal, text_of, write_entry
from notebook_support import make_run

from lab.core.workspace import Workspace
from lab.notebook import evidence
from lab.notebook.contents import contents_comment
from lab.notebook.regions import is_sealed, parse_regions
from lab.notebook.render import REGIONS, form_of
from lab.notebook.templates import shipped_templates
from lab.notebook.verify import verify_log


def older(root: Path, *, old: str, new: str, name: str = "results") -> Workspace:
    """Return a log of one entry, written when a template read ``new`` in the place of ``old``."""
    workspace = Workspace(root)
    shipped = (shipped_templates() / f"region-{name}.md.j2").read_text()
    assert old in shipped
    workspace.templates.mkdir()
    own = workspace.templates / f"region-{name}.md.j2"
    own.write_text(shipped.replace(old, new, 1))
    write_entry(workspace, 1, [make_run(1, "20260218T090000-a")])
    assert verify_log(workspace).problems == ()
    own.unlink()
    return workspace


def reworded(root: Path) -> Workspace:
    return older(root, old="{{ table }}", new="In milliseconds, as it was:\n\n{{ table }}")


def test_other_words_with_the_same_numbers_are_verified(tmp_path: Path) -> None:
    workspace = reworded(tmp_path)
    assert "as it was" in workspace.log.read_text()
    report = verify_log(workspace)
    assert (report.regions, report.verified, report.older) == (7, 7, 0)
    assert (report.problems, report.notes) == ((), ())
    workspace.log.write_bytes(workspace.log.read_bytes().replace(b"\n", b"\r\n"))
    assert verify_log(workspace).verified == 7


def test_numbers_that_are_not_made_any_more_are_noted_and_no_failure(tmp_path: Path) -> None:
    workspace = older(tmp_path, old="{{ table }}", new="In 3 parts:\n\n{{ table }}")
    report = verify_log(workspace)
    assert (report.verified, report.older, report.problems) == (6, 1, ())
    note = report.notes[0]
    assert (note.entry, note.region) == (1, "results")
    assert note.line == region_of(workspace, "results", "-a").line
    assert "cannot make again" in str(note)


@pytest.mark.parametrize("old", ["1.04", "as it was", "Median"])
def test_an_older_form_that_was_edited_is_a_failure(tmp_path: Path, old: str) -> None:
    workspace = reworded(tmp_path)
    body = text_of(workspace, region_of(workspace, "results", "-a"))
    change(workspace.log, body, body.replace(old, "9.99", 1))
    report = verify_log(workspace)
    assert (report.verified, report.older) == (6, 0)
    assert {each.region for each in report.problems} == {"results"}
    assert any("9.99" in each.found for each in report.problems)


def test_an_older_form_whose_evidence_changed_is_a_failure(tmp_path: Path) -> None:
    workspace = reworded(tmp_path)
    path = workspace.root / evidence.runs_of(workspace, 1)[0].path
    path.write_bytes(path.read_bytes().replace(b'"seed":7', b'"seed":8', 1))
    report = verify_log(workspace)
    assert [each.region for each in report.problems] == [*REGIONS, "evidence"]
    assert all("was changed after it was written" in each.what for each in report.problems)


def test_the_same_form_that_comes_out_otherwise_is_a_failure(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    write_entry(workspace, 1, [make_run(1, "20260218T090000-a")])
    region = region_of(workspace, "findings", "-a")
    reseal(workspace, region, "No earlier run", "No previous run")
    again = region_of(workspace, "findings", "-a")
    assert is_sealed(again.attributes, text_of(workspace, again).split("\n")[1:-2])
    report = verify_log(workspace)
    assert [each.region for each in report.problems] == ["findings"]
    assert "No previous run" in report.problems[0].found
    assert "No earlier run" in report.problems[0].expected


def test_a_sign_belongs_to_its_number(tmp_path: Path) -> None:
    signed = "{{ table | replace(' 30 ', ' −30 ') }}"
    workspace = older(tmp_path, old="{{ table }}", new=signed)
    assert " −30 " in workspace.log.read_text()
    assert verify_log(workspace).older == 1


def test_a_region_that_only_another_lab_knows(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    write_entry(workspace, 1, [make_run(1, "20260218T090000-a")])
    reseal(workspace, region_of(workspace, "costs", "-a"), "Costs", "Costs", region="floors")
    names = (*REGIONS, "evidence")
    run = "20260218T090000-a"
    before = contents_comment(names, [run])
    after = contents_comment([name if name != "costs" else "floors" for name in names], [run])
    change(workspace.log, before, after)
    report = verify_log(workspace)
    assert (report.verified, report.older, report.problems) == (6, 1, ())
    change(workspace.log, "Costs were not taken", "Costs were 7 ms")
    report = verify_log(workspace)
    assert (report.verified, report.older) == (6, 0)
    assert [each.region for each in report.problems] == ["floors"]


def test_the_form_is_that_of_the_template_in_use(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    shipped = form_of(workspace, "results")
    workspace.templates.mkdir()
    own = workspace.templates / "region-results.md.j2"
    own.write_text("{{ table }}\n")
    assert form_of(workspace, "results") != shipped
    own.write_bytes((shipped_templates() / own.name).read_bytes())
    assert form_of(workspace, "results") == shipped


def test_comments_carry_short_hashes_and_the_list_full_ones(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    write_entry(workspace, 1, [make_run(1, "20260218T090000-a")])
    text = workspace.log.read_text()
    full = evidence.runs_of(workspace, 1)[0].sha256
    assert text.count(full) == 1
    for region in parse_regions(text):
        for name in ("evidence", "form", "text"):
            assert len(region.attributes[name]) == len("sha256:") + 16
        assert full.startswith(region.attributes["evidence"])
        put(workspace, region, text_of(workspace, region))
    assert workspace.log.read_text() == text
