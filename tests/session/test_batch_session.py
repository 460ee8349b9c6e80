"""Batches within sessions: measured, logged, compared, and refused, on a real upstream."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from batch_lab import SMALL, tables_made, target_of, upstream_lab, upstream_of
from lab_driver import KILLED, Driver

from lab.upstream.base import ROLE


@pytest.fixture(scope="module")
def lab() -> Iterator[Driver]:
    """A workspace whose upstream publishes twelve tables; `SMALL` needs eight."""
    with upstream_lab(12) as made:
        yield made


@pytest.fixture(autouse=True)
def no_session_is_left(lab: Driver) -> Iterator[None]:
    yield
    if (lab.workspace / ".lab/sessions/current.json").exists():
        lab.run("session.abort")


def log_of(lab: Driver) -> str:
    path = lab.workspace / "ddl-perf-log.md"
    return path.read_text() if path.exists() else ""


def kept_aside(lab: Driver) -> list[str]:
    return sorted(path.name for path in (lab.workspace / ".lab/batches").glob("*"))


def steps_of(envelope: dict[str, object]) -> dict[str, dict[str, str]]:
    steps = envelope["steps"]
    assert isinstance(steps, list)
    return {step["name"]: step for step in steps}


def test_what_check_foresees(lab: Driver) -> None:
    foreseen = lab.ok("session.measure", *SMALL, "--check", "--json")
    assert foreseen.data["transactions"] == 4
    assert foreseen.data["tables_needed"] == foreseen.data["least_statements"] == 8
    assert foreseen.data["tables_published"] == 12
    steps = steps_of(foreseen.envelope)
    assert list(steps) == ["environment", "upstream", "source", "measure", "log", "vcs"]
    assert steps["measure"]["why"].startswith("4 transactions of 1 and 3 import-foreign-table")
    assert lab.json("session.status").data == {"session": None}
    # Nothing was started to find that out.
    assert lab.json("env.status").data["situation"]["phase"] == "absent"


def test_a_whole_step_is_logged_compared_and_verified(lab: Driver) -> None:
    first = lab.ok("session.measure", *SMALL, "--goal", "Batches", "--json").data
    (run,) = first["runs"]
    assert [(each["size"], each["failed"]) for each in run["batch"]["sizes"]] == [(1, 0), (3, 0)]
    assert run["cells"] == []
    again = lab.ok("session.measure", *SMALL, "--json")
    assert steps_of(again.envelope)["source"]["status"] == "ok"
    comparison = again.data["runs"][0]["comparison"]
    assert (comparison["session"], comparison["differences"]) == (first["session"], [])
    assert comparison["cells"]
    assert lab.ok("log.verify").code == 0
    assert tables_made(lab) == 0
    assert "import-foreign-table" in log_of(lab)


def test_an_upstream_that_was_stopped_is_foreseen_to_be_started(lab: Driver) -> None:
    lab.ok("upstream.down")
    foreseen = steps_of(lab.ok("session.measure", *SMALL, "--check", "--json").envelope)
    assert (foreseen["upstream"]["status"], foreseen["source"]["status"]) == 2 * ("would change",)
    assert lab.json("upstream.status").data["found"]["condition"] == "stopped"


def test_outside_of_a_session_nothing_is_logged(lab: Driver) -> None:
    if not log_of(lab):
        lab.ok("session.measure", *SMALL)
    lab.ok("upstream.down")
    before, kept = log_of(lab), kept_aside(lab)

    foreseen = lab.ok("measure.batch", *SMALL[2:], "--check", "--json")
    assert list(steps_of(foreseen.envelope))[-1] == "measure"
    assert kept_aside(lab) == kept

    first = lab.ok("measure.batch", *SMALL[2:], "--keep", "--json")
    upstream = steps_of(first.envelope)["upstream"]
    assert upstream["status"] == "changed"
    assert "started" in upstream["why"]
    assert first.data["session"] is None
    (name,) = set(kept_aside(lab)) - set(kept)
    assert first.data["file"] == f".lab/batches/{name}"
    # Compared with what was logged last, and the next one with this one.
    assert first.data["runs"][0]["comparison"]["session"] == log_of(lab).count("\n### Session ")
    assert tables_made(lab) == 8

    second = lab.ok("measure.batch", *SMALL[2:])
    assert f"which this one is compared with, is .lab/batches/{name}" in second.out
    assert "nothing was logged" in second.out
    assert "session.measure --plan batch" in second.out
    assert "`ddl-lab upstream.clean` before latency is measured" in second.out
    assert log_of(lab) == before
    assert lab.json("session.status").data == {"session": None}
    # What was kept was in nobody's way, and is gone.
    assert "failed" not in second.out
    assert tables_made(lab) == 0
    assert lab.ok("upstream.clean").code == 0


def test_inside_a_session_it_adds_a_run(lab: Driver) -> None:
    lab.ok("session.start", "--goal", "By hand")
    kept = kept_aside(lab)
    one = lab.ok("measure.batch", *SMALL[2:], "--json").data
    two = lab.ok("session.measure", *SMALL, "--json").data
    assert (len(one["runs"]), len(two["runs"])) == (1, 2)
    assert two["runs"][1]["comparison"]["session"] == two["session"]
    lab.ok("session.finish")
    assert lab.ok("log.verify").code == 0
    assert kept_aside(lab) == kept


def test_too_few_tables_are_refused_before_a_session_is_opened(lab: Driver) -> None:
    wide = ("--sizes", "1,3", "--repetitions", "4")
    before = log_of(lab)
    lab.ok("upstream.down")
    for words in (["session.measure", "--plan", "batch"], ["measure.batch"]):
        for check in ([], ["--check"]):
            refused = lab.json(*words, *wide, *check)
            assert (refused.code, refused.error["code"]) == (4, "batch.too-few-tables")
            assert "needs 16" in refused.error["what"]
            assert "12" in refused.error["what"]
            assert "upstream.up --tables 16" in refused.error["next"]
    # Not even the upstream was started for that.
    assert lab.json("upstream.status").data["found"]["condition"] == "stopped"
    assert not list((lab.workspace / ".lab/sessions").glob("current.json"))
    assert log_of(lab) == before


def test_grow_adds_what_is_missing(lab: Driver) -> None:
    wide = ("measure.batch", "--sizes", "1,3", "--repetitions", "4", "--grow")
    lab.ok("upstream.up")
    foreseen = steps_of(lab.ok(*wide, "--check", "--json").envelope)
    assert foreseen["upstream"]["diff"] == ["+ 4 tables"]
    assert len(upstream_of(lab).published()) == 12
    done = steps_of(lab.ok(*wide, "--json").envelope)
    assert done["upstream"]["status"] == "changed"
    assert "4 tables added" in done["upstream"]["why"]
    assert len(upstream_of(lab).published()) == 16
    again = steps_of(lab.ok(*wide, "--check", "--json").envelope)
    assert (again["upstream"]["status"], again["upstream"]["diff"]) == ("ok", [])


def test_a_wrong_password_is_named_and_nothing_is_opened(lab: Driver) -> None:
    before = log_of(lab)
    lab.ok("upstream.up")
    with upstream_of(lab).connect("test") as connection:
        connection.execute(f"ALTER ROLE {ROLE} PASSWORD 'another'".encode())
    refused = lab.json("session.measure", *SMALL)
    assert (refused.code, refused.error["code"]) == (4, "upstream.unfit")
    assert "password authentication failed" in refused.error["why"]
    assert "upstream.up" in refused.error["next"]
    assert lab.json("session.status").data == {"session": None}
    assert log_of(lab) == before

    lab.ok("upstream.up")
    lab.ok("upstream.verify")


def refusing(lab: Driver, pattern: str) -> str:
    """Let the database refuse statements that are like ``pattern``; return how to undo that."""
    with target_of(lab) as connection:
        connection.execute(
            "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF current_query() LIKE '{pattern}' THEN RAISE 'refused by a test'; END IF;"
            " END $$".encode()
        )
        connection.execute(
            "CREATE EVENT TRIGGER refuse ON ddl_command_start EXECUTE FUNCTION refuse()"
        )
    return "DROP EVENT TRIGGER refuse; DROP FUNCTION refuse"


def test_a_repetition_that_fails_is_shown_and_voids_no_run(lab: Driver) -> None:
    lab.ok("upstream.up")
    lab.ok("env.start")
    undo = refusing(lab, "IMPORT%(bench_table_2)%")
    try:
        done = lab.ok("session.measure", *SMALL, "--json")
    finally:
        with target_of(lab) as connection:
            connection.execute(undo.encode())
    (run,) = done.data["runs"]
    assert run["void"] == ""
    (failure,) = run["batch"]["failures"]
    assert "refused by a test" in failure["error"]
    (warning,) = done.envelope["warnings"]
    assert warning.startswith("1 of 4 transactions failed and counts for nothing")
    assert "3 of 4 transactions count" in steps_of(done.envelope)["measure"]["why"]
    assert "refused by a test" in log_of(lab)
    assert lab.ok("log.verify").code == 0


def test_a_run_of_which_nothing_counts_is_void(lab: Driver) -> None:
    lab.ok("upstream.up")
    lab.ok("env.start")
    before = log_of(lab)
    undo = refusing(lab, "IMPORT%(bench_table_%")
    try:
        whole = lab.json("session.measure", *SMALL)
        lab.ok("session.abort")
        apart = lab.json("measure.batch", *SMALL[2:])
    finally:
        with target_of(lab) as connection:
            connection.execute(undo.encode())
    for void in (whole, apart):
        assert (void.code, void.error["code"]) == (6, "run.void")
        assert "refused by a test" in void.error["what"]
    assert (lab.workspace / apart.data["file"]).exists()
    assert log_of(lab) == before


def test_what_was_interrupted_by_hand_is_not_measured_in_place_of_what_is_asked(
    lab: Driver,
) -> None:
    quick = ("--statements", "create-table", "--samples", "6", "--budget", "0")
    lab.ok("session.start", "--goal", "Interrupted")
    killed = lab.run("session.measure", *SMALL, LAB_KILL_AT="session.run-1:before")
    assert killed.code == KILLED
    (run,) = lab.ok("session.measure", *quick, "--json").data["runs"]
    assert run["batch"] is None
    assert run["cells"]

    killed = lab.run("session.measure", *quick, LAB_KILL_AT="session.run-2:after")
    assert killed.code == KILLED
    # What was written before the command was killed is counted in.
    runs = lab.ok("measure.batch", *SMALL[2:], "--json").data["runs"]
    assert [each["batch"] is None for each in runs] == [True, True, False]
    lab.ok("session.finish")
    assert lab.ok("log.verify").code == 0


def test_a_whole_step_that_was_interrupted_is_not_taken_over(lab: Driver) -> None:
    killed = lab.run("session.measure", *SMALL, LAB_KILL_AT="session.run-1:after")
    assert killed.code == KILLED
    refused = lab.json("measure.batch", *SMALL[2:])
    assert (refused.code, refused.error["code"]) == (4, "session.unfinished")
    assert "session.measure" in refused.error["next"]
    other = lab.json("session.measure", "--plan", "latency")
    assert (other.code, other.error["code"]) == (4, "session.open")
    before = log_of(lab).count("\n### Session ")
    lab.ok("session.measure", *SMALL, "--grow")
    assert log_of(lab).count("\n### Session ") == before + 1
