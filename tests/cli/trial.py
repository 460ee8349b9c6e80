"""What the trials of faults share: a quick session, and what must hold after each fault."""

from __future__ import annotations

from lab_driver import Driver, Result

QUICK = ("--samples", "6", "--statements", "create-table")


def headings(lab: Driver) -> int:
    log = lab.workspace / "ddl-perf-log.md"
    return log.read_text().count("\n### Session ") if log.exists() else 0


def evidence(lab: Driver) -> list[str]:
    folder = lab.workspace / "ddl-perf-evidence"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def ends_in_one_entry(lab: Driver, entries: int, *words: str) -> Result:
    """Run ``words`` and check that exactly one entry has come to the ``entries`` of before."""
    result = lab.json(*(words or ("session.measure",)))
    assert result.code == 0, result.out + result.err
    assert headings(lab) == entries + 1
    assert lab.json("session.status").data == {"session": None}
    verified = lab.json("log.verify")
    assert verified.code == 0, verified.out
    return result
