"""The journal after a crash: whole records are read, a cut one is passed over, writing goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.session.journal import Journal


def test_a_step_happens_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    happened: list[int] = []

    def act() -> dict[str, int]:
        happened.append(1)
        return {"made": len(happened)}

    assert journal.step("one", act) == {"made": 1}
    assert Journal(journal.path).step("one", act) == {"made": 1}
    assert len(happened) == 1


def test_a_step_that_failed_is_tried_again_with_its_first_intent(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")

    def fail() -> dict[str, int]:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        journal.step("one", fail, intent={"offset": 7})
    assert journal.done("one") is None
    journal.step("one", lambda: {"made": 1}, intent={"offset": 9})
    assert journal.begun("one") == {"offset": 7}
    assert [record.phase for record in journal.records()] == ["begun", "done"]


def test_cut_at_every_byte(tmp_path: Path) -> None:
    whole = Journal(tmp_path / "whole.jsonl")
    for number in range(3):
        whole.step(f"step-{number}", lambda number=number: {"number": number})
    content = whole.path.read_bytes()
    lines = content.count(b"\n")
    for size in range(len(content) + 1):
        cut = Journal(tmp_path / "cut.jsonl")
        cut.path.write_bytes(content[:size])
        found = cut.records()
        assert found == whole.records()[: len(found)]
        # A record whose line end alone is missing is whole.
        assert len(found) in (content[:size].count(b"\n"), content[:size].count(b"\n") + 1)
        cut.write("after", "done", {"size": size})
        assert cut.records()[: len(found)] == found
        assert cut.records()[-1].data == {"size": size}
        assert len(cut.records()) == len(found) + 1
    assert lines == 6
