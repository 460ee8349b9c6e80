"""Texts of the notebook: entries, their derived regions, commit messages, the heading of a log.

A derived region's body is a pure function of the run's file, the earlier run's file and the
templates, so that `lab.notebook.verify` can make it again.
"""

from __future__ import annotations

import textwrap
from typing import Any

from lab.core.workspace import Workspace
from lab.measure.findings import Analysis
from lab.notebook import costs, sentences, views
from lab.notebook.append import marker_of
from lab.notebook.entry import Entry, MeasuredRun, Note
from lab.notebook.evidence import session_folder
from lab.notebook.regions import wrap
from lab.notebook.templates import render_template
from lab.notebook.text import plain

__all__ = [
    "REGIONS",
    "VERSION",
    "Entry",
    "MeasuredRun",
    "Note",
    "region_attributes",
    "region_body",
    "render_entry",
    "render_log_heading",
    "render_message",
    "render_results",
]

REGIONS = ("setup", "method", "results", "costs", "comparison", "findings")
"""The derived regions of an entry, in order; each has a template ``region-NAME.md.j2``."""

VERSION = "1"
"""The version of the regions' form; raised where an older region could not be made again."""

# What most runs of a session have in common is said once.
_SHARED = ("setup", "method")
_COMPARED = ("comparison", "findings")
_SUBJECT = 72


def render_entry(workspace: Workspace, entry: Entry) -> str:
    """Return the log entry as Markdown, lines ended by line feeds.

    Raises
    ------
    PreconditionError
        A template is missing or wrong.

    """
    sections = {name: _section(workspace, name, entry.runs) for name in REGIONS}
    notes = {
        kind: [_list_item(note) for note in entry.notes if note.kind == kind]
        for kind in ("note", "finding", "next")
    }
    text = render_template(
        workspace,
        "entry.md.j2",
        {
            "number": entry.number,
            "title": plain(entry.title),
            "date": entry.date,
            "marker": marker_of(entry.session),
            "goal": plain(entry.goal),
            "sections": sections,
            "notes": notes["note"],
            "findings": notes["finding"],
            "next_steps": notes["next"],
            "files": [run.file for run in entry.runs],
        },
    )
    return _tidied(text)


def region_attributes(name: str, measured: MeasuredRun) -> dict[str, str]:
    """Return what the opening comment of the region ``name`` says of its origin."""
    earlier = measured.earlier
    known = {
        "region": name,
        "run": measured.file.run,
        "evidence": measured.file.sha256,
    }
    if earlier is not None and name in _COMPARED:
        known |= {"earlier": earlier.run, "earlier-evidence": earlier.sha256}
    return known | {"v": VERSION}


def region_body(workspace: Workspace, name: str, measured: MeasuredRun) -> str:
    """Return what lies inside the region ``name`` of a run.

    Raises
    ------
    PreconditionError
        A template is missing or wrong.

    """
    run, analysis = measured.run, measured.analysis
    contexts: dict[str, dict[str, Any]] = {
        "setup": {"lines": views.setup_lines(run)},
        "method": {"lines": views.method_lines(run)},
        "results": {
            "table": views.results_table(analysis),
            "remarks": views.results_remarks(run, analysis),
        },
        "costs": {
            "lines": costs.cost_lines(analysis.costs),
            "table": costs.cost_table(analysis.costs),
            "beside": costs.overlapping(analysis.costs),
            "rests": costs.rests(analysis.costs),
        },
        "comparison": _comparison_context(analysis, measured),
        "findings": {"sentences": sentences.findings(analysis)},
    }
    return _tidied(render_template(workspace, f"region-{name}.md.j2", contexts[name]))


def render_results(workspace: Workspace, analysis: Analysis) -> str:
    """Return what a run says for a terminal: its table, the comparison's, and the findings."""
    comparison = analysis.comparison
    text = _tidied(
        render_template(
            workspace,
            "results.txt.j2",
            {
                "table": views.results_table(analysis),
                "session": comparison.session if comparison else None,
                "comparison": views.comparison_table(comparison) if comparison else "",
                # Emphasis is for a page; on a terminal it is clutter.
                "sentences": [each.replace("**", "") for each in sentences.findings(analysis)],
            },
        )
    )
    return text.rstrip("\n")


def render_log_heading(workspace: Workspace) -> str:
    """Return what a new log begins with."""
    return _tidied(render_template(workspace, "log.md.j2", {}))


def render_message(
    workspace: Workspace, kind: str, entry: Entry, headline: str, *, first_line: str = ""
) -> str:
    """Return the description of a change, without trailers.

    Parameters
    ----------
    kind:
        ``change``, ``prompt`` or ``log``: which template is rendered.
    headline:
        What was found, in one line without a full stop.
    first_line:
        Takes the place of the first line that is made from title and verdict; what follows its own
        first line begins the body.

    Raises
    ------
    PreconditionError
        A template is missing or wrong.

    """
    last = entry.runs[-1].analysis if entry.runs else None
    given, _, more = first_line.strip().partition("\n")
    measured = last is not None and any(cell.summary for cell in last.cells)
    context = {
        "number": entry.number,
        "title": plain(entry.title),
        "headline": plain(headline),
        "verdicts": sentences.tally(last) if last else "",
        "medians": sentences.medians(last) if last and measured else "",
        "place": views.place_text(entry.runs[-1].run) if entry.runs else "",
        "earlier": last.comparison.session if last and last.comparison else None,
        "compared": bool(last and last.comparison and last.comparison.cells),
        "runs": len(entry.runs),
        "evidence": session_folder(workspace, entry.number).relative_to(workspace.root).as_posix(),
    }
    text = _tidied(render_template(workspace, f"{kind}-message.txt.j2", context))
    subject, _, body = text.partition("\n")
    paragraphs = [_wrapped(part) for part in body.strip().split("\n\n") if part.strip()]
    if more.strip():
        paragraphs.insert(0, more.strip())
    return "\n\n".join([given.strip() or _shortened(subject), *paragraphs]) + "\n"


def _section(workspace: Workspace, name: str, runs: tuple[MeasuredRun, ...]) -> str:
    """Return the region ``name`` of each run, with the run's name above where there are several."""
    parts: list[str] = []
    before: dict[str, int] = {}
    for index, measured in enumerate(runs, start=1):
        body = region_body(workspace, name, measured)
        title = f"Run {index} (`{measured.file.run}`):"
        if name in _SHARED and body in before:
            parts.append(f"{title} as run {before[body]}.\n")
            continue
        before[body] = index
        region = wrap("derived", region_attributes(name, measured), body)
        parts.append(f"{title}\n\n{region}" if len(runs) > 1 else region)
    return "\n".join(parts).rstrip("\n")


def _comparison_context(analysis: Analysis, measured: MeasuredRun) -> dict[str, Any]:
    comparison = analysis.comparison
    return {
        "session": comparison.session if comparison else None,
        "run": comparison.run if comparison else "",
        "file": measured.earlier.path if measured.earlier else "",
        "differs": bool(comparison and comparison.differences),
        "table": views.comparison_table(comparison) if comparison else "",
        "remarks": views.comparison_remarks(analysis),
    }


def _list_item(note: Note) -> str:
    """Return a note as one list item: whatever Markdown is in it stays inside of the item."""
    text = note.text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    lines = [line.rstrip() for line in text.split("\n")]
    return "\n".join(
        [f"- {lines[0].strip()}", *(f"  {line}" if line else "" for line in lines[1:])]
    )


def _tidied(text: str) -> str:
    """Return ``text`` without blanks at line ends and with one line feed at its end."""
    lines = [line.rstrip() for line in text.strip("\n").split("\n")]
    return "\n".join(lines) + "\n"


def _shortened(subject: str) -> str:
    subject = " ".join(subject.split())
    if len(subject) <= _SUBJECT:
        return subject
    # The verdict stands in brackets at the end and says more than the title's last words.
    title, bracket, verdict = subject.rpartition(" (")
    tail = f" ({verdict}" if bracket and subject.endswith(")") else ""
    if not tail or len(tail) > _SUBJECT // 2:
        title, tail = subject, ""
    return f"{title[: _SUBJECT - len(tail) - 1].rstrip()}…{tail}"


def _wrapped(paragraph: str) -> str:
    return textwrap.fill(
        " ".join(paragraph.split()), _SUBJECT, break_long_words=False, break_on_hyphens=False
    )
