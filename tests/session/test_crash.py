"""SIGKILL between any two journaled steps: the next command ends in exactly one of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest
from lab_driver import KILLED, Driver, make_driver, remove_driver

from lab.session.finishing import STEPS

QUICK = ("--samples", "6", "--statements", "create-table")
HAND_POINTS = ("session.number:before", "session.run-1:after", "session.append:after")
POINTS = [f"session.{step}:{when}" for step in STEPS for when in ("before", "after")]


@pytest.fixture(scope="module", params=["jj", "git"])
def lab(request: pytest.FixtureRequest) -> Iterator[Driver]:
    made = make_driver()
    made.variables["LAB_SESSION_VCS"] = request.param
    made.variables["LAB_SESSION_SEPARATE_LOG"] = "true"
    made.variables["LAB_MEASURE_MOST_SAMPLES"] = "6"
    yield made
    remove_driver(made)


def headings(lab: Driver) -> int:
    log = lab.workspace / "ddl-perf-log.md"
    return log.read_text().count("\n### Session ") if log.exists() else 0


def changes(lab: Driver) -> list[dict[str, object]]:
    """All changes, newest first, as description, emptiness and files."""
    if lab.variables["LAB_SESSION_VCS"] == "git":
        if not (lab.workspace / ".git").exists():
            return []
        shas = lab.call("git", "log", "--format=%H").split() if headings(lab) else []
        return [
            {"description": lab.call("git", "log", "-1", "--format=%B", sha), "empty": False}
            for sha in shas
        ]
    if not (lab.workspace / ".jj").exists():
        return []
    template = (
        '"{\\"description\\": " ++ description.escape_json()'
        ' ++ ", \\"empty\\": " ++ empty ++ "}\\n"'
    )
    out = lab.call("jj", "log", "--no-graph", "-r", "all() ~ root()", "-T", template)
    return [json.loads(line) for line in out.splitlines()]


def count_of(changes: list[dict[str, object]], session: str, role: str | None) -> int:
    def fits(text: str) -> bool:
        return f"Lab-Session: {session}" in text and (
            f"Lab-Role: {role}" in text if role else "Lab-Role:" not in text
        )

    return sum(fits(str(each["description"])) for each in changes)


@pytest.mark.parametrize("point", POINTS)
def test_killed_at(lab: Driver, point: str) -> None:
    before = headings(lab)

    killed = lab.run("session.measure", *QUICK, LAB_KILL_AT=point)
    assert killed.code == KILLED, f"the point was not reached\n{killed.out}\n{killed.err}"
    evidence = hashes(lab)
    again = lab.json("session.measure", *QUICK)

    assert again.code == 0, again.err + again.out
    assert_recorded_once(lab, before, again.data["id"])
    assert {name: hashes(lab)[name] for name in evidence} == evidence


@pytest.mark.parametrize("point", HAND_POINTS)
def test_a_session_by_hand_killed_at(lab: Driver, point: str) -> None:
    before = headings(lab)
    commands = (
        ("session.start", "--goal", f"By hand, {point}"),
        ("session.measure", *QUICK),
        ("session.note", "--finding", "Something."),
        ("session.finish", "--message", "By hand"),
    )
    killed = 0
    for words in commands:
        if words[0] == "session.note":
            lab.ok(*words)
            continue
        result = lab.run(*words, LAB_KILL_AT=point)
        if result.code == KILLED:
            killed += 1
            lab.ok(*words)
        else:
            assert result.code == 0, result.err
    assert killed == 1, "the point was not reached, or twice"
    session = newest_session(lab)
    assert_recorded_once(lab, before, session)
    text = (lab.workspace / "ddl-perf-log.md").read_text()
    assert text.count(f"By hand, {point}") == 2, "title and goal"


def test_every_journaled_step_is_a_kill_point(lab: Driver) -> None:
    lab.ok("session.measure", *QUICK)
    journal = lab.workspace / ".lab/sessions" / newest_session(lab) / "journal.jsonl"
    steps = {json.loads(line)["step"] for line in journal.read_text().splitlines()}
    # These two are written down after the fact: nothing happens between them and what they tell.
    assert steps - {"ready", "recorded"} == set(STEPS)
    assert lab.json("session.status").data == {"session": None}
    # All that the tests above have left behind.
    lab.ok("log.verify")


def hashes(lab: Driver) -> dict[str, str]:
    folder = lab.workspace / "ddl-perf-evidence"
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("run-*.json")
    }


def newest_session(lab: Driver) -> str:
    folders = (lab.workspace / ".lab/sessions").glob("*/journal.jsonl")
    return max(path.parent.name for path in folders)


def assert_recorded_once(lab: Driver, before: int, session: str) -> None:
    assert headings(lab) == before + 1
    found = changes(lab)
    for role in (None, "log", "prompt"):
        assert count_of(found, session, role) == 1, f"role {role}: {found[:5]}"
    if lab.variables["LAB_SESSION_VCS"] == "jj":
        undescribed = [each for each in found if not each["description"]]
        assert undescribed == found[:1] == [{"description": "", "empty": True}]
    else:
        assert lab.call("git", "status", "--porcelain") == ""
    assert not (lab.workspace / ".lab/sessions/current.json").exists()
