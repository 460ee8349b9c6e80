"""Making a region of the log again from the evidence that its opening comment names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lab.core.errors import PreconditionError
from lab.core.workspace import Workspace
from lab.measure.record import Run
from lab.notebook import evidence
from lab.notebook.contents import EVIDENCE
from lab.notebook.entry import MeasuredRun
from lab.notebook.evidence import RunFile
from lab.notebook.regions import shortened
from lab.notebook.render import REGIONS, evidence_body, form_of, region_body

_ORIGIN = ("run", "evidence", "earlier", "earlier-evidence")


class Remaker:
    """Makes the regions of one entry again.

    Keeps what was analysed, since the regions of a run follow one another. ``runs`` are the ids of
    the entry's runs, in its order; ``files`` are those of its session.
    """

    def __init__(
        self, workspace: Workspace, number: int, runs: Sequence[str], files: Sequence[RunFile]
    ) -> None:
        self._workspace = workspace
        self._number = number
        self._runs = runs
        self._files = {file.run: file for file in files}
        self._measured: dict[tuple[str, ...], MeasuredRun] = {}

    def knows(self, name: str) -> bool:
        """Say whether this lab has a region called ``name``."""
        return name in (*REGIONS, EVIDENCE)

    def form(self, name: str) -> str:
        """Return the form in which this lab writes the region ``name``."""
        return form_of(self._workspace, name)

    def body(self, attributes: Mapping[str, str]) -> list[str]:
        """Return the lines of the region with these ``attributes``, as this lab writes them.

        Raises
        ------
        PreconditionError
            Evidence is missing, was changed, or is another session's; a template is unusable.

        """
        name, run = attributes["region"], attributes["run"]
        if name == EVIDENCE:
            text = evidence_body(self._workspace, self._listed(attributes))
        else:
            before = [self._alone(each) for each in self._runs[: self._runs.index(run)]]
            runs = [*before, self._analysed(attributes)]
            text = region_body(self._workspace, name, runs, several=len(self._runs) > 1)
        return text.strip("\n").split("\n")

    def _listed(self, attributes: Mapping[str, str]) -> list[RunFile]:
        hashes = attributes.get("evidence", "").split(",")
        if len(hashes) != len(self._runs):
            raise PreconditionError(
                "The list does not name one hash for each run of the entry.",
                code="evidence.unnamed",
            )
        pairs = zip(self._runs, hashes, strict=True)
        return [self._own(run, digest)[0] for run, digest in pairs]

    def _alone(self, run: str) -> MeasuredRun:
        file = self._files.get(run)
        return self._analysed({"run": run, "evidence": shortened(file.sha256) if file else ""})

    def _analysed(self, attributes: Mapping[str, str]) -> MeasuredRun:
        """Return a run as it was analysed when the entry was written.

        What only some regions say of the earlier run makes no difference to the others.
        """
        from lab.measure.analysis import analyse

        key = tuple(attributes.get(name, "") for name in _ORIGIN)
        if key not in self._measured:
            file, run = self._own(key[0], key[1])
            earlier_file, earlier = self._earlier(key[2], key[3]) if key[2] else (None, None)
            before = (earlier.session, earlier) if earlier else None
            self._measured[key] = MeasuredRun(
                file=file, run=run, analysis=analyse(run, before), earlier=earlier_file
            )
        return self._measured[key]

    def _own(self, name: str, digest: str) -> tuple[RunFile, Run]:
        """Return the file of one of the entry's runs, and the run."""
        file, run = self._read(name, self._files.get(name), digest)
        if run.session != self._number:
            raise PreconditionError(
                f"{file.path} says that it is of session {run.session}.",
                code="evidence.foreign",
            )
        return file, run

    def _earlier(self, name: str, digest: str) -> tuple[RunFile, Run]:
        return self._read(name, evidence.find_run(self._workspace, name), digest)

    def _read(self, name: str, file: RunFile | None, digest: str) -> tuple[RunFile, Run]:
        if file is None:
            raise PreconditionError(
                f"The evidence of run {name} is missing.",
                code="evidence.missing",
                remedy="Restore it from the repository's history.",
            )
        if shortened(file.sha256) != digest:
            raise PreconditionError(
                f"{file.path} was changed after it was written.",
                code="evidence.changed",
                why=f"Its hash should be {digest} and is {shortened(file.sha256)}.",
                remedy="Restore it from the repository's history; evidence is never edited.",
            )
        return file, evidence.read_file(self._workspace, file)
