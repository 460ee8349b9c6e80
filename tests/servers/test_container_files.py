"""A container's log, followed by the engine's time stamps; plans that hold no secrets."""

import os
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from lab.servers.container_files import LogFollower
from lab.servers.container_records import Plan

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Engine:
    """Keeps lines, and gives them as the engine does: stamped, and since a rounded moment."""

    def __init__(self):
        self.lines = []
        self.asked = []

    def write(self, after_ns, text):
        """Write a line, so many nanoseconds after the one before."""
        at = (self.lines[-1][0] if self.lines else 0) + after_ns
        self.lines.append((at, text))

    def read(self, tail, since):
        self.asked.append((tail, since))
        lines = self.lines[-tail:] if tail else self.lines
        return "\n".join(
            f"{stamp(at)} {text}"
            for at, text in lines
            if since is None or BEGAN.timestamp() + at / 1e9 >= since
        )


def stamp(at_ns):
    seconds, rest = divmod(at_ns, 1_000_000_000)
    moment = BEGAN + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


GAPS = st.lists(st.sampled_from([0, 0, 1, 250, 10_000, 3_000_000, 2_000_000_000]), max_size=12)


@given(before=GAPS, rounds=st.lists(GAPS, max_size=6))
def test_each_line_is_given_once_and_in_order(before, rounds):
    """Also where several have one and the same time stamp."""
    engine = Engine()
    for gap in before:
        engine.write(gap, "before")
    follow = LogFollower(engine.read)
    written = given_ = 0
    for gaps in rounds:
        for gap in gaps:
            engine.write(gap, f"line  {written} ")
            written += 1
        lines = follow().splitlines()
        assert lines == [f"line  {number} " for number in range(given_, written)]
        given_ = written
    assert follow() == ""


def test_only_the_end_of_a_long_log_is_asked_for():
    engine = Engine()
    for number in range(500):
        engine.write(1_000_000_000, str(number))
    follow = LogFollower(engine.read)
    engine.write(1, "new")
    assert follow() == "new\n"
    (first, second) = engine.asked
    assert first[0] <= 100
    assert 0 < BEGAN.timestamp() + 500 - second[1] < 1


def test_a_container_without_a_log_is_followed_from_its_first_line():
    engine = Engine()
    follow = LogFollower(engine.read)
    assert follow() == ""
    engine.write(0, "first")
    assert follow() == "first\n"


def test_a_plan_tells_where_a_secret_is_and_not_what(tmp_path):
    file = tmp_path / "password"
    file.write_text(os.urandom(8).hex())
    plain = Plan(image="i", mount="/m", ports={})
    plan = Plan(image="i", mount="/m", ports={}, secrets={"/etc/x": file})
    assert file.read_text() not in repr(plan)
    assert plan.digest("id") == plain.digest("id")
