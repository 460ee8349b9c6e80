"""Attribution: sums that hold for any figures, and every warning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.metrics.attribute import attribute, total
from lab.metrics.reading import Change, Delta
from lab.metrics.tree import CostSheet, Node, Quantity


def delta(amounts, duration_ns=1_000_000, void=""):
    changes = () if void else tuple(Change(n, "ns", float(a)) for n, a in amounts.items())
    return Delta(duration_ns=duration_ns, changes=changes, void=void)


def sheet(*roots, quantities=(), rest="", disturbances=()):
    return CostSheet(roots=roots, quantities=quantities, rest=rest, disturbances=disturbances)


def leaf(label, *, calls=(), **more):
    return Node(label=label, time=(label,), calls=calls, **more)


def test_time_is_per_statement_and_what_is_left_is_unattributed():
    found = attribute(
        sheet(leaf("flush", calls=("flushes",)), leaf("write"), rest="CPU"),
        delta({"flush": 3000, "flushes": 10, "write": 1000}),
        statements=10,
        client_mean_ns=1000,
    )
    flush, write = found.tree
    assert (flush.ns, flush.share, flush.calls) == (300, 0.3, 1)
    assert (write.ns, write.calls) == (100, None)
    assert found.unattributed_ns == 600
    assert found.warnings == ()


def test_self_is_what_sequential_children_leave():
    root = leaf("commit", children=(leaf("flush"), leaf("wait", overlaps=True), leaf("apply")))
    found = attribute(
        sheet(root),
        delta({"commit": 900, "flush": 500, "wait": 400, "apply": 100}),
        statements=1,
        client_mean_ns=1000,
    )
    assert found.tree[0].self_ns == 300
    assert found.unattributed_ns == 100


def test_a_child_above_its_parent_is_named_and_left_out_of_sums():
    root = leaf("commit", children=(leaf("flush"), leaf("apply")))
    found = attribute(
        sheet(root),
        delta({"commit": 900, "flush": 950, "apply": 100}),
        statements=1,
        client_mean_ns=1000,
    )
    flush, apply = found.tree[0].children
    assert (flush.nested, apply.nested) == (False, True)
    assert found.tree[0].self_ns == 800
    assert any("flush is not nested" in warning for warning in found.warnings)


def test_a_root_above_the_client_is_not_nested():
    found = attribute(sheet(leaf("a")), delta({"a": 2000}), statements=1, client_mean_ns=1000)
    assert not found.tree[0].nested
    assert found.unattributed_ns == 1000


@pytest.mark.parametrize(
    ("spent", "rest", "said"),
    [(800, "", "20% of"), (900, "", ""), (100, "", "90% of"), (100, "CPU", "")],
)
def test_a_large_rest_is_warned_of_unless_it_is_declared(spent, rest, said):
    found = attribute(
        sheet(leaf("a"), rest=rest), delta({"a": spent}), statements=1, client_mean_ns=1000
    )
    assert bool(found.warnings) == bool(said)
    assert said in "".join(found.warnings)


def test_parts_above_the_whole_are_warned_of_even_where_a_rest_is_declared():
    found = attribute(
        sheet(leaf("a"), leaf("b"), rest="CPU"),
        delta({"a": 700, "b": 600}),
        statements=1,
        client_mean_ns=1000,
    )
    assert found.unattributed_ns == -300
    assert found.warnings == ("the parts add up to 130% of the client's latency",)


def test_the_idle_rate_is_taken_off():
    found = attribute(
        sheet(leaf("a", calls=("n",)), quantities=(Quantity("bytes", ("b",), "bytes"),)),
        delta({"a": 2000, "n": 30, "b": 500}, duration_ns=10_000),
        statements=10,
        client_mean_ns=110,
        idle=delta({"a": 100, "n": 2, "b": 50}, duration_ns=1000),
    )
    assert found.tree[0].ns == pytest.approx((2000 - 1000) / 10)
    assert found.tree[0].calls == pytest.approx((30 - 20) / 10)
    assert found.amounts[0].per_statement == pytest.approx(0)


@pytest.mark.parametrize(("calls", "warned"), [(30, False), (31, False), (35, True), (5, True)])
def test_calls_far_from_whole_are_warned_of(calls, warned):
    node = leaf("a", calls=("n",), whole=True)
    found = attribute(
        sheet(node), delta({"a": 950 * 30, "n": calls}), statements=30, client_mean_ns=1000
    )
    assert bool(found.warnings) == warned
    relaxed = leaf("a", calls=("n",))
    found = attribute(
        sheet(relaxed), delta({"a": 950 * 30, "n": calls}), statements=30, client_mean_ns=1000
    )
    assert not found.warnings


def test_a_series_that_is_missing_leaves_its_node_out_and_is_said():
    found = attribute(
        sheet(leaf("a"), leaf("cpu"), quantities=(Quantity("WAL", ("w",), "bytes"),)),
        delta({"a": 950}),
        statements=1,
        client_mean_ns=1000,
    )
    assert [node.label for node in found.tree] == ["a"]
    assert found.amounts == ()
    assert found.warnings == ("cpu: not measured here", "WAL: not measured here")


def test_disturbances_are_said_where_they_moved():
    quantities = (Quantity("a checkpoint ended", ("c",), "count"),)
    for moved in (0, 2):
        found = attribute(
            sheet(leaf("a"), disturbances=quantities),
            delta({"a": 950, "c": moved}),
            statements=1,
            client_mean_ns=1000,
        )
        assert bool(found.warnings) == bool(moved)


def test_a_void_delta_attributes_nothing():
    found = attribute(
        sheet(leaf("a")),
        delta({}, void="the server was restarted"),
        statements=3,
        client_mean_ns=1000,
    )
    assert found.tree == ()
    assert found.unattributed_ns == 1000
    assert found.warnings == ("costs are unknown: the server was restarted",)


@pytest.mark.parametrize(("statements", "mean"), [(0, 1000), (1, 0)])
def test_nothing_to_divide_by(statements, mean):
    with pytest.raises(ValueError, match="at least one statement"):
        attribute(sheet(leaf("a")), delta({"a": 1}), statements=statements, client_mean_ns=mean)


times = st.lists(st.integers(0, 10**6), min_size=1, max_size=6)


@given(parts=times, statements=st.integers(1, 500), client=st.integers(1, 10**7))
def test_nested_roots_and_the_rest_add_up_to_the_client(parts, statements, client):
    names = [f"part-{index}" for index in range(len(parts))]
    found = attribute(
        sheet(*(leaf(name) for name in names)),
        delta(dict(zip(names, parts, strict=True))),
        statements=statements,
        client_mean_ns=client,
    )
    counted = sum(node.ns for node in found.tree if node.nested)
    assert counted + found.unattributed_ns == pytest.approx(client)
    assert all(node.nested == (node.ns <= client) for node in found.tree)


@given(
    amounts=st.lists(
        st.fixed_dictionaries({"a": st.integers(0, 10**9), "b": st.integers(0, 10**9)}),
        min_size=1,
        max_size=5,
    )
)
def test_total_adds_up(amounts):
    found = total([delta(each, duration_ns=7) for each in amounts])
    assert found.duration_ns == 7 * len(amounts)
    assert {change.name: change.amount for change in found.changes} == {
        name: sum(each[name] for each in amounts) for name in "ab"
    }


def test_total_is_void_where_any_is():
    found = total([delta({"a": 1}), delta({}, void="the counter a fell")])
    assert found.void == "the counter a fell"
    assert found.changes == ()


def test_total_leaves_out_what_not_all_have():
    found = total([delta({"a": 1, "b": 1}), delta({"a": 2})])
    assert found.changes == (Change("a", "ns", 3),)
