"""Make every derived region of the log again from evidence, and name each difference."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

import msgspec

from lab.core.errors import LabError
from lab.core.workspace import Workspace
from lab.measure.record import Run
from lab.notebook import evidence
from lab.notebook.entries import LogEntry, parse_entries, read_log
from lab.notebook.entry import MeasuredRun
from lab.notebook.evidence import RunFile
from lab.notebook.regions import Region, body_lines, parse_regions
from lab.notebook.render import REGIONS, VERSION, region_body


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Something in the log that evidence does not bear out.

    ``line`` counts from 1 in the log. ``expected`` and ``found`` are lines of a region; both are
    empty where the region as a whole is what is wrong.
    """

    entry: int
    region: str
    line: int
    what: str
    expected: str = ""
    found: str = ""

    def __str__(self) -> str:
        place = f"session {self.entry}, {self.region}, line {self.line}: {self.what}"
        if not (self.expected or self.found):
            return place
        return f"{place}\n  expected: {self.expected}\n  found:    {self.found}"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `verify_log` looked at, and what it found wrong."""

    entries: int
    regions: int
    problems: tuple[Problem, ...]


def verify_log(workspace: Workspace) -> Report:
    """Check every derived region of the log; entries kept by hand have none, which is fine.

    Line ends count as alike, and prose outside of regions is free.

    Raises
    ------
    PreconditionError
        The log, or a template, cannot be read.

    """
    content = read_log(workspace.log)
    entries = parse_entries(content)
    problems: list[Problem] = []
    count = 0
    checker = _Checker(workspace)
    for entry in entries:
        text = content[entry.begin : entry.end].decode("utf-8", "surrogateescape")
        regions = parse_regions(text)
        count += len(regions)
        for region in regions:
            problems += checker.check(entry, region, text)
        if entry.session is not None:
            problems += checker.absent(entry, regions)
    return Report(entries=len(entries), regions=count, problems=tuple(problems))


class _Checker:
    """Checks regions; keeps the last run's analysis, since its regions follow one another."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._key: tuple[str, ...] = ()
        self._measured: MeasuredRun | None = None

    def check(self, entry: LogEntry, region: Region, text: str) -> Iterator[Problem]:
        """Yield what is wrong with one region."""
        line = entry.line + region.line - 1
        name = region.attributes.get("region", "")

        def problem(what: str) -> Problem:
            return Problem(entry=entry.number, region=name or "?", line=line, what=what)

        if not region.closed:
            yield problem("its closing comment is missing")
            return
        version = region.attributes.get("v", "")
        if version != VERSION or name not in REGIONS:
            yield problem(f"this lab cannot make it again (version {version or 'not given'})")
            return
        try:
            measured = self._measured_run(region.attributes)
        except LabError as error:
            yield problem(f"{error.what} {error.why}".strip())
            return
        expected = region_body(self._workspace, name, measured).rstrip("\n").split("\n")
        found = body_lines(text, region)
        yield from _differences(entry, name, line + 1, expected, found)

    def absent(self, entry: LogEntry, regions: list[Region]) -> Iterator[Problem]:
        """Yield the runs of the session that no region of results stands for."""
        shown = {each.attributes.get("run") for each in regions}
        for file in evidence.runs_of(self._workspace, entry.number):
            if file.run not in shown:
                yield Problem(
                    entry=entry.number,
                    region="results",
                    line=entry.line,
                    what=f"no region of the entry is derived from {file.path}",
                )

    def _measured_run(self, attributes: Mapping[str, str]) -> MeasuredRun:
        """Return the run that a region names, analysed as it was when the entry was written.

        What only some regions say of the earlier run makes no difference to the others.
        """
        from lab.measure.analysis import analyse

        names = ("run", "evidence", "earlier", "earlier-evidence")
        key = tuple(attributes.get(name, "") for name in names)
        if self._measured is not None and key == self._key:
            return self._measured
        file, run = self._load(key[0], key[1])
        earlier_file, earlier = self._load(key[2], key[3]) if key[2] else (None, None)
        before = (earlier.session, earlier) if earlier else None
        self._measured = MeasuredRun(
            file=file, run=run, analysis=analyse(run, before), earlier=earlier_file
        )
        self._key = key
        return self._measured

    def _load(self, run: str, sha256: str) -> tuple[RunFile, Run]:
        found = evidence.find_run(self._workspace, run)
        if found is None:
            raise _missing(run)
        file = RunFile(path=found.path, sha256=sha256, run=run)
        return file, evidence.read_file(self._workspace, file)


def _missing(run: str) -> LabError:
    return LabError(
        f"The evidence of run {run} is missing.",
        code="evidence.missing",
        remedy="Restore it from the repository's history.",
    )


def _differences(
    entry: LogEntry, name: str, line: int, expected: list[str], found: list[str]
) -> Iterator[Problem]:
    """Yield one problem for each line that differs; ``line`` is that of the body's first."""
    matcher = difflib.SequenceMatcher(None, expected, found, autojunk=False)
    for tag, low, high, begin, end in matcher.get_opcodes():
        if tag == "equal":
            continue
        for offset in range(max(high - low, end - begin)):
            wanted = expected[low + offset] if low + offset < high else None
            there = found[begin + offset] if begin + offset < end else None
            what = "a line differs from the evidence"
            if wanted is None:
                what = "a line is there that the evidence does not give"
            elif there is None:
                what = "a line is missing"
            yield Problem(
                entry=entry.number,
                region=name,
                line=line + begin + min(offset, end - begin),
                what=what,
                expected=wanted or "",
                found=there or "",
            )
