"""Timers that only some versions of a server have."""

from lab.metrics.attribute import attribute
from lab.metrics.reading import Change, Delta
from lab.metrics.tree import CostSheet, Node


def node(label, generation="", *children):
    return Node(label=label, time=(label,), generation=generation, children=children)


SHEET = CostSheet(
    roots=(
        node("all", "", node("old 1", "old"), node("old 2", "old"), node("new", "new")),
        node("everybody"),
    ),
    quantities=(),
)


def warnings(*names):
    changes = tuple(Change(name, "ns", 10.0) for name in names)
    delta = Delta(duration_ns=100, changes=changes)
    found = attribute(SHEET, delta, statements=1, client_mean_ns=20)
    return found, [each for each in found.warnings if "not measured" in each]


def test_what_belongs_to_another_generation_is_left_out_without_a_word():
    found, warned = warnings("all", "everybody", "new")
    assert not warned
    assert [child.label for child in found.tree[0].children] == ["new"]


def test_what_is_missing_of_its_own_generation_is_said():
    _, warned = warnings("all", "everybody", "old 1")
    assert warned == ["old 2: not measured here"]
    _, warned = warnings("all", "old 1", "old 2")
    assert warned == ["everybody: not measured here"]
