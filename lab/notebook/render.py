"""Texts of the notebook: entries, their derived regions, commit messages, the heading of a log.

A derived region's body is a pure function of the run's file, the earlier run's file and the
templates, so that `lab.notebook.verify` can make it again.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from lab.core.files import sha256
from lab.core.workspace import Workspace
from lab.measure.findings import Analysis
from lab.measure.record import Run
from lab.notebook import comparisons, costs, sentences, views
from lab.notebook.append import marker_of
from lab.notebook.batch_upstream import asked, mean_of
from lab.notebook.batches import position_table
from lab.notebook.contents import EVIDENCE, contents_comment, joined
from lab.notebook.curve import plot
from lab.notebook.entry import Entry, MeasuredRun, Note
from lab.notebook.evidence import RunFile, session_folder
from lab.notebook.regions import parse_regions, sealed, shortened, wrap
from lab.notebook.shapes import marked
from lab.notebook.templates import render_template, template_text
from lab.notebook.text import plain

__all__ = [
    "REGIONS",
    "VERSION",
    "Entry",
    "MeasuredRun",
    "Note",
    "evidence_body",
    "form_of",
    "region_body",
    "render_entry",
    "render_log_heading",
    "render_message",
    "render_results",
]

REGIONS = ("setup", "method", "results", "costs", "comparison", "findings")
"""The regions of a run, in order; each has a template ``region-NAME.md.j2``."""

VERSION = "4"
"""The version of the regions' form: raised with every change of code that changes their text.

Without that, `lab.notebook.verify` takes each older region for one that was tampered with. A
change of a template needs nothing, since the form has the template's text in it.
"""

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
    sections[EVIDENCE] = _evidence_section(workspace, entry.runs)
    marker = marker_of(entry.session)
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
            "marker": marker,
            "goal": plain(entry.goal),
            "sections": sections,
            "notes": notes["note"],
            "findings": notes["finding"],
            "next_steps": notes["next"],
            "files": [run.file for run in entry.runs],
        },
    )
    text = _tidied(text)
    if not entry.runs:
        return text
    # The workspace's own template may leave sections out, so the entry says what it holds.
    regions = list(dict.fromkeys(each.attributes["region"] for each in parse_regions(text)))
    contents = contents_comment(regions, [run.file.run for run in entry.runs])
    return text.replace(marker, f"{marker}\n{contents}", 1)


def form_of(workspace: Workspace, name: str) -> str:
    """Return a short hash of what renders the region ``name``: its template and the code's version.

    Raises
    ------
    PreconditionError
        The template cannot be read.

    """
    form = f"{VERSION}\n{template_text(workspace, _template(name))}"
    return shortened(sha256(form.encode()))


def region_body(
    workspace: Workspace, name: str, runs: Sequence[MeasuredRun], *, several: bool
) -> str:
    """Return what lies inside the region ``name`` of the last of ``runs``.

    Where the entry holds ``several`` runs, the run's name stands above, and what is as in one of
    the runs before it is not said again.

    Raises
    ------
    PreconditionError
        A template is missing or wrong.

    """
    body = _run_body(workspace, name, runs[-1])
    if not several:
        return body
    title = f"Run {len(runs)} (`{runs[-1].file.run}`):"
    if name in _SHARED:
        for place, before in enumerate(runs[:-1], start=1):
            if _run_body(workspace, name, before) == body:
                return f"{title} as run {place}.\n"
    return f"{title}\n\n{body}"


def evidence_body(workspace: Workspace, files: Sequence[RunFile]) -> str:
    """Return what lies inside the region that lists the files of an entry's runs.

    Raises
    ------
    PreconditionError
        The template is missing or wrong.

    """
    return _tidied(render_template(workspace, _template(EVIDENCE), {"files": files}))


def _run_body(workspace: Workspace, name: str, measured: MeasuredRun) -> str:
    """Return what the region ``name`` says of a run."""
    run, analysis = measured.run, measured.analysis
    contexts: dict[str, dict[str, Any]] = {
        "setup": {"lines": views.setup_lines(run)},
        "method": {"lines": views.method_lines(run), "sql": views.sql_lines(run)},
        "results": {
            "table": views.results_table(analysis),
            **_by_position(analysis),
            "remarks": views.results_remarks(run, analysis),
        },
        "costs": _costs_context(run, analysis),
        "comparison": _comparison_context(analysis, measured),
        "findings": {"sentences": sentences.findings(analysis)},
    }
    return _tidied(render_template(workspace, _template(name), contexts[name]))


def render_results(workspace: Workspace, analysis: Analysis) -> str:
    """Return what a run says for a terminal: its table, the comparison's, and the findings."""
    comparison = analysis.comparison
    text = _tidied(
        render_template(
            workspace,
            "results.txt.j2",
            {
                "table": views.results_table(analysis),
                **_by_position(analysis),
                "earlier": comparison.earlier if comparison else "",
                "comparison": comparisons.comparison_table(comparison) if comparison else "",
                "remedies": comparisons.remedies(comparison) if comparison else [],
                # Emphasis is for a page; on a terminal it is clutter.
                "sentences": [each.replace("**", "") for each in sentences.findings(analysis)],
            },
        )
    )
    return text.rstrip("\n")


def _by_position(analysis: Analysis) -> dict[str, str]:
    """Return what a batch benchmark says by position: a table and a plot; empty for other runs."""
    batch = analysis.batch
    if batch is None:
        return {"by_position": "", "curve": ""}
    return {
        "by_position": position_table(batch, analysis.shapes_only),
        "curve": "\n".join(plot(batch.bins, batch.fit, analysis.shapes_only)),
    }


def _costs_context(run: Run, analysis: Analysis) -> dict[str, Any]:
    found, why, batch = analysis.costs, analysis.shapes_only, analysis.batch
    as_trees = batch is not None
    means = mean_of(found[0]) if as_trees and found else ""
    return {
        "lines": costs.cost_lines(found, why, means=means),
        "table": costs.cost_figures(found, why, as_trees=as_trees),
        "beside": costs.overlapping(found, as_trees=as_trees),
        "rests": costs.rests(found),
        "reading": marked(costs.reading_line(analysis.readings), why),
        "asked": asked(run.batch, batch, why) if run.batch and batch else [],
    }


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
    context = {
        "number": entry.number,
        "title": plain(entry.title),
        "headline": plain(headline),
        "verdicts": sentences.tally(last) if last else "",
        "medians": sentences.medians(last) if last else "",
        "of_what": sentences.of_what(last) if last else "",
        "void": plain(last.void) if last else "",
        "shapes_only": last.shapes_only if last else "",
        "place": views.place_text(entry.runs[-1].run) if entry.runs else "",
        "earlier": last.comparison.session if last and last.comparison else None,
        "unlike": comparisons.in_words(last.comparison.differences)
        if last and last.comparison
        else "",
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
    """Return the region ``name`` of each run."""
    parts: list[str] = []
    for count, measured in enumerate(runs, start=1):
        file, earlier = measured.file, measured.earlier
        known = {"run": file.run, "evidence": shortened(file.sha256)}
        if earlier is not None and name in _COMPARED:
            known |= {"earlier": earlier.run, "earlier-evidence": shortened(earlier.sha256)}
        body = region_body(workspace, name, runs[:count], several=len(runs) > 1)
        parts.append(_region(workspace, name, known, body))
    return "\n".join(parts).rstrip("\n")


def _evidence_section(workspace: Workspace, runs: tuple[MeasuredRun, ...]) -> str:
    if not runs:
        return ""
    files = [each.file for each in runs]
    known = {
        "run": joined([file.run for file in files]),
        "evidence": joined([shortened(file.sha256) for file in files]),
    }
    body = evidence_body(workspace, files)
    return _region(workspace, EVIDENCE, known, body).rstrip("\n")


def _region(workspace: Workspace, name: str, known: dict[str, str], body: str) -> str:
    """Return the region ``name`` around ``body``; ``known`` is what its comment says of its origin.

    Blank lines at either end of the body are no part of it.
    """
    attributes = {"region": name, **known, "form": form_of(workspace, name)}
    lines = body.strip("\n").split("\n")
    return wrap("derived", sealed(attributes, lines), body)


def _template(name: str) -> str:
    return f"region-{name}.md.j2"


def _comparison_context(analysis: Analysis, measured: MeasuredRun) -> dict[str, Any]:
    comparison = analysis.comparison
    return {
        "void": bool(analysis.void),
        "session": comparison.session if comparison else None,
        "run": comparison.run if comparison else "",
        "file": measured.earlier.path if measured.earlier else "",
        "differs": bool(comparison and comparison.differences),
        "unlike": comparisons.in_words(comparison.differences) if comparison else "",
        "table": comparisons.comparison_table(comparison) if comparison else "",
        "remarks": comparisons.comparison_remarks(analysis),
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
