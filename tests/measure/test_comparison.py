"""Which earlier run is compared with, and what is said of it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import QUIET, around, block, cells, run, sample

from lab.measure.comparison import compare, differences, find_comparable
from lab.measure.findings import Difference
from lab.measure.record import Passport
from lab.stats.summary import Verdict

fields = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("xyz"))


@given(before=fields, after=fields)
def test_differences_name_exactly_the_unlike_fields(before, after):
    found = differences(
        Passport(alike=before, noted={"n": "1"}), Passport(alike=after, noted={"n": "2"})
    )
    rebuilt = dict(before)
    for each in found:
        assert each.before == before.get(each.field, "")
        assert each.after == after.get(each.field, "")
        assert each.before != each.after
        rebuilt.pop(each.field, None)
        if each.after:
            rebuilt[each.field] = each.after
    assert rebuilt == after
    assert [each.field for each in found] == sorted(each.field for each in found)


def table(name, **more):
    return run(cells(create_table=around(1)), name=name, **more)


def test_the_newest_like_run_is_found_and_nothing_older_is_read():
    def history():
        yield 7, table("unlike", alike={"setting.fsync": "off"})
        yield 6, table("like")
        raise AssertionError("read further than needed")

    found = find_comparable(table("now"), history())
    assert found is not None
    assert (found[0], found[1].id) == (6, "like")


def test_void_runs_other_targets_and_the_run_itself_are_passed_over():
    now = table("now")
    history = [
        (9, now),
        (8, table("void", void="the server was lost")),
        (7, table("elsewhere", target="other")),
        (6, run(cells(create_view=around(1)), name="views", statements=("create-view",))),
        (5, run(block([sample("create-table")] * 9, void="lost"), name="void-cells")),
    ]
    assert find_comparable(now, history) is None
    assert find_comparable(now, [*history, (4, table("like"))]) == (4, table("like"))


def test_where_none_is_alike_the_newest_valid_one_is_returned():
    history = [
        (9, table("void", alike={"setting.fsync": "off"}, void="lost")),
        (8, table("newer", alike={"setting.fsync": "off"})),
        (7, table("older", alike={"host.cores": "4"})),
    ]
    found = find_comparable(table("now"), history)
    assert found is not None
    assert found[1].id == "newer"


def test_unlike_passports_are_named_and_nothing_is_compared():
    found = compare(table("now"), (3, table("then", alike={"setting.fsync": "off"})))
    assert found.cells == {}
    assert found.differences == (Difference("setting.fsync", "off", "on"),)
    assert (found.session, found.run) == (3, "then")


def two(name, *, table_ms, view_ms, boot):
    return run(
        cells(create_table=around(table_ms), create_view=around(view_ms), boot=boot),
        name=name,
        statements=("create-table", "create-view"),
    )


def test_verdicts_are_provisional_and_gated_by_what_the_target_declares():
    before = two("then", table_ms=1, view_ms=1, boot="boot-1")
    after = two("now", table_ms=1.5, view_ms=1.002, boot="boot-2")
    found = compare(after, (3, before))
    assert list(found.cells) == ["create-table", "create-view"]
    assert found.cells["create-table"].verdict is Verdict.REGRESSED
    assert found.cells["create-view"].verdict is Verdict.NO_MEASURABLE_CHANGE
    assert all(cell.provisional for cell in found.cells.values())
    # 2 ms, the margin's usual floor, would be 200% of a statement that takes 1 ms.
    assert 0.03 <= found.cells["create-table"].margin <= 0.06
    assert not found.same_boot


def test_only_valid_common_cells_are_compared():
    before = two("then", table_ms=1, view_ms=1, boot="boot-1")
    after = run(
        block(
            [sample("create-table")] * 20
            + [sample("create-view")] * 10
            + [sample("create-view", error="57014 canceled")] * 10
            + [sample("drop-table")] * 20
        ),
        statements=("create-table", "create-view"),
    )
    assert list(compare(after, (3, before)).cells) == ["create-table"]


def test_one_boot_compared_with_itself_is_said():
    before = two("then", table_ms=1, view_ms=1, boot="boot-1")
    assert compare(two("now", table_ms=1, view_ms=1, boot="boot-1"), (3, before)).same_boot


def disturbed(made, shares):
    """Return ``made`` with its block repeated, once per share of time that tasks waited."""
    blocks = tuple(
        msgspec.structs.replace(
            made.blocks[0],
            index=index,
            noise=msgspec.structs.replace(QUIET, pressure={"cpu": share}),
        )
        for index, share in enumerate(shares, start=1)
    )
    return msgspec.structs.replace(made, blocks=blocks)


@pytest.mark.parametrize(
    ("before", "after", "noisy", "verdict"),
    [
        ([0.1], [0.1], (), Verdict.REGRESSED),
        ([0.1], [0.9], ("this run",), Verdict.INCONCLUSIVE),
        ([0.9], [0.1], ("the earlier run",), Verdict.INCONCLUSIVE),
        ([0.9], [0.9], ("the earlier run", "this run"), Verdict.INCONCLUSIVE),
        # One disturbed block among many is too little to give up a verdict.
        ([0.1], [0.5, 0.1, 0.1, 0.1], (), Verdict.REGRESSED),
    ],
)
def test_on_a_noisy_host_no_change_is_claimed(before, after, noisy, verdict):
    then = disturbed(two("then", table_ms=1, view_ms=1, boot="boot-1"), before)
    now = disturbed(two("now", table_ms=2, view_ms=1, boot="boot-2"), after)
    found = compare(now, (3, then))
    assert found.noisy == noisy
    assert found.cells["create-table"].verdict is verdict
    assert found.cells["create-table"].ratio > 1.9
    assert found.cells["create-view"].verdict is Verdict.NO_MEASURABLE_CHANGE
