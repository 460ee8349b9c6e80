"""The source is made, and taken away so that nothing is left, on two real servers."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest
from upstream_places import COLUMNS, QUIET, Place, place

from lab.core.errors import LabError, PreconditionError, StateMismatchError
from lab.core.results import Check, Outcome, Status
from lab.provision import sourcing
from lab.provision.baseline import Baselines
from lab.targets.parts import Sourcing

TABLES = 40


@pytest.fixture(scope="module")
def shared() -> Iterator[Place]:
    with place() as made:
        made.environment.start(QUIET)
        made.upstream.start(QUIET)
        made.upstream.provision(TABLES, COLUMNS, QUIET)
        yield made


@pytest.fixture
def lab(shared: Place) -> Place:
    """Both servers running, and nothing made from the upstream."""
    shared.upstream.start(QUIET)
    shared.upstream.provision(TABLES, COLUMNS, QUIET)
    outcome = clean(shared)
    assert outcome.exit_code == 0, outcome.text
    return shared


def connect(lab: Place, *, check: bool = False) -> Outcome:
    return sourcing.connect(
        lab.environment, lab.upstream, "quickstart", check=check, progress=QUIET
    )


def clean(lab: Place, *, keep_source: bool = False, check: bool = False) -> Outcome:
    return sourcing.clean(
        lab.environment,
        lab.upstream,
        "quickstart",
        keep_source=keep_source,
        check=check,
        progress=QUIET,
    )


def source(lab: Place) -> Sourcing:
    return lab.environment.sourcing(lab.upstream.link(), "quickstart")


def make(lab: Place, *numbers: int) -> None:
    made = source(lab)
    with contextlib.closing(lab.environment.connect("test")) as connection:
        for number in numbers:
            connection.execute(made.create(number).encode())


def made(lab: Place) -> frozenset[int]:
    with contextlib.closing(lab.environment.connect("test")) as connection:
        return source(lab).made(connection)


def objects(lab: Place) -> int:
    with contextlib.closing(lab.environment.connect("test")) as connection:
        return lab.environment.count_objects(connection).upstream


def checks(outcome: Outcome) -> dict[str, Check]:
    return {check.name: check for check in outcome.data["checks"]}


def test_connecting_is_foreseen_done_once_and_cleaned(lab: Place) -> None:
    assert connect(lab, check=True).status is Status.WOULD_CHANGE
    assert objects(lab) == 0
    done = connect(lab)
    assert (done.status, done.data["tables"]) == (Status.CHANGED, TABLES)
    assert connect(lab, check=True).status is Status.OK
    assert connect(lab).status is Status.OK

    make(lab, 1, 2, 3)
    foreseen = clean(lab, check=True)
    assert "- 3 tables made from the upstream" in foreseen.steps[0].diff
    assert made(lab) == {1, 2, 3}
    cleaned = clean(lab)
    assert (cleaned.status, cleaned.exit_code) == (Status.CHANGED, 0)
    assert objects(lab) == 0
    again = clean(lab)
    assert (again.status, again.exit_code) == (Status.OK, 0)
    assert clean(lab, check=True).status is Status.OK


def test_the_source_may_be_kept(lab: Place) -> None:
    connect(lab)
    with_source = objects(lab)
    make(lab, 5, 6)
    kept = clean(lab, keep_source=True)
    assert (kept.status, kept.exit_code) == (Status.CHANGED, 0)
    assert objects(lab) == with_source > 0
    assert made(lab) == frozenset()
    assert connect(lab).status is Status.OK


def test_objects_that_somebody_made_meanwhile_are_named(lab: Place) -> None:
    connect(lab)
    with contextlib.closing(lab.environment.connect("test")) as connection:
        connection.execute("CREATE TABLE public.other (a int)")
        try:
            failed = clean(lab)
            assert failed.exit_code == StateMismatchError.exit_code
            assert [check.name for check in failed.data["checks"] if not check.passed] == [
                "user objects"
            ]
            assert "1 table" in checks(failed)["user objects"].found
        finally:
            connection.execute("DROP TABLE public.other")
    assert clean(lab).exit_code == 0


def test_an_orphaned_slot_is_dropped_and_named(lab: Place) -> None:
    connect(lab)
    lab.ask("SELECT pg_create_logical_replication_slot('orphan', 'pgoutput')")
    cleaned = clean(lab)
    assert cleaned.exit_code == 0
    (slots,) = (step for step in cleaned.steps if step.name == "slots")
    assert "orphan (database upstream)" in slots.why
    assert lab.upstream.slots() == ()


def test_a_slot_from_before_is_kept_for_another_environment(lab: Place) -> None:
    lab.ask("SELECT pg_create_logical_replication_slot('theirs', 'pgoutput')")
    other = lab.upstream.records.folder / "baseline-materialize-other.json"
    connect(lab)
    other.write_bytes(next(lab.upstream.records.folder.glob("baseline-postgres-*")).read_bytes())
    try:
        assert clean(lab).exit_code == 0
        assert [slot.name for slot in lab.upstream.slots()] == ["theirs"]
    finally:
        other.unlink()
    assert clean(lab).exit_code == 0
    assert lab.upstream.slots() == ()


def test_a_session_that_ends_by_itself_is_waited_for(lab: Place) -> None:
    connect(lab)
    link = lab.upstream.link()
    session = psycopg.connect(
        host=link.host,
        port=link.port,
        dbname=link.database,
        user=link.role,
        password=link.password,
    )
    ending = threading.Timer(2.0, session.close)
    ending.start()
    started = time.monotonic()
    try:
        cleaned = clean(lab)
    finally:
        ending.join()
        session.close()
    assert cleaned.exit_code == 0
    assert time.monotonic() - started >= 1.5


def test_what_goes_on_reading_is_named(lab: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sourcing, "_SETTLE_S", 1.0)
    connect(lab)
    link = lab.upstream.link()
    with (
        contextlib.closing(lab.upstream.connect("test")) as reader,
        psycopg.connect(
            host=link.host,
            port=link.port,
            dbname=link.database,
            user=link.role,
            password=link.password,
        ),
    ):
        # Temporary: in use for as long as the session that made it lasts.
        reader.execute("SELECT pg_create_logical_replication_slot('read', 'pgoutput', true)")
        failed = clean(lab)
    assert failed.exit_code == StateMismatchError.exit_code
    unlike = {check.name: check for check in failed.data["checks"] if not check.passed}
    assert set(unlike) == {"replication slots", "sessions of ddl_lab_source"}
    assert "read (database upstream)" in unlike["replication slots"].found
    assert "in use" in unlike["replication slots"].found
    assert clean(lab).exit_code == 0


def test_what_an_interrupted_sweep_left_goes_too(lab: Place) -> None:
    connect(lab)
    lab.upstream.provision(4, COLUMNS, QUIET, database="upstream_4")
    copy = lab.environment.sourcing(
        lab.upstream.link(database="upstream_4", name="4"), "quickstart"
    )
    with contextlib.closing(lab.environment.connect("test")) as connection:
        copy.connect(connection, QUIET)
        connection.execute(copy.create(1).encode())
    foreseen = clean(lab, keep_source=True, check=True)
    assert "- database upstream_4" in str(foreseen.steps)
    kept = clean(lab, keep_source=True)
    assert kept.exit_code == 0, kept.text
    assert not lab.upstream.has_database("upstream_4")
    assert lab.upstream.swept() == ()
    assert objects(lab) > 0
    assert connect(lab).status is Status.OK


def test_with_the_upstream_down_the_source_goes_and_the_rest_is_not_known(lab: Place) -> None:
    connect(lab)
    make(lab, 9)
    lab.upstream.stop(QUIET)
    with pytest.raises(LabError) as down:
        connect(lab)
    assert down.value.code == "upstream.not-running"
    cleaned = clean(lab)
    assert cleaned.exit_code == StateMismatchError.exit_code
    # What the environment itself shows is proven all the same.
    passed = {name: check.passed for name, check in checks(cleaned).items()}
    assert passed == {
        "user objects": True,
        "objects that read the upstream": True,
        "upstream answers": False,
    }
    assert objects(lab) == 0
    lab.upstream.start(QUIET)
    assert clean(lab).exit_code == 0
    assert Baselines.of(lab.upstream).read(lab.environment) is None


def test_with_the_environment_down_what_the_upstream_shows_is_proven(lab: Place) -> None:
    connect(lab)
    make(lab, 9)
    lab.ask("SELECT pg_create_logical_replication_slot('left', 'pgoutput')")
    lab.environment.stop(QUIET)
    try:
        with pytest.raises(LabError) as down:
            connect(lab)
        assert "`env.start` starts it" in down.value.remedy
        with pytest.raises(LabError):
            clean(lab, check=True)
        cleaned = clean(lab)
        assert cleaned.failure is not None
        assert cleaned.failure.code == "environment.not-running"
        assert "`env.start`" in cleaned.failure.remedy
        assert cleaned.exit_code == PreconditionError.exit_code
        assert {step.status for step in cleaned.steps} == {Status.SKIPPED}
        passed = {name: check.passed for name, check in checks(cleaned).items()}
        assert passed == {
            "environment answers": False,
            "replication slots": False,
            "WAL senders": True,
            "sessions of ddl_lab_source": True,
        }
        # It may be that of the source, which is not known to be gone.
        assert "left" in checks(cleaned)["replication slots"].found
        assert [slot.name for slot in lab.upstream.slots()] == ["left"]
    finally:
        lab.environment.start(QUIET)
    assert made(lab) == {9}
    assert clean(lab).exit_code == 0
    assert lab.upstream.slots() == ()
