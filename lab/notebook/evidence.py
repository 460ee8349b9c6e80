"""The evidence store: one folder a session, one immutable file a run, known by its hash."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from lab.core.errors import PreconditionError
from lab.core.files import create_exclusively, explain, sha256
from lab.core.workspace import Workspace
from lab.measure.record import EVIDENCE_BYTES, SCHEMA_VERSION, Run

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class RunFile(msgspec.Struct, frozen=True):
    """A run's file: its path relative to the workspace, its hash, and the run's id."""

    path: str
    sha256: str
    run: str


class _Header(msgspec.Struct, frozen=True):
    schema_version: int


def session_folder(workspace: Workspace, number: int) -> Path:
    """Return the folder of session ``number``: three digits, more where they are needed."""
    return workspace.evidence / f"{number:03d}"


def in_use(workspace: Workspace, number: int) -> bool:
    """Say whether the folder of session ``number`` holds anything."""
    folder = session_folder(workspace, number)
    return folder.is_dir() and any(folder.iterdir())


def free_number(workspace: Workspace, least: int) -> int:
    """Return the first number from ``least`` on whose folder holds nothing."""
    number = least
    while in_use(workspace, number):
        number += 1
    return number


def write_run(workspace: Workspace, run: Run) -> RunFile:
    """Write ``run`` into its session's folder and read it back; never over another file.

    Writing the very same run twice is writing it once.

    Raises
    ------
    PreconditionError
        No space (nothing is left behind), no permission, 1 MiB or more, another file of that name,
        or what was read back is not what was written.

    """
    if not _RUN_ID.fullmatch(run.id):
        raise ValueError(f"not fit for a file name: {run.id!r}")
    content = msgspec.json.encode(run) + b"\n"
    path = session_folder(workspace, run.session) / f"run-{run.id}.json"
    if len(content) >= EVIDENCE_BYTES:
        raise PreconditionError(
            f"The run is too large to be kept as evidence: {len(content):,} bytes.",
            code="evidence.too-large",
            why="jj leaves new files of more than 1 MiB out of a change, with only a warning.",
            remedy="Measure fewer statements or fewer samples in one run; a session may hold "
            "several runs.",
        )
    _write(path, content, "measure")
    return _file_of(workspace, path, content)


def write_attachment(workspace: Workspace, number: int, name: str, content: bytes) -> str:
    """Keep a file that is no run, such as a profile, in the folder of session ``number``.

    One of 1 MiB or more is compressed. Returns its path relative to the workspace.

    Raises
    ------
    PreconditionError
        No space, no permission, too large even so, or another file of that name.

    """
    if len(content) >= EVIDENCE_BYTES:
        name, content = f"{name}.gz", gzip.compress(content, mtime=0)
    if len(content) >= EVIDENCE_BYTES:
        raise PreconditionError(
            f"{name} is too large to be kept as evidence: {len(content):,} bytes.",
            code="evidence.too-large",
            why="jj leaves new files of more than 1 MiB out of a change, with only a warning.",
            remedy="Take a shorter profile.",
        )
    path = session_folder(workspace, number) / name
    _write(path, content, "profile")
    return path.relative_to(workspace.root).as_posix()


def read_run(path: Path) -> Run:
    """Read the run in the file ``path``.

    Raises
    ------
    PreconditionError
        There is no such file, it is corrupt, or a newer lab wrote it.

    """
    return _decode(path, _read(path))


def read_file(workspace: Workspace, file: RunFile) -> Run:
    """Read the run that ``file`` names, if the file still has its hash.

    Raises
    ------
    PreconditionError
        As `read_run`, or the file was changed.

    """
    path = workspace.root / file.path
    content = _read(path)
    if sha256(content) != file.sha256:
        raise PreconditionError(
            f"{path} was changed after it was written.",
            code="evidence.changed",
            why=f"Its hash should be {file.sha256} and is {sha256(content)}.",
            remedy="Restore it from the repository's history; evidence is never edited.",
        )
    return _decode(path, content)


def find_run(workspace: Workspace, run: str) -> RunFile | None:
    """Return the file of the run with the id ``run``, of whichever session, or None."""
    if not _RUN_ID.fullmatch(run):
        return None
    for number in _numbers(workspace):
        path = session_folder(workspace, number) / f"run-{run}.json"
        if path.is_file():
            return _file_of(workspace, path, _read(path))
    return None


def runs_of(workspace: Workspace, number: int) -> list[RunFile]:
    """Return the run files of session ``number`` by name."""
    paths = _run_paths(workspace, number)
    return [_file_of(workspace, path, _read(path)) for path in paths]


def numbers_with_runs(workspace: Workspace) -> list[int]:
    """Return the numbers of the sessions that have a run's file, in ascending order."""
    return [number for number in reversed(_numbers(workspace)) if _run_paths(workspace, number)]


def files_of(workspace: Workspace, number: int) -> list[Path]:
    """Return all evidence files of session ``number``."""
    folder = session_folder(workspace, number)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def earlier_runs(workspace: Workspace, before_session: int) -> Iterator[tuple[RunFile, Run]]:
    """Yield the runs of the sessions before ``before_session``, newest first.

    Files are read only as far as the caller goes on. One that cannot be read is passed over, since
    it must not block the sessions after it; `lab.notebook.verify` names it.
    """
    for number in _numbers(workspace):
        if number >= before_session:
            continue
        found = []
        for path in session_folder(workspace, number).glob("run-*.json"):
            try:
                content = _read(path)
                found.append((_file_of(workspace, path, content), _decode(path, content)))
            except PreconditionError:
                continue
        yield from sorted(found, key=lambda pair: (pair[1].created_at, pair[1].id), reverse=True)


def _numbers(workspace: Workspace) -> list[int]:
    """Return the numbers that have a folder, the greatest first."""
    try:
        names = [path.name for path in workspace.evidence.iterdir()]
    except FileNotFoundError:
        return []
    return sorted((int(name) for name in names if re.fullmatch(r"[0-9]{3,}", name)), reverse=True)


def _run_paths(workspace: Workspace, number: int) -> list[Path]:
    return sorted(session_folder(workspace, number).glob("run-*.json"))


def _file_of(workspace: Workspace, path: Path, content: bytes) -> RunFile:
    return RunFile(
        path=path.relative_to(workspace.root).as_posix(),
        sha256=sha256(content),
        run=path.stem.removeprefix("run-"),
    )


def _write(path: Path, content: bytes, anew: str) -> None:
    """Write a new file and read it back; ``anew`` is what to do again where that fails."""
    create_exclusively(path, content)
    if _read(path) != content:
        raise PreconditionError(
            f"{path} does not hold what was written.",
            code="evidence.differs",
            why="A file of that name was there before, or the disk returned other bytes.",
            remedy=f"Look at that file; move it aside if it is not wanted, and {anew} again.",
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise PreconditionError(
            f"The evidence file {path} is missing.",
            code="evidence.missing",
            why="An entry of the log, or another command, counts on it.",
            remedy="Restore it from the repository's history.",
        ) from error
    except OSError as error:
        raise explain(error, path, "reading") from error


def _decode(path: Path, content: bytes) -> Run:
    try:
        version = msgspec.json.decode(content, type=_Header).schema_version
        if version > SCHEMA_VERSION:
            raise PreconditionError(
                f"{path} has schema version {version}; this lab knows {SCHEMA_VERSION}.",
                code="evidence.newer-schema",
                why="A newer version of the lab wrote it.",
                remedy="Use a version of the lab that is at least as new.",
            )
        return msgspec.json.decode(content, type=Run)
    except msgspec.DecodeError as error:
        raise PreconditionError(
            f"{path} cannot be read as a run.",
            code="evidence.corrupt",
            why=str(error),
            remedy="Restore it from the repository's history.",
        ) from error
