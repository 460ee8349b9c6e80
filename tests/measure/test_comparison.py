"""Which earlier run is compared with, and what is said of it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import QUIET, around, block, in_blocks, run, sample, workload

from lab.measure.comparison import compare, differences, find_comparable
from lab.measure.findings import Difference
from lab.measure.record import Passport
from lab.stats.summary import Verdict
from lab.targets.base import Operation

fields = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("xyz"))


def with_passport(alike, name):
    return msgspec.structs.replace(run(), passport=Passport(alike=alike, noted={"n": str(name)}))


@given(before=fields, after=fields)
def test_differences_name_exactly_the_unlike_fields(before, after):
    found = differences(
        *(with_passport(fields, name) for fields, name in ((before, 1), (after, 2)))
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


def test_what_is_unknown_is_like_nothing():
    runs = [with_passport({"host.id": "unknown", "a": "1"}, name) for name in (1, 2)]
    assert differences(*runs) == (Difference("host.id", "unknown", "unknown"),)


def table(name, **more):
    return run(*in_blocks(create_table=around(1)), name=name, **more)


def test_a_statement_with_other_sql_is_not_compared_and_named():
    both = {"create_table": around(1), "create_view": around(1)}
    kinds = ("create-table", "create-view")
    before = run(*in_blocks(**both), name="then", statements=kinds)
    work = workload(create_table="CREATE TABLE t_{i} (a int, b int)")
    now = run(*in_blocks(boot="boot-2", **both), name="now", statements=kinds, work=work)
    found = compare(now, (3, before))
    assert list(found.cells) == ["create-view"]
    assert found.reworded == ("create-table",)
    assert found.differences == ()
    assert find_comparable(now, [(3, before)]) == (3, before)


def test_a_run_with_other_sql_throughout_gives_way_to_an_older_like_one():
    work = workload(create_table="CREATE TABLE t_{i} (a int, b int)")
    reworded, older = table("reworded", work=work), table("older")
    assert find_comparable(table("now"), [(4, reworded), (3, older)]) == (3, older)
    assert find_comparable(table("now"), [(4, reworded)]) == (4, reworded)
    found = compare(table("now"), (4, reworded))
    assert (found.cells, found.reworded) == ({}, ("create-table",))


def test_a_rename_back_with_other_sql_is_another_statement():
    kinds = ("alter-rename",)
    before = run(*in_blocks(alter_rename=around(1)), name="then", statements=kinds)
    *pairs, rename = before.workload.cycles
    other = msgspec.structs.replace(rename, alternate=(Operation("alter-rename", "elsewhere"),))
    work = msgspec.structs.replace(before.workload, cycles=(*pairs, other))
    now = run(*in_blocks(alter_rename=around(1)), name="now", statements=kinds, work=work)
    assert compare(now, (3, before)).reworded == ("alter-rename",)


def test_other_fixtures_are_a_difference():
    before = table("then", work=workload(setup=("CREATE TABLE base (a text)",)))
    found = compare(table("now"), (3, before))
    assert found.cells == {}
    assert found.differences == (
        Difference("workload.fixtures", "CREATE TABLE base (a text)", "CREATE TABLE base (a int)"),
    )


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
        (6, run(*in_blocks(create_view=around(1)), name="views", statements=("create-view",))),
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
        *in_blocks(create_table=around(table_ms), create_view=around(view_ms), boot=boot),
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
    """Return ``made``, in whose blocks tasks waited for these shares of the time."""
    blocks = tuple(
        msgspec.structs.replace(
            block, noise=msgspec.structs.replace(QUIET, pressure={"cpu": share})
        )
        for block, share in zip(made.blocks, shares, strict=True)
    )
    return msgspec.structs.replace(made, blocks=blocks)


@pytest.mark.parametrize(
    ("before", "after", "noisy", "verdict"),
    [
        ([0.1] * 4, [0.1] * 4, (), Verdict.REGRESSED),
        ([0.1] * 4, [0.9] * 4, ("this run",), Verdict.INCONCLUSIVE),
        ([0.9] * 4, [0.1] * 4, ("the earlier run",), Verdict.INCONCLUSIVE),
        ([0.9] * 4, [0.9] * 4, ("the earlier run", "this run"), Verdict.INCONCLUSIVE),
        # One disturbed block among many is too little to give up a verdict.
        ([0.1] * 4, [0.5, 0.1, 0.1, 0.1], (), Verdict.REGRESSED),
    ],
)
def test_on_a_noisy_host_nothing_is_claimed(before, after, noisy, verdict):
    then = disturbed(two("then", table_ms=1, view_ms=1, boot="boot-1"), before)
    now = disturbed(two("now", table_ms=2, view_ms=1, boot="boot-2"), after)
    found = compare(now, (3, then))
    assert found.noisy == noisy
    assert found.cells["create-table"].verdict is verdict
    assert found.cells["create-table"].ratio > 1.9
    same = found.cells["create-view"]
    assert same.verdict is (Verdict.INCONCLUSIVE if noisy else Verdict.NO_MEASURABLE_CHANGE)
    assert same.reasons == (("noisy host",) if noisy else ())
