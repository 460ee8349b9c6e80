"""Appending: never a byte rewritten, once whatever happens, and at the same price at any size."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from faults import bytes_read, fill, protected, small_disk
from hypothesis import example, given
from hypothesis import strategies as st

from lab.core.errors import PreconditionError
from lab.notebook.append import (
    PlannedAppend,
    carry_out,
    last_number,
    marker_of,
    plan_append,
)
from lab.notebook.entries import entries

HEADING = "# A log\n\nAbout it.\n"


def entry(number: int = 1, session: str = "S1", text: str = "Goal: ±3 %") -> str:
    return f"### Session {number}: Title (2026-02-18)\n{marker_of(session)}\n\n{text}\n"


def append(path: Path, text: str, session: str = "S1") -> bool:
    return carry_out(path, plan_append(path, text, session, heading=HEADING))


@given(old=st.binary(max_size=400), body=st.text(max_size=80))
@example(old=b"\xef\xbb\xbf# Log\r\n\r\nText\r\n", body="x")
@example(old=b"# Log\nno final line feed", body="x")
@example(old=b"caf\xe9 \xff\xfe\n", body="x")
@example(old=b"a\r", body="x")
def test_old_bytes_are_a_prefix_and_the_entry_is_whole(
    tmp_path_factory: pytest.TempPathFactory, old: bytes, body: str
) -> None:
    path = tmp_path_factory.mktemp("log") / "log.md"
    path.write_bytes(old)
    text = entry(text=body)
    append(path, text)
    new = path.read_bytes()
    assert new.startswith(old)
    added = new[len(old) :].replace(b"\r\n", b"\n")
    assert text.strip("\r\n").replace("\r\n", "\n").encode() in added
    assert new.endswith(b"\n")


@pytest.mark.parametrize(
    ("old", "between"),
    [
        (b"text", b"\n\n"),
        (b"text\n", b"\n"),
        (b"text\n\n", b""),
        (b"text\n  \n", b""),
        (b"text\r\nmore", b"\r\n\r\n"),
        (b"text\r\n", b"\r\n"),
        (b"text\r\n\r\n", b""),
        (b"unix\ntext\r\n", b"\r\n"),
        (b"dos\r\ntext\n", b"\n"),
        (b"\n", b""),
    ],
)
def test_one_blank_line_separates_in_the_line_ends_of_the_tail(
    tmp_path: Path, old: bytes, between: bytes
) -> None:
    path = tmp_path / "log.md"
    path.write_bytes(old)
    append(path, entry())
    end = b"\r\n" if b"\r" in old.splitlines(keepends=True)[-1] or b"more" in old else b"\n"
    assert path.read_bytes() == old + between + entry().encode().replace(b"\n", end)


@pytest.mark.parametrize("empty", [False, True])
def test_a_new_log_begins_with_its_heading(tmp_path: Path, empty: bool) -> None:
    path = tmp_path / "deeper" / "log.md"
    if empty:
        path.parent.mkdir()
        path.touch()
    append(path, entry())
    assert path.read_text() == HEADING + "\n" + entry()


@pytest.mark.parametrize("old", [None, b"# Log\r\n\r\nText"])
def test_killed_at_any_byte_it_is_completed_to_the_same_file(
    tmp_path: Path, old: bytes | None
) -> None:
    path = tmp_path / "log.md"
    if old is not None:
        path.write_bytes(old)
    planned = plan_append(path, entry(), "S1", heading=HEADING)
    assert carry_out(path, planned)
    whole = path.read_bytes()
    for cut in range(planned.offset, len(whole) + 1):
        path.write_bytes(whole[:cut])
        wrote = carry_out(path, planned)
        assert wrote == (cut < len(whole))
        assert path.read_bytes() == whole
        assert not carry_out(path, planned)


def test_the_plan_survives_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "log.md"
    path.write_bytes(b"old\xff")
    planned = plan_append(path, entry(text="ü \udce9"), "S1", heading=HEADING)
    again = msgspec.json.decode(msgspec.json.encode(planned), type=PlannedAppend)
    assert again == planned
    assert msgspec.convert(msgspec.to_builtins(planned), PlannedAppend) == planned


def test_others_appended_meanwhile_so_it_goes_below_them(tmp_path: Path) -> None:
    path = tmp_path / "log.md"
    path.write_bytes(b"old\n")
    planned = plan_append(path, entry(), "S1", heading=HEADING)
    with path.open("ab") as file:
        file.write(b"by somebody else")
    assert carry_out(path, planned)
    assert path.read_bytes() == b"old\nby somebody else\n\n" + entry().encode()
    assert not carry_out(path, planned)


def test_an_entry_that_was_edited_since_is_not_appended_again(tmp_path: Path) -> None:
    path = tmp_path / "log.md"
    path.write_bytes(b"old text that is long enough to be cut\n")
    planned = plan_append(path, entry(), "S1", heading=HEADING)
    carry_out(path, planned)
    for edited in (
        path.read_bytes().replace(b"Title", b"Another title") + b"\nand below\n",
        path.read_bytes().replace(b" that is long enough to be cut", b"") + b"\nmore\n",
    ):
        path.write_bytes(edited)
        assert not carry_out(path, planned)
        assert path.read_bytes() == edited


def test_torn_below_the_text_of_others_it_is_completed(tmp_path: Path) -> None:
    path = tmp_path / "log.md"
    path.write_bytes(b"old\n")
    planned = plan_append(path, entry(text="some text"), "S1", heading=HEADING)
    path.write_bytes(b"old\nby somebody else\n")
    carry_out(path, planned)
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    assert carry_out(path, planned)
    assert path.read_bytes() == whole


def test_a_marker_across_two_pieces_of_the_search_is_found(tmp_path: Path) -> None:
    path = tmp_path / "log.md"
    path.write_bytes(b"")
    planned = plan_append(path, entry(), "S1", heading="")
    at = entry().index("<!--")
    for shift in (1, 5, 20):
        path.write_bytes(b"x" * (64 * 1024 - at - shift - 1) + b"\n" + entry().encode() + b"end\n")
        assert not carry_out(path, planned)


def test_an_entry_without_its_marker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="marker"):
        plan_append(tmp_path / "log.md", "### Session 1: x\n", "S1", heading="")


def test_a_full_disk_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        log, new = disk / "log.md", disk / "new.md"
        old = b"# Log\r\nold"
        log.write_bytes(old)
        fill(disk, leave=8192)
        for path in (log, new):
            planned = plan_append(path, entry(text="y" * 30_000), "S1", heading=HEADING)
            with pytest.raises(PreconditionError) as caught:
                carry_out(path, planned)
            assert caught.value.code == "disk.full"
        assert log.read_bytes() == old
        assert not new.exists()
        (disk / "filler").unlink()
        assert append(log, entry(text="y" * 30_000))
        assert log.read_bytes().startswith(old)
        assert len(entries(log)) == 1


def test_no_permission_is_said(tmp_path: Path) -> None:
    path = tmp_path / "log.md"
    path.write_bytes(b"old\n")
    with protected(path):
        with pytest.raises(PreconditionError) as caught:
            append(path, entry())
        assert caught.value.code == "file.permission"
        assert str(path) in caught.value.what
        assert path.read_bytes() == b"old\n"


def test_a_log_of_100_mb_is_read_no_further_than_a_small_one(tmp_path: Path) -> None:
    read = {}
    for size in (1_000, 100_000_000):
        path = tmp_path / f"{size}.md"
        with path.open("wb") as file:
            file.truncate(size)  # sparse: the disk holds next to nothing
            file.seek(0, 2)
            file.write(b"\n### Session 41: before\n\ntext\n" + b"line\n" * 20_000)
        before = bytes_read()
        assert last_number(path) == 41
        append(path, entry(42))
        read[size] = bytes_read() - before
        assert path.stat().st_size == size + 30 + 100_000 + 1 + len(entry(42).encode())
    assert read[100_000_000] < read[1_000] + 200_000


def test_last_number_reads_backward_to_the_nearest_heading(tmp_path: Path) -> None:
    path = tmp_path / "log.md"
    assert last_number(path) == 0
    for text, expected in (
        ("", 0),
        ("no heading", 0),
        ("### Session 7: Title (2026-02-18)\n", 7),
        ("\ufeff## Session 12 — Title\r\n\r\ntext\r\n", 12),
        ("## Session 22 - Title\n### Session 23", 23),
        ("# Session 4 (2026-02-18)\n\n### Session notes\n\n### Sessions 5-9: sum\n", 4),
        ("### Session 3: a\n\n### Session 9 results\n", 3),
        ("### Session 3: a\n```\n### Session 99: code\n```\n", 3),
        ("### Session 3: a\n```bash\n### Session 99: code\n```\ntext\n", 3),
        ("```\ncode\n```\n### Session 5: a\n~~~\nx\n~~~\n", 5),
        ("### Session 6: a\n```\nnever closed\n", 6),
        ("### Session 8: a\n" + "long line " * 50_000, 8),
    ):
        path.write_bytes(text.encode())
        assert last_number(path) == expected, text[:60]


@given(numbers=st.lists(st.integers(1, 999), min_size=1, max_size=5), gap=st.integers(0, 70_000))
@example(numbers=[3, 4], gap=64 * 1024)
def test_last_number_finds_a_heading_at_any_distance(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], gap: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "log.md"
    headings = "".join(f"### Session {number}: x\n\ntext\n" for number in numbers)
    path.write_text(headings + "y" * gap)
    assert last_number(path) == numbers[-1]
