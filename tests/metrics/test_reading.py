"""Differences of readings, and when they mean nothing."""

from hypothesis import given
from hypothesis import strategies as st

from lab.metrics.reading import Change, Kind, Reading, Series, difference


def reading(values, *, boot="boot-1", at=0, kind=Kind.COUNTER):
    series = tuple(Series(name, kind, "count", value) for name, value in values.items())
    return Reading(boot=boot, taken_ns=at, cost_ns=1, series=series)


amounts = st.dictionaries(st.sampled_from("abcde"), st.integers(0, 10**12), min_size=1)


@given(before=amounts, moved=st.integers(0, 10**9), took=st.integers(1, 10**12))
def test_every_series_moves_by_its_difference(before, moved, took):
    after = {name: value + moved for name, value in before.items()}
    delta = difference(reading(before, at=5), reading(after, at=5 + took))
    assert not delta.void
    assert delta.duration_ns == took
    assert {change.name: change.amount for change in delta.changes} == dict.fromkeys(before, moved)


def test_a_restart_voids():
    delta = difference(reading({"a": 1}), reading({"a": 2}, boot="boot-2"))
    assert delta.void == "the server was restarted"
    assert delta.changes == ()


def test_a_counter_that_fell_voids_and_is_named():
    delta = difference(reading({"a": 1, "b": 5}), reading({"a": 2, "b": 4}))
    assert "b fell" in delta.void


def test_a_gauge_may_fall():
    before, after = (reading({"a": value}, kind=Kind.GAUGE) for value in (5, 3))
    assert difference(before, after).changes == (Change("a", "count", -2),)


def test_a_series_that_vanished_voids_and_a_new_one_is_left_out():
    assert "b vanished" in difference(reading({"a": 1, "b": 1}), reading({"a": 1})).void
    delta = difference(reading({"a": 1}), reading({"a": 1, "b": 1}))
    assert [change.name for change in delta.changes] == ["a"]
