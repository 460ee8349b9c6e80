"""A session's batch benchmark as a picture in a file."""

from __future__ import annotations

from pathlib import Path

from lab.core.errors import PreconditionError
from lab.core.files import explained, write_atomically
from lab.core.results import Outcome, Status, Step
from lab.core.workspace import Workspace
from lab.measure.analysis import analyse
from lab.notebook.figure import batch_run_of, draw, figure_title, require_format


def save_figure(
    workspace: Workspace, number: int, path: Path, *, force: bool, check: bool
) -> Outcome:
    """Draw the last batch benchmark of session ``number`` into ``path``.

    Raises
    ------
    UsageError
        The suffix names no format that can be drawn, or the session holds no batch benchmark.
    PreconditionError
        The extra ``report`` is not installed, evidence cannot be read, or the file is there with
        another content and ``force`` was not given, or cannot be written.

    """
    wanted = require_format(path.suffix)
    _require_place(path)
    run = batch_run_of(workspace, number)
    analysis = analyse(run, None)
    assert analysis.batch is not None, "a batch benchmark is analysed as one"
    content = draw(analysis.batch, figure_title(run), wanted, analysis.shapes_only)
    data = {"session": number, "run": run.id, "file": str(path), "bytes": len(content)}
    step = _written(path, content, force=force, check=check)
    return Outcome(status=step.status, steps=(step,), data=data)


def _require_place(path: Path) -> None:
    if path.is_dir() or not path.parent.is_dir():
        raise PreconditionError(
            f"{path} cannot be written.",
            code="figure.no-file",
            why="It is a folder." if path.is_dir() else f"There is no folder {path.parent}.",
            remedy="Give the name of a file in a folder that is there.",
        )


def _written(path: Path, content: bytes, *, force: bool, check: bool) -> Step:
    with explained(path, "reading"):
        there = path.read_bytes() if path.exists() else None
    if there == content:
        return Step(name="figure", status=Status.OK, why=f"{path} shows that already")
    if there is not None and not force:
        raise PreconditionError(
            f"{path} is there already.",
            code="figure.exists",
            why="It holds something else, which would be lost.",
            remedy="Give another name, or --force.",
        )
    size = f"{path}, {len(content):,} bytes"
    if check:
        return Step(name="figure", status=Status.WOULD_CHANGE, why=f"would write {size}")
    write_atomically(path, content)
    return Step(name="figure", status=Status.CHANGED, why=f"wrote {size}")
