"""What an entry says, and that nothing in it can be taken for its structure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from notebook_support import comparison, make_analysis, make_run

from lab.core.errors import PreconditionError
from lab.core.workspace import Workspace
from lab.measure.findings import Difference
from lab.measure.host_noise import HostNoise
from lab.measure.record import Run
from lab.notebook import evidence
from lab.notebook.entries import parse_entries
from lab.notebook.figures import amount, code, ms, percent, significant, table
from lab.notebook.regions import parse_regions, shortened
from lab.notebook.render import (
    REGIONS,
    Entry,
    MeasuredRun,
    Note,
    render_entry,
    render_log_heading,
    render_message,
    render_results,
)
from lab.stats.summary import Verdict

CELLS = {
    "create-table": comparison(Verdict.IMPROVED, 0.87),
    "drop-table": comparison(Verdict.INCONCLUSIVE, 0.99),
}
AT = "2026-02-18T09:15:00+00:00"


def measured(
    workspace: Workspace,
    run: str = "20260218T091400-0a1b2c3d",
    *,
    made: Run | None = None,
    **more: Any,
) -> MeasuredRun:
    made = made or make_run(2, run)
    first = make_run(1, "20260217T080000-ffff0000")
    return MeasuredRun(
        file=evidence.write_run(workspace, made),
        run=made,
        analysis=make_analysis(run, **{"cells": CELLS, **more}),
        earlier=evidence.write_run(workspace, first),
    )


def entry(*runs: MeasuredRun, notes: tuple[Note, ...] = (), title: str = "Does it help?") -> Entry:
    return Entry(
        number=2,
        session="S2",
        title=title,
        date="2026-02-18",
        goal="Find out whether it helps.",
        notes=notes,
        runs=runs,
    )


def note(kind: str, text: str) -> Note:
    return Note(kind=kind, text=text, at=AT)


def test_an_entry_has_its_sections_in_order_and_its_regions(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    run = measured(workspace)
    notes = (note("finding", "It is the flush."), note("note", "As is."), note("next", "Go on."))
    text = render_entry(workspace, entry(run, notes=notes))
    assert text.startswith("### Session 2: Does it help? (2026-02-18)\n<!-- lab:entry id=S2 -->\n")
    own = [name.capitalize() for name in REGIONS]
    places = [text.index(f"**{name}") for name in ["Goal", *own, "Notes", "Next", "Evidence"]]
    assert places == sorted(places)
    regions = parse_regions(text)
    assert [region.attributes["region"] for region in regions] == [*REGIONS, "evidence"]
    for region in regions:
        assert region.attributes["run"] == run.file.run
        assert run.file.sha256.startswith(region.attributes["evidence"])
        compared = region.attributes["region"] in ("comparison", "findings")
        expected = shortened(run.earlier.sha256) if compared and run.earlier else None
        assert region.attributes.get("earlier-evidence") == expected
    after = text[regions[-2].end :]
    for each in ("- It is the flush.", "- As is.", "- Go on.", run.file.path, run.file.sha256):
        assert each in after
    assert "\n\n\n" not in text
    assert text.endswith("\n")
    assert not any(line != line.rstrip() for line in text.split("\n"))


def test_figures_verdicts_and_costs_are_in_it(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    text = render_entry(workspace, entry(measured(workspace)))
    rows = {line.split("|")[1].strip(): line for line in text.split("\n") if line.startswith("|")}
    result = [cell.strip() for cell in _row(text, "drop-table", 0)]
    assert result[1:] == ["1,000", "50", "0.520", "0.510 to 0.530", "0.0260", "0.610", "0.728", "2"]
    assert "Median (ms)" in text
    assert "95% interval (ms)" in text
    verdict = [cell.strip() for cell in _row(text, "create-table", 2)]
    assert verdict[1:6] == ["improved, provisional", "1.04", "0.905", "0.870", "0.827 to 0.913"]
    assert [cell.strip() for cell in _row(text, "drop-table", 1)][6] == "±8.1%"
    assert "Provisional (one boot)" in text
    cost = [cell.strip() for cell in _row(text, "create-table", 1)]
    assert cost[1:] == ["1.12", "0.610 (54%)", "0.470 (42%)", "8.21 kB", "12"]
    assert "WAL flush (fsync) takes 54% of `create-table`." in text
    assert "Samples of their own: means of 30 statements" in text
    assert "not the medians above" in text
    assert "Not attributed: server CPU and the round trip." in text
    assert "1.04 → 0.905 ms since session 1, −13%" in text
    assert "Inconclusive, provisional: `drop-table`." in text
    assert "The host was busy while `create-table` ran." in text
    # Names the cause of what was left out, and does not open a comment with it.
    assert "Samples excluded (40P01 deadlock | &lt;!-- detected -->): `drop-table` 2." in text
    assert rows


def _row(text: str, statement: str, which: int) -> list[str]:
    lines = [line for line in text.split("\n") if line.startswith(f"| `{statement}`")]
    return lines[which].strip("|").split("|")


def test_unlike_passports_are_named_and_nothing_is_compared(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    differences = (Difference("setting.fsync", "on", "off"), Difference("host.cores", "", "2"))
    text = render_entry(workspace, entry(measured(workspace, differences=differences)))
    assert "Not compared with session 1" in text
    row = next(line for line in text.split("\n") if line.startswith("| `setting.fsync`"))
    assert [each.strip() for each in row.split("|")[2:4]] == ["on", "off"]
    assert "Verdict" not in text
    assert "improved" not in text


def test_without_an_earlier_run_it_says_so(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    text = render_entry(workspace, entry(measured(workspace, compared=False)))
    assert "There is no earlier run to compare with." in text
    assert "medians go from 0.520 ms (`drop-table`) to 1.04 ms (`create-table`)" in text


def test_several_runs_have_regions_each_and_share_what_is_alike(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    # As runs are: each has its own seed, its own boot, and meets the host in another state.
    second = make_run(2, "20260218T100000-00000000")
    plan = msgspec.structs.replace(second.plan, seed=4096755664)
    noise = HostNoise(load_1min=1.7, steal=0.01, pressure={"cpu": 0.08, "io": 0.3})
    blocks = tuple(
        msgspec.structs.replace(each, noise=noise, connection_ns=7_000_000, boot="another")
        for each in (*second.blocks, msgspec.structs.replace(second.blocks[-1], index=4))
    )
    second = msgspec.structs.replace(second, plan=plan, blocks=blocks)
    runs = (measured(workspace), measured(workspace, second.id, made=second))
    text = render_entry(workspace, entry(*runs))
    names = [(r.attributes["region"], r.attributes["run"]) for r in parse_regions(text)]
    first, second = (run.file.run for run in runs)
    assert names.count(("results", first)) == names.count(("results", second)) == 1
    assert ("setup", first) in names
    assert ("setup", second) in names
    assert text.count("Run 2 (`20260218T100000-00000000`): as run 1.") == 2  # setup and method
    assert "Seed 7; 3 blocks" in text
    assert "Seed 4096755664; 4 blocks" in text
    assert "load 1.7" in text
    assert "\n\n\n" not in text


def test_a_session_of_notes_alone_renders(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    text = render_entry(workspace, entry(notes=(note("finding", "It is the flush."),)))
    assert "**Findings**\n\n- It is the flush." in text
    assert "Results" not in text
    assert parse_regions(text) == []
    message = render_message(workspace, "change", entry(), "notes only")
    assert message.startswith("Session 2: Does it help?\n\nNothing was measured")


@given(text=st.text(max_size=60) | st.sampled_from(["### Session 9: x", "<!-- /lab:derived -->"]))
def test_no_note_title_or_goal_can_pass_for_structure(text: str) -> None:
    workspace = Workspace(Path("/nonexistent"))
    hostile = f"first\n{text}\n### Session 77: no\n<!-- lab:entry id=no -->\n```\n<!-- lab:derived"
    made = Entry(
        number=2,
        session="S2",
        title=hostile,
        date="2026-02-18",
        goal=hostile,
        notes=(note("finding", hostile), note("note", hostile), note("next", hostile)),
    )
    log = f"{render_entry(workspace, made)}\n### Session 3: after (2026-02-19)\n"
    found = parse_entries(log.encode("utf-8", "surrogatepass"))
    assert [(each.number, each.session) for each in found] == [(2, "S2"), (3, None)]
    assert parse_regions(log) == []


@pytest.mark.parametrize("kind", ["change", "prompt", "log"])
@pytest.mark.parametrize("title", ["Short", "A title of many words " * 9, "x" * 200])
def test_messages_have_a_first_line_of_72_and_a_body(tmp_path: Path, kind: str, title: str) -> None:
    workspace = Workspace(tmp_path)
    made = entry(measured(workspace), title=title.strip())
    message = render_message(workspace, kind, made, "create-table 1.04 ms at 1,000 objects")
    subject, blank, *body = message.split("\n")
    assert 0 < len(subject) <= 72
    assert blank == ""
    assert "".join(body).strip()
    assert all(len(line) <= 72 or " " not in line for line in body)
    assert message.endswith("\n")
    if kind == "change":
        assert subject.endswith("(1 improved, 1 inconclusive)")
        joined = " ".join(body)
        assert "create-table 1.04 ms (1.02 to 1.06)" in joined
        assert "Against session 1: 1 improved, 1 inconclusive." in joined


def test_the_message_of_a_void_run_says_so_and_gives_no_medians(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    run = measured(workspace, compared=False)
    analysis = msgspec.structs.replace(run.analysis, void="the server was lost")
    made = entry(msgspec.structs.replace(run, analysis=analysis))
    assert "The run is void, so it is compared with nothing." in render_entry(workspace, made)
    message = " ".join(render_message(workspace, "change", made, "x").split())
    assert "The run is void: the server was lost. Evidence: ddl-perf-evidence/002." in message
    assert "Measured" not in message


def test_a_given_first_line_is_taken_as_it_is(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    made = entry(measured(workspace))
    message = render_message(workspace, "change", made, "x", first_line="Cache it\n\nSince …\n")
    assert message.startswith("Cache it\n\nSince …\n\nMeasured on postgres at 1,000 objects:")


def test_a_workspace_overrides_templates_by_name(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.templates.mkdir()
    (workspace.templates / "log.md.j2").write_text("# Our log\n")
    assert render_log_heading(workspace) == "# Our log\n"
    assert render_entry(workspace, entry()).startswith("### Session 2")
    for broken, line in (("one\n{{ nothing }}\n", 2), ("{% if %}", 1)):
        (workspace.templates / "log.md.j2").write_text(broken)
        with pytest.raises(PreconditionError) as caught:
            render_log_heading(workspace)
        assert caught.value.code == "template.unusable"
        assert f"log.md.j2:{line}" in caught.value.what


def test_results_for_a_terminal(tmp_path: Path) -> None:
    text = render_results(Workspace(tmp_path), make_analysis(cells=CELLS))
    assert "create-table" in text
    assert "Against session 1:" in text
    assert "**" not in text
    assert "lab:" not in text


def test_figures_have_three_significant_digits() -> None:
    values = (1091.4e6, 264.2e6, 69.31e6, 1.044e6, 0.1234e6, 0.04561e6, 9.996e6, 0, -1.5e6, None)
    assert [ms(value) for value in values] == [
        "1,091", "264", "69.3", "1.04", "0.123", "0.0456", "10.0", "0", "-1.50", "–",
    ]  # fmt: skip
    assert significant(float("nan")) == "–"
    assert [percent(value) for value in (0.03, 0.0312, 0.126, 0.00001, 1.5)] == [
        "3%", "3.1%", "13%", "0%", "150%",
    ]  # fmt: skip
    assert [amount(8214, "bytes"), amount(1.5e6, "bytes"), amount(12.0, "count")] == [
        "8.21 kB", "1.50 MB", "12",
    ]  # fmt: skip


@given(st.lists(st.lists(st.text(max_size=12), min_size=2, max_size=2), min_size=1, max_size=4))
def test_no_cell_breaks_its_table(rows: list[list[str]]) -> None:
    lines = table(["a|b", "c"], rows).split("\n")
    assert len(lines) == len(rows) + 2
    for line in lines:
        bare = line.replace("\\\\", "").replace("\\|", "")
        assert bare.count("|") == 3


def test_code_holds_backticks() -> None:
    assert code("a`b") == "`` a`b ``"
