"""Finding entries in logs of the lab and of people."""

from __future__ import annotations

from pathlib import Path

import pytest
from notebook_support import corpus

from lab.core.errors import UsageError
from lab.notebook.append import last_number, marker_of
from lab.notebook.entries import entries, entry_text, parse_entries

LOG = """# Log

Prose above.

### Session 1: First (2026-02-18)
<!-- lab:entry id=20260218T0914-ab -->

text

```
### Session 50: in code
```

## Session 2: Second

**Date:** 2026-02-20
### Goal

More.

## Session 3 — Third
text
# Appendix

not part of it
"""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_entries_of_all_styles(tmp_path: Path, end: str) -> None:
    path = tmp_path / "log.md"
    path.write_bytes(LOG.replace("\n", end).encode())
    found = entries(path)
    assert [(each.number, each.title, each.date, each.session) for each in found] == [
        (1, "First", "2026-02-18", "20260218T0914-ab"),
        (2, "Second", "2026-02-20", None),
        (3, "Third", None, None),
    ]
    assert [(each.line, each.last_line) for each in found] == [(5, 13), (14, 20), (21, 22)]
    content = path.read_bytes()
    pieces = [content[each.begin : each.end] for each in found]
    assert b"".join(pieces) == content[content.index(b"### Session 1") : content.index(b"# App")]
    assert all(piece.startswith((b"### Session", b"## Session")) for piece in pieces)


def test_the_text_of_one_entry(tmp_path: Path) -> None:
    path = tmp_path / "log.md"
    path.write_text(LOG)
    assert entry_text(path, 3) == "## Session 3 — Third\ntext\n"
    with pytest.raises(UsageError, match="no session 7") as caught:
        entry_text(path, 7)
    assert "1 to 3" in caught.value.why


def test_an_unclosed_fence_does_not_hide_the_entries_of_the_lab() -> None:
    text = (
        f"### Session 1: a\n```\nopen\n\n### Session 2: b\n{marker_of('S2')}\n\n## Session 3: c\n"
    )
    assert [each.number for each in parse_entries(text.encode())] == [1, 2, 3]


def test_a_file_that_is_not_there_has_no_entries(tmp_path: Path) -> None:
    assert entries(tmp_path / "log.md") == []


def test_a_hand_kept_log_is_read_whole() -> None:
    path = corpus() / "ddl-perf-log.md"
    found = entries(path)
    assert [each.number for each in found] == list(range(1, 26))
    assert last_number(path) == 25
    assert found[0].date == "2026-02-18"
    assert found[15].date == "2026-02-20"  # from a line below the heading
    assert found[21].title == "Baseline vs Optimized at 100k tables"
    assert all(each.session is None for each in found)
    content = path.read_bytes()
    # From the first heading to the end, without a gap.
    assert b"".join(content[e.begin : e.end] for e in found) == content[found[0].begin :]


def test_a_hand_kept_log_reads_the_same_with_other_line_ends(tmp_path: Path) -> None:
    content = (corpus() / "ddl-perf-log.md").read_bytes()
    plain = parse_entries(content)
    other = parse_entries(content.replace(b"\n", b"\r\n"))
    assert [(e.number, e.title, e.line, e.last_line) for e in plain] == [
        (e.number, e.title, e.line, e.last_line) for e in other
    ]
