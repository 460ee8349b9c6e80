"""The prompt: items are found in anybody's prose, and nothing else is ever touched."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
from faults import protected
from hypothesis import example, given
from hypothesis import strategies as st
from notebook_support import comparison, corpus, make_analysis, make_run

from lab.core.errors import PreconditionError, UsageError
from lab.core.workspace import Workspace
from lab.notebook import evidence
from lab.notebook.entry import Entry, MeasuredRun, Note
from lab.notebook.prompt import (
    add_item,
    find_item,
    read_items,
    record_session,
    resolve_item,
)
from lab.notebook.prompt_edit import insert_item, remove_item, with_session
from lab.notebook.prompt_text import items
from lab.stats.summary import Verdict

HAND_KEPT = """Some instructions, and the immediate next steps: see below.

Current status (after Session 4): slow.

Completed so far:
- One thing (Session 3)

Immediate next steps:

- **First thing.** It has
  two lines:
  1. nested
  2. again

- Second thing.

Note: not an item.

```
Next steps:
- in code
```

Previously identified next steps (ranked):
* third thing
* [x] done already
* [ ] fourth thing
"""


def lines_removed_and_added(before: str, after: str) -> tuple[list[str], list[str]]:
    diff = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    return [d[2:] for d in diff if d[0] == "-"], [d[2:] for d in diff if d[0] == "+"]


def session_entry(workspace: Workspace, number: int = 5, *notes: Note) -> Entry:
    run = make_run(number)
    measured = MeasuredRun(
        file=evidence.write_run(workspace, run),
        run=run,
        analysis=make_analysis(cells={"create-table": comparison(Verdict.IMPROVED, 0.8)}),
    )
    return Entry(
        number=number,
        session=f"S{number}",
        title="Cache it",
        date="2026-02-18",
        goal="Cache it",
        notes=notes,
        runs=(measured,),
    )


def test_items_of_a_hand_kept_prompt() -> None:
    found = items(HAND_KEPT)
    assert [each.text.split("\n")[0] for each in found] == [
        "**First thing.** It has",
        "Second thing.",
        "third thing",
        "fourth thing",
    ]
    assert found[0].text == "**First thing.** It has\ntwo lines:\n1. nested\n2. again"
    assert [(each.line, each.last_line) for each in found[:2]] == [(10, 13), (15, 15)]
    assert len({each.id for each in found}) == 4


def test_ids_survive_another_order_and_other_line_ends() -> None:
    def by_text(text: str) -> dict[str, str]:
        return {each.text: each.id for each in items(text)}

    before = "## Next steps\n\n- a thing\n- another\n- N7: numbered\n"
    after = "## Next steps\n\n- N7: numbered\n- another\n- a thing\n- new one\n"
    shared = by_text(before)
    assert shared["numbered"] == "N7"
    assert shared.items() <= by_text(after).items()
    assert by_text(before.replace("\n", "\r\n")) == shared
    assert [each.id for each in items("## Next steps\n- twice\n- twice\n")][1].endswith("-2")


def test_a_hand_kept_prompt_of_the_real_kind() -> None:
    text = (corpus() / "ddl-perf-prompt.md").read_text()
    found = items(text)
    assert [each.text.lstrip("*")[:12] for each in found] == [
        "Reduce async", "Overlap stor", "Combine comp", "Merge alloca", "Reduce Durab",
    ]  # fmt: skip
    assert "Narrow publication_info query" in found[0].text
    assert found[0].text.rstrip().endswith("`src/postgres-util/src/schemas.rs`.")
    resolved = remove_item(text, found[1], "Session 26")
    assert sorted(resolved.split()) == sorted([*text.split(), "Resolved", "by:", "Session", "26"])
    assert len(items(resolved)) == 4
    after = with_session(text, session="S", status=["x"], line="- y", next_steps=[])
    gone, added = lines_removed_and_added(text, after)
    assert gone == []
    assert after.index("<!-- lab:status -->") < after.index("Current status (after Session 24)")
    assert len(added) == 6


def test_adding_goes_below_the_last_item_and_twice_is_once() -> None:
    once = insert_item(HAND_KEPT, "Look at it\nin two lines")
    gone, added = lines_removed_and_added(HAND_KEPT, once)
    assert gone == []
    assert [line for line in added if line] == ["- N1: Look at it", "  in two lines"]
    assert [each.id for each in items(once)][2] == "N1"
    assert insert_item(once, "Look at it in\ntwo lines") == once
    twice = insert_item(once, "More")
    assert find_item(items(twice), "n2").text == "More"


def test_numbers_are_never_given_twice() -> None:
    text = insert_item(insert_item("## Next steps\n", "a"), "b")
    text = remove_item(text, find_item(items(text), "N2"), "Session 2")
    assert find_item(items(insert_item(text, "c")), "N3").text == "c"


def test_resolving_moves_the_item_to_what_was_completed() -> None:
    found = items(HAND_KEPT)
    after = remove_item(HAND_KEPT, found[0], "Session 5")
    assert (
        "- One thing (Session 3)\n- **First thing.** It has\n  two lines:\n  1. nested\n"
        "  2. again\n  Resolved by: Session 5\n\nImmediate next steps:\n\n- Second thing.\n"
    ) in after
    assert items(after)[0].text == "Second thing."


def test_without_a_completed_section_one_is_made() -> None:
    text = "# P\n\n## Next steps\n\n- a\n- b"
    after = remove_item(text, items(text)[1], "Session 5")
    assert after == (
        "# P\n\n## Completed\n\n- b\n  Resolved by: Session 5\n\n## Next steps\n\n- a\n"
    )


def test_an_unknown_item_names_the_nearest() -> None:
    found = items("## Next steps\n- N1: a thing\n- N22: other\n")
    with pytest.raises(UsageError) as caught:
        find_item(found, "N2")
    assert "N22 (other)" in caught.value.remedy
    with pytest.raises(UsageError, match="no open next step"):
        find_item([], "N1")


def test_the_first_use_makes_the_prompt_from_the_template(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert read_items(workspace) == []
    assert not workspace.prompt.exists()
    item, new = add_item(workspace, "Profile it.")
    assert (item.id, item.text, new) == ("N1", "Profile it.", True)
    assert add_item(workspace, "Profile it.") == (item, False)
    assert resolve_item(workspace, "N1", "Session 1") == item
    text = workspace.prompt.read_text()
    assert read_items(workspace) == []
    done = text.index("## Completed")
    assert done < text.index("- N1: Profile it.\n  Resolved by: Session 1\n") < text.index("## Nex")
    assert text.index("<!-- /lab:completed -->") < text.index("- N1: Profile it.")


def test_a_finished_session_keeps_status_and_completed_true(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    note = Note(kind="next", text="Try it at 50,000 objects.", at="2026-02-18T09:00:00Z")
    assert record_session(workspace, session_entry(workspace, 5, note), "create-table 1.04 ms")
    first = workspace.prompt.read_bytes()
    assert not record_session(workspace, session_entry(workspace, 5, note), "create-table 1.04 ms")
    assert workspace.prompt.read_bytes() == first
    record_session(workspace, session_entry(workspace, 6), "create-table 0.90 ms")
    text = workspace.prompt.read_text()
    assert "After session 6 (2026-02-18), on postgres: create-table 0.90" in text
    assert "Verdicts: 1 improved." in text
    assert "create-table 1.04 ms" not in text
    assert "- Session 5 (2026-02-18): Cache it (1 improved)" in text
    assert "- Session 6 (2026-02-18): Cache it (1 improved)" in text
    assert [each.text for each in read_items(workspace)] == ["Try it at 50,000 objects."]


def test_a_resolved_step_does_not_come_back_when_the_session_is_recorded_again(
    tmp_path: Path,
) -> None:
    workspace = Workspace(tmp_path)
    note = Note(kind="next", text="Try it.", at="2026-02-18T09:00:00Z")
    entry = session_entry(workspace, 5, note)
    record_session(workspace, entry, "x")
    resolve_item(workspace, "N1", "Session 5 itself")
    record_session(workspace, entry, "x")
    assert read_items(workspace) == []


def test_a_hand_kept_prompt_gets_one_region_and_keeps_every_byte(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    old = b"\xef\xbb\xbf" + HAND_KEPT.replace("\n", "\r\n").encode() + b"caf\xe9 \xff\r\nno end"
    workspace.prompt.write_bytes(old)
    workspace.prompt.chmod(0o640)
    for number in (5, 6):
        record_session(workspace, session_entry(workspace, number), "x")
        new = workspace.prompt.read_bytes()
        begin = new.index(b"<!-- lab:status -->")
        end = new.index(b"<!-- /lab:status -->\r\n\r\n") + len(b"<!-- /lab:status -->\r\n\r\n")
        assert new[:begin] + new[end:] == old
        assert new[end:].startswith(b"Current status")
        region = new[begin:end]
        assert region.count(b"\n") == region.count(b"\r\n")
        assert region.count(b"lab:session id=") == number - 4
    assert workspace.prompt.stat().st_mode & 0o777 == 0o640


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "place")
    workspace.root.mkdir()
    real = tmp_path / "real.md"
    real.write_text("## Next steps\n")
    workspace.prompt.symlink_to(real)
    add_item(workspace, "x")
    assert workspace.prompt.is_symlink()
    assert "N1: x" in real.read_text()


def test_a_region_without_its_end_is_left_alone(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.prompt.write_text("# P\n\n<!-- lab:status -->\nold\n")
    with pytest.raises(PreconditionError) as caught:
        record_session(workspace, session_entry(workspace), "x")
    assert caught.value.code == "notebook.unclosed-region"
    assert "ddl-perf-prompt.md:3" in caught.value.what
    assert workspace.prompt.read_text() == "# P\n\n<!-- lab:status -->\nold\n"


def test_no_permission_is_said(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.prompt.write_text("## Next steps\n")
    with protected(workspace.prompt):
        with pytest.raises(PreconditionError) as caught:
            add_item(workspace, "x")
        assert caught.value.code == "file.permission"
        assert workspace.prompt.read_text() == "## Next steps\n"


PROSE = st.lists(
    st.sampled_from(
        [
            "",
            "text",
            "- item",
            "* [ ] task",
            "  more",
            "1. one",
            "## Next steps",
            "Next steps:",
            "## Completed",
            "Completed:",
            "### Deeper",
            "```",
            "> quoted",
            "- N3: own",
            "Status: x",
            "\u2028",
            "\x0b",
            "<!-- c -->",
            "---",
        ]
    ),
    max_size=14,
)


@example(
    lines=["## Next steps", "- item", "```", "```", "- item", "```"], end="\n", last=False, step=1
)
@given(lines=PROSE, end=st.sampled_from(["\n", "\r\n"]), last=st.booleans(), step=st.integers(0, 5))
def test_any_prompt_keeps_its_lines(lines: list[str], end: str, last: bool, step: int) -> None:
    text = end.join(lines) + (end if last else "")
    open_before = [each.text for each in items(text)]
    added = insert_item(text, "a new step")
    assert _without(added, ["- N1: a new step", "- N4: a new step"]) >= _words(text)
    assert sorted(each.text for each in items(added)) == sorted([*open_before, "a new step"])
    recorded = with_session(text, session="S", status=["s"], line="- l", next_steps=["a new step"])
    again = with_session(recorded, session="S", status=["s"], line="- l", next_steps=["a new step"])
    assert again == recorded
    if open_before:
        item = items(text)[step % len(open_before)]
        resolved = remove_item(text, item, "Session 5")
        assert len(items(resolved)) == len(open_before) - 1
        assert _words(resolved) >= _words(text)


def _words(text: str) -> set[str]:
    return {line.strip() for line in text.split("\n") if line.strip()}


def _without(text: str, lines: list[str]) -> set[str]:
    return _words(text) - set(lines)
