"""A session by hand: start, note, measure twice, finish; or give it up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab_driver import Driver, make_driver, remove_driver

QUICK = ("--samples", "6", "--statements")


@pytest.fixture(scope="module", params=["jj", "git"])
def lab(request: pytest.FixtureRequest) -> Iterator[Driver]:
    made = make_driver()
    made.variables.update(LAB_SESSION_VCS=request.param, LAB_MEASURE_MOST_SAMPLES="6")
    yield made
    remove_driver(made)


def recorded(lab: Driver) -> list[str]:
    """Return the first lines of what is recorded, newest first."""
    if lab.variables["LAB_SESSION_VCS"] == "git":
        return lab.call("git", "log", "--format=%s").splitlines()
    template = 'description.first_line() ++ "\n"'
    return lab.call("jj", "log", "--no-graph", "-r", "::@ ~ root()", "-T", template).splitlines()


def untouched(lab: Driver) -> tuple[bytes, list[str], str]:
    if lab.variables["LAB_SESSION_VCS"] == "git":
        changed = lab.call("git", "status", "--porcelain")
    else:
        changed = lab.call("jj", "diff", "--summary")
    return (lab.workspace / "ddl-perf-log.md").read_bytes(), recorded(lab), changed


def test_a_whole_session(lab: Driver) -> None:
    started = lab.ok("session.start", "--goal", "Does an index help?", "--json")
    assert started.envelope["status"] == "changed"
    again = lab.ok("session.start", "--goal", "Does an index help?", "--json")
    assert again.envelope["status"] == "ok"
    assert again.data["session"] == 1
    other = lab.json("session.start", "--goal", "Something else")
    assert (other.code, other.error["code"]) == (4, "session.open")
    assert "Does an index help?" in other.error["what"]
    empty = lab.json("session.finish")
    assert (empty.code, empty.error["code"]) == (2, "session.empty")

    (lab.directory / "note.md").write_text("From a file,\nin two lines.\n")
    lab.ok("session.note", "--text", "From a flag.", "--finding", "It is in *pg_depend* | more.")
    lab.ok("session.note", "--file", "note.md", "--next", "Try an index.")
    lab.ok("session.note", "--file", "-", stdin="From standard input: é.\n")
    lab.ok("session.measure", *QUICK, "create-table")
    lab.ok("session.measure", *QUICK, "create-view")
    status = lab.json("session.status").data["session"]
    assert (status["number"], len(status["runs"]), status["notes"]) == (1, 2, 5)
    finished = lab.ok("session.finish", "--message", "Cache the snapshot", "--json")

    assert finished.data["session"] == 1
    entry = lab.ok("log.show", "1").out
    assert entry.startswith("### Session 1: Does an index help? (")
    for text in (
        "From a flag.",
        "It is in *pg_depend* | more.",
        "From a file,",
        "in two lines.",
        "From standard input: é.",
        "Try an index.",
        "`create-table`",
        "`create-view`",
        *(each["sha256"] for each in finished.data["evidence"]),
    ):
        assert text in entry
    assert len(finished.data["evidence"]) == 2
    assert "Cache the snapshot" in recorded(lab)
    steps = [item["text"] for item in lab.json("prompt.list").data["items"]]
    assert steps == ["Try an index."]
    assert lab.json("log.verify").code == 0
    assert lab.json("session.status").data == {"session": None}


@pytest.mark.parametrize(
    ("words", "stdin"),
    [
        (["--file", "missing.md"], b""),
        (["--file", "-"], b" \n"),
        (["--file", "-"], b"caf\xe9"),
        (["--text", "kept?", "--finding", " "], b""),
        ([], b""),
    ],
)
def test_a_note_that_is_none_is_refused_whole(lab: Driver, words: list[str], stdin: bytes) -> None:
    lab.ok("session.start", "--goal", "Only good notes")
    before = lab.json("session.status").data["session"]["notes"]

    refused = lab.json("session.note", *words, stdin=stdin.decode("utf-8", "surrogateescape"))

    assert refused.code == 2
    assert refused.error["code"] in ("session.unreadable-note", "session.empty-note")
    assert refused.error["next"]
    assert lab.json("session.status").data["session"]["notes"] == before


def test_giving_a_session_up_leaves_log_and_change_as_they_were(lab: Driver) -> None:
    lab.run("session.abort")
    before = untouched(lab)
    lab.ok("session.start", "--goal", "A dead end")
    number = lab.json("session.status").data["session"]["number"]
    lab.ok("session.note", "--text", "Of no use.")
    lab.ok("session.measure", *QUICK, "create-table")

    given_up = lab.ok("session.abort", "--json")

    assert untouched(lab) == before
    kept = given_up.data["kept"]
    assert kept in given_up.out
    assert list((lab.workspace / ".lab").rglob("evidence/run-*.json"))
    assert lab.json("session.status").data == {"session": None}
    assert lab.json("session.abort").code == 4
    taken_again = lab.json("session.measure", *QUICK, "create-table")
    assert taken_again.code == 0
    assert taken_again.data["session"] == number


def test_a_reset_is_told_in_the_entry_of_the_next_session(lab: Driver) -> None:
    lab.ok("env.reset", "--because", "the catalog was bloated", "--yes", "main")
    refused = lab.json("session.measure", *QUICK, "create-table", "--objects", "9")
    assert refused.code == 4

    done = lab.ok("session.measure", *QUICK, "create-table", "--json")

    assert "the catalog was bloated" in lab.ok("log.show", str(done.data["session"])).out
