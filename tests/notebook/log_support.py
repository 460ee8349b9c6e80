"""A log with entries and evidence, as sessions leave it, and what is done to it by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from notebook_support import make_run

from lab.core.workspace import Workspace
from lab.measure.record import Run
from lab.notebook import evidence
from lab.notebook.append import carry_out, plan_append
from lab.notebook.compose import compose
from lab.notebook.entry import Note
from lab.notebook.regions import Region, body_lines, parse_regions, sealed, splice, wrap
from lab.notebook.render import render_entry, render_log_heading


def write_entry(workspace: Workspace, number: int, runs: Sequence[Run]) -> None:
    """Write the runs as evidence and append their entry."""
    entry, _ = compose(
        workspace,
        number=number,
        session=f"S{number}",
        goal="Does it help?",
        date="2026-02-18",
        runs=[evidence.write_run(workspace, run) for run in runs],
        notes=[Note(kind="finding", text="1.04 ms is a lot.", at="2026-02-18T09:00:00Z")],
    )
    heading = render_log_heading(workspace)
    text = render_entry(workspace, entry)
    carry_out(workspace.log, plan_append(workspace.log, text, f"S{number}", heading=heading))


def three_sessions(root: Path) -> Workspace:
    """Write three entries: a first run, one that is faster, one with another setting."""
    workspace = Workspace(root)
    write_entry(workspace, 1, [make_run(1, "20260218T090000-a")])
    faster = make_run(2, "20260218T100000-b", factor=0.8, created_at="2026-02-18T10:00:00+00:00")
    write_entry(workspace, 2, [faster])
    write_entry(workspace, 3, [make_run(3, "20260218T110000-c", **{"setting.fsync": "off"})])
    return workspace


def change(path: Path, old: str, new: str, *, count: int = 1) -> None:
    """Replace ``old``, which must be there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


def region_of(workspace: Workspace, name: str, run: str) -> Region:
    """Return the first region ``name`` of the run whose id ends with ``run``."""
    return next(
        region
        for region in parse_regions(workspace.log.read_text())
        if region.attributes["region"] == name and region.attributes["run"].endswith(run)
    )


def text_of(workspace: Workspace, region: Region) -> str:
    """Return the region with its comments."""
    return workspace.log.read_text()[region.begin : region.end]


def put(workspace: Workspace, region: Region, replacement: str) -> None:
    """Replace the whole region."""
    text = workspace.log.read_text()
    workspace.log.write_text(splice(text, region.begin, region.end, replacement))


def reseal(workspace: Workspace, region: Region, old: str, new: str, /, **attributes: str) -> None:
    """Change a region as somebody would who also writes the hash that fits."""
    body = "\n".join(body_lines(workspace.log.read_text(), region))
    assert old in body
    body = body.replace(old, new, 1)
    changed = sealed({**region.attributes, **attributes}, body.split("\n"))
    put(workspace, region, wrap("derived", changed, body))
