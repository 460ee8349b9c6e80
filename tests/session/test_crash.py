"""SIGKILL between any two journaled steps: the next command ends in exactly one of each."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from conftest import KILLED, Driver, make_driver, remove_driver

from lab.session.finishing import STEPS

QUICK = ("--samples", "6", "--statements", "create-table")
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
    again = lab.json("session.measure")

    assert again.code == 0, again.err + again.out
    assert headings(lab) == before + 1
    session = again.data["id"]
    found = changes(lab)
    for role in (None, "log", "prompt"):
        assert count_of(found, session, role) == 1, f"role {role}: {found[:5]}"
    if lab.variables["LAB_SESSION_VCS"] == "jj":
        undescribed = [each for each in found if not each["description"]]
        assert undescribed == found[:1] == [{"description": "", "empty": True}]
    else:
        assert lab.call("git", "status", "--porcelain") == ""
    assert lab.run("session.status", "--json").data == {"session": None}
    verified = lab.json("log.verify")
    assert verified.code == 0, verified.out
