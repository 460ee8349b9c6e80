"""What a long task tells of itself."""

from __future__ import annotations

import io
import re

import pytest

from lab.core import progress
from lab.core.progress import PlainProgress, duration_text


def test_a_growing_task_tells_both_rates_and_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "QUIET_S", 0.0)
    monkeypatch.setattr(progress, "PLAIN_INTERVAL_S", 0.0)
    stream = io.StringIO()
    with PlainProgress(stream).stage("making", total=3, unit="objects", growing=True) as stage:
        stage.advance()
        stage.advance()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    for done, line in enumerate(lines, start=1):
        rate = r"[0-9,.]+/s"
        shape = rf"making: {done}/3 objects, {rate} now \({rate} at first\), about \d+ s left"
        assert re.fullmatch(shape, line)


def test_a_quick_task_says_nothing() -> None:
    stream = io.StringIO()
    with PlainProgress(stream).stage("making", total=2, unit="objects") as stage:
        stage.advance(2)
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (250, "4 min 10 s"), (7500, "2 h 05 min"), (float("inf"), "unknown time")],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
