"""Make every derived region of the log again from evidence, and name each difference."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from lab.core.errors import LabError
from lab.core.workspace import Workspace
from lab.notebook import evidence
from lab.notebook.contents import EVIDENCE, Contents, parse_contents
from lab.notebook.entries import LogEntry, parse_entries, read_log
from lab.notebook.regions import Region, body_lines, is_sealed, parse_regions
from lab.notebook.remake import Remaker
from lab.notebook.render import REGIONS

# A minus or plus belongs to its number; a hyphen may join words, and so does not.
_NUMBER = re.compile(r"[+−±]?\d+(?:[.,]\d+)*")


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Something in the log that evidence does not bear out.

    ``line`` counts from 1 in the log; 0 where what is wrong has no place in it. ``expected`` and
    ``found`` are lines of a region; both are empty where the region as a whole is what is wrong.
    ``entry`` is None before the first one.
    """

    entry: int | None
    region: str
    line: int
    what: str
    expected: str = ""
    found: str = ""

    def __str__(self) -> str:
        session = "before the first session" if self.entry is None else f"session {self.entry}"
        line = f"line {self.line}" if self.line else ""
        place = ", ".join(part for part in (session, self.region, line) if part)
        if not (self.expected or self.found):
            return f"{place}: {self.what}"
        return f"{place}: {self.what}\n  expected: {self.expected}\n  found:    {self.found}"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `verify_log` looked at, and what it found wrong.

    Of the ``regions``, ``verified`` ones agree with the evidence. ``older`` ones stand as an older
    form of the lab wrote them, and this one cannot make them again; ``notes`` names them. They are
    no failure.
    """

    entries: int
    regions: int
    verified: int
    older: int
    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...] = ()


class _Findings(msgspec.Struct):
    regions: int = 0
    verified: int = 0
    problems: list[Problem] = []
    notes: list[Problem] = []


def verify_log(workspace: Workspace, open_session: int | None = None) -> Report:
    """Check that each session's entry is there, whole, and says what its evidence says.

    Entries kept by hand have no regions, which is fine. Line ends count as alike, and prose outside
    of regions is free. Evidence of the session ``open_session`` needs no entry yet.

    Raises
    ------
    PreconditionError
        The log, evidence, or a template cannot be read.

    """
    content = read_log(workspace.log)
    entries = parse_entries(content)
    found = _Findings()
    begins = [*(entry.begin for entry in entries), len(content)]
    found.problems += _strays(None, 1, parse_regions(_decoded(content[: begins[0]])), found)
    seen: set[int] = set()
    for entry, end in zip(entries, begins[1:], strict=True):
        # A heading put in by hand ends an entry for its readers, but regions below it are its own.
        text = _decoded(content[entry.begin : end])
        if entry.session is None:
            found.problems += _strays(entry.number, entry.line, parse_regions(text), found)
            continue
        if entry.number in seen:
            what = "the log has an entry of that number already"
            found.problems.append(_problem(entry, "", entry.line, what))
        seen.add(entry.number)
        _EntryCheck(workspace, entry, text, found).carry_out()
    found.problems += _without_entry(workspace, seen, open_session)
    return Report(
        entries=len(entries),
        regions=found.regions,
        verified=found.verified,
        older=len(found.notes),
        problems=tuple(found.problems),
        notes=tuple(found.notes),
    )


class _EntryCheck:
    """Checks one entry of the lab, and adds what it finds to ``found``."""

    def __init__(self, workspace: Workspace, entry: LogEntry, text: str, found: _Findings) -> None:
        self._workspace = workspace
        self._entry = entry
        self._text = text
        self._found = found
        self._regions = parse_regions(text)
        self._files = evidence.runs_of(workspace, entry.number)
        self._stated = parse_contents(text)
        self._contents = self._stated or Contents(
            regions=(*REGIONS, EVIDENCE), runs=tuple(file.run for file in self._files)
        )
        self._remaker = Remaker(workspace, entry.number, self._contents.runs, self._files)

    def carry_out(self) -> None:
        """Check what the entry holds, and each region that belongs to it."""
        self._found.regions += len(self._regions)
        self._found.problems += self._whole()
        expected = self._contents.keys() if self._files or self._stated else []
        there: set[tuple[str, str]] = set()
        for region in self._regions:
            key = _key(region)
            if key in there:
                self._wrong(region, "the entry holds this region twice")
            elif key not in expected:
                self._wrong(region, self._foreign(key[1]))
            else:
                self._region(region)
            there.add(key)
        for name, run in expected:
            if (name, run) not in there:
                what = f"the region of run {run} is missing"
                self._found.problems.append(_problem(self._entry, name, self._entry.line, what))

    def _whole(self) -> Iterator[Problem]:
        """Yield what is wrong with the comment that says what the entry holds."""
        line = self._entry.line
        if self._stated is None and (self._files or self._regions):
            what = "the comment that says what the entry holds (lab:contents) is missing"
            yield _problem(self._entry, "", line, what)
        elif not self._contents.intact:
            what = "the comment that says what the entry holds (lab:contents) was edited"
            yield _problem(self._entry, "", line, what)
        for file in self._files:
            if file.run not in self._contents.runs:
                what = f"no region of the entry is derived from {file.path}"
                yield _problem(self._entry, "results", line, what)

    def _foreign(self, run: str) -> str:
        file = evidence.find_run(self._workspace, run)
        whose = f" ({file.path})" if file else ""
        return f"this region, of run {run or '?'}{whose}, does not belong to the entry"

    def _region(self, region: Region) -> None:
        """Compare one region with what it is made of."""
        if not region.closed:
            self._wrong(region, "its closing comment is missing")
            return
        lines = body_lines(self._text, region)
        name = region.attributes["region"]
        intact = is_sealed(region.attributes, lines)
        if not self._remaker.knows(name):
            if intact:
                self._older(region)
            else:
                self._wrong(region, "it was edited, and this lab cannot make it again")
            return
        try:
            expected = self._remaker.body(region.attributes)
        except LabError as error:
            why = f"{error.what} {error.why}".strip()
            self._wrong(region, why if intact else "it was edited, and its origin cannot be read")
            return
        same_form = region.attributes.get("form") == self._remaker.form(name)
        if intact:
            self._as_written(region, expected, lines, same_form=same_form)
        else:
            self._edited(region, expected, lines, same_form=same_form)

    def _as_written(
        self, region: Region, expected: list[str], lines: list[str], *, same_form: bool
    ) -> None:
        """Judge a region that nobody edited since it was written."""
        if expected == lines or (not same_form and _numbers(expected) == _numbers(lines)):
            self._found.verified += 1
        elif same_form:
            self._differences(region, expected, lines, "a line differs from the evidence")
        else:
            self._older(region)

    def _edited(
        self, region: Region, expected: list[str], lines: list[str], *, same_form: bool
    ) -> None:
        """Name what was edited in a region, as far as it can be told."""
        if expected == lines:
            self._wrong(region, "its opening comment was edited")
            return
        what = "a line differs from the evidence"
        if not same_form:
            what = "edited since another form of the lab wrote it; a line differs from this form"
        self._differences(region, expected, lines, what)

    def _differences(
        self, region: Region, expected: list[str], found: list[str], what: str
    ) -> None:
        """Add one problem for each line that differs."""
        first = self._line(region) + 1
        for offset, wanted, there in _unlike(expected, found):
            told = what
            if wanted is None:
                told = "a line is there that the evidence does not give"
            elif there is None:
                told = "a line is missing"
            problem = Problem(
                entry=self._entry.number,
                region=region.attributes["region"],
                line=first + offset,
                what=told,
                expected=wanted or "",
                found=there or "",
            )
            self._found.problems.append(problem)

    def _older(self, region: Region) -> None:
        what = "as another form of the lab wrote it, which this one cannot make again"
        name = region.attributes["region"]
        self._found.notes.append(_problem(self._entry, name, self._line(region), what))

    def _wrong(self, region: Region, what: str) -> None:
        name = region.attributes.get("region", "?")
        self._found.problems.append(_problem(self._entry, name, self._line(region), what))

    def _line(self, region: Region) -> int:
        return self._entry.line + region.line - 1


def _strays(
    number: int | None, line: int, regions: Sequence[Region], found: _Findings
) -> Iterator[Problem]:
    """Yield the regions where there is no entry of the lab that they could belong to."""
    for region in regions:
        found.regions += 1
        yield Problem(
            entry=number,
            region=region.attributes.get("region", "?"),
            line=line + region.line - 1,
            what="this region stands in no entry of the lab; its comments vouch for nothing",
        )


def _without_entry(
    workspace: Workspace, seen: set[int], open_session: int | None
) -> Iterator[Problem]:
    """Yield the sessions that have evidence and no entry."""
    for number in evidence.numbers_with_runs(workspace):
        if number not in seen and number != open_session:
            folder = evidence.session_folder(workspace, number).relative_to(workspace.root)
            yield Problem(
                entry=number,
                region="",
                line=0,
                what=f"its entry is missing from the log, though {folder.as_posix()} holds runs",
            )


def _unlike(expected: list[str], found: list[str]) -> Iterator[tuple[int, str | None, str | None]]:
    """Yield each line that differs: its index in ``found``, the line expected, the line there."""
    matcher = difflib.SequenceMatcher(None, expected, found, autojunk=False)
    for tag, low, high, begin, end in matcher.get_opcodes():
        if tag == "equal":
            continue
        for offset in range(max(high - low, end - begin)):
            wanted = expected[low + offset] if low + offset < high else None
            there = found[begin + offset] if begin + offset < end else None
            yield begin + min(offset, end - begin), wanted, there


def _numbers(lines: Sequence[str]) -> Counter[str]:
    return Counter(number for line in lines for number in _NUMBER.findall(line))


def _key(region: Region) -> tuple[str, str]:
    return region.attributes.get("region", ""), region.attributes.get("run", "")


def _problem(entry: LogEntry, region: str, line: int, what: str) -> Problem:
    return Problem(entry=entry.number, region=region, line=line, what=what)


def _decoded(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")
