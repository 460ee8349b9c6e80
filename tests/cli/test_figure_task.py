"""`log.figure` as a user meets it: a picture in a file, and what stands in its way."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab_driver import Driver

from lab.core.errors import PreconditionError
from lab.core.results import Status
from lab.core.workspace import Workspace
from lab.measure.batch_record import Batch, BatchPlan, BatchRecord, Probe
from lab.measure.host_noise import HostNoise
from lab.measure.record import SCHEMA_VERSION, Passport, Plan, Run
from lab.notebook import evidence
from lab.session.drawing import save_figure

STATEMENT = "import-foreign-table"


def batch_run(session: int) -> Run:
    """Return a batch benchmark of a few transactions, each statement a little dearer."""
    sizes = (1, 10, 40)
    batches = tuple(
        Batch(
            index=index,
            repetition=1 + index % 3,
            size=size,
            first=1,
            published=200,
            boot="b",
            started_at="2026-03-10T10:15:00+00:00",
            objects=100,
            begin_ns=50_000,
            statements_ns=tuple(2_000_000 + 50_000 * at + 1000 * index for at in range(size)),
            commit_ns=900_000,
            noise=HostNoise(load_1min=0.1, steal=0.0, pressure={}),
        )
        for index, size in enumerate(sizes * 3)
    )
    return Run(
        schema_version=SCHEMA_VERSION,
        id="20260310T101500-0a",
        session=session,
        created_at="2026-03-10T10:15:00+00:00",
        lab_version="0.1.0",
        target="postgres",
        passport=Passport(alike={"objects.table": "100"}, noted={}),
        plan=Plan(
            statements=(STATEMENT,), samples=3, most_samples=3, warmups=0, precision=0.0, seed=1
        ),
        blocks=(),
        batch=BatchRecord(
            plan=BatchPlan(statement=STATEMENT, sizes=sizes, repetitions=3, seed=1),
            product="postgres_fdw: IMPORT FOREIGN SCHEMA … LIMIT TO",
            batches=batches,
            probe=Probe(connect_ns=(1_000_000,), round_trip_ns=(40_000,)),
        ),
    )


@pytest.fixture
def measured(driver: Driver) -> Driver:
    evidence.write_run(Workspace(driver.workspace), batch_run(1))
    return driver


def test_a_figure_is_written(measured: Driver) -> None:
    done = measured.json("log.figure", "1", "--out", "batches.svg")
    assert done.envelope["status"] == "changed"
    figure = (measured.directory / "batches.svg").read_text()
    assert figure.startswith("<svg")
    assert "Session 1: Batches of import-foreign-table on postgres at 100 objects" in figure


def test_it_is_written_once_and_never_over_another_file(tmp_path: Path) -> None:
    workspace, figure = Workspace(tmp_path), tmp_path / "batches.svg"
    evidence.write_run(workspace, batch_run(1))

    def save(*, force: bool = False, check: bool = False) -> Status:
        return save_figure(workspace, 1, figure, force=force, check=check).status

    assert save(check=True) is Status.WOULD_CHANGE
    assert not figure.exists()
    assert save() is Status.CHANGED
    drawn = figure.read_bytes()
    assert save() is Status.OK
    figure.write_text("mine")
    with pytest.raises(PreconditionError) as caught:
        save()
    assert caught.value.code == "figure.exists"
    assert figure.read_text() == "mine"
    assert save(force=True) is Status.CHANGED
    assert figure.read_bytes() == drawn


@pytest.mark.parametrize(
    ("words", "exit_code", "code"),
    [
        (("1",), 2, "usage.missing"),
        (("1", "--out", "a.pdf"), 2, "figure.format"),
        (("7", "--out", "a.svg"), 2, "figure.no-batch"),
        (("x", "--out", "a.svg"), 2, "usage.number"),
        (("1", "--out", "nowhere/a.svg"), 3, "figure.no-file"),
    ],
)
def test_what_stands_in_the_way_is_named(
    measured: Driver, words: tuple[str, ...], exit_code: int, code: str
) -> None:
    refused = measured.json("log.figure", *words)
    assert (refused.code, refused.error["code"]) == (exit_code, code)
    assert not list(Path(measured.directory).glob("*.svg"))


def test_the_extra_that_is_missing_is_named_with_its_command(measured: Driver) -> None:
    hidden = measured.directory / "hidden"
    hidden.mkdir()
    (hidden / "vl_convert.py").write_text("raise ImportError('No module named vl_convert')\n")
    refused = measured.json("log.figure", "1", "--out", "a.png", PYTHONPATH=str(hidden))
    assert (refused.code, refused.error["code"]) == (3, "figure.missing-extra")
    assert "pip install 'ddl-lab[report]'" in refused.error["next"]
