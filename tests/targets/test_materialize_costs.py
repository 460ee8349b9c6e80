"""Cost sheets against pages that a running environmentd gave, before and after 40 statements."""

import gzip
import json
from pathlib import Path
from statistics import fmean

import msgspec
import pytest
from page_server import served, whole

from lab.core.errors import ExternalError, UsageError
from lab.metrics.attribute import attribute
from lab.metrics.reading import Kind, difference
from lab.targets.materialize import costs, metrics

DATA = Path(__file__).parent / "data"
LATENCIES = json.loads((DATA / "materialize-create-table-latencies-ns.json").read_bytes())
IDLE_NS = 20_000_000_000
MODES = ("autocommit", "transaction")

# The families that the older generation has and the newer one has not, as one that ran may show.
SPIKE = b"""\
# TYPE mz_group_commit_confirm_leadership_seconds histogram
mz_group_commit_confirm_leadership_seconds_bucket{le="+Inf"} 4
mz_group_commit_confirm_leadership_seconds_sum 0.004
mz_group_commit_confirm_leadership_seconds_count 4
# TYPE mz_initialize_storage_collections_seconds histogram
mz_initialize_storage_collections_seconds_bucket{le="+Inf"} 0
mz_initialize_storage_collections_seconds_sum 0
mz_initialize_storage_collections_seconds_count 0
"""


def captured(name):
    return gzip.decompress((DATA / f"materialize-{name}.txt.gz").read_bytes())


def read(page, boot="boot"):
    with served(whole(page)) as url:
        return metrics.read(url, boot, timeout_s=10)


def without(page, *families):
    lines = page.splitlines(keepends=True)
    gone = tuple(f"{start}{name}".encode() for name in families for start in ("", "# TYPE "))
    return b"".join(line for line in lines if not line.startswith(gone))


@pytest.fixture(scope="module")
def before():
    return read(captured("650-tables-before"))


@pytest.fixture(scope="module")
def forty(before):
    """What moved in 40 CREATE TABLE, and at rest."""
    delta = difference(before, read(captured("650-tables-after-40-creates")))
    idle = difference(read(captured("650-tables-idle")), before)
    return (
        msgspec.structs.replace(delta, duration_ns=sum(LATENCIES)),
        msgspec.structs.replace(idle, duration_ns=IDLE_NS),
    )


@pytest.fixture(scope="module")
def found(forty):
    delta, idle = forty
    return attribute(
        costs.cost_sheet("create-table"),
        delta,
        statements=len(LATENCIES),
        client_mean_ns=fmean(LATENCIES),
        idle=idle,
    )


def flat(nodes):
    for node in nodes:
        yield node
        yield from flat(node.children)


def declared(node):
    yield node
    for child in node.children:
        yield from declared(child)


def test_the_tree_of_create_table_is_that_which_was_seen(found):
    nodes = {node.label: node for node in flat(found.tree)}
    shown = {label: round(node.ns / 1e6, 1) for label, node in nodes.items()}
    assert fmean(LATENCIES) / 1e6 == pytest.approx(449.1, abs=0.05)
    assert shown["query message"] == 447.2
    assert shown["execute message"] == 418.8
    assert shown["transact with DDL transaction"] == 416.5
    assert shown["transact with side effects"] == 416.5
    assert shown["apply implications"] == 303.8
    assert shown["catalog commit"] == 14.3
    assert shown["append table"] == pytest.approx(197, rel=0.02)
    assert nodes["append table"].overlaps

    chain = []
    level = found.tree
    while level:
        largest = max((each for each in level if not each.overlaps), key=lambda each: each.ns)
        chain.append(largest.label)
        level = [each for each in largest.children if not each.overlaps]
    assert chain == [
        "query message",
        "execute message",
        "transact with DDL transaction",
        "transact with side effects",
        "apply implications",
    ]
    assert all(node.nested and node.self_ns >= 0 for node in nodes.values())
    assert all(nodes[label].calls == 1 for label in chain)
    assert found.unattributed_ns == pytest.approx(1.8e6, abs=0.1e6)
    assert found.warnings == ()


def test_only_timers_of_this_generation_are_shown(found):
    labels = {node.label for node in flat(found.tree)}
    assert "group commit: table advancement" in labels
    assert not any("leadership" in label or label.startswith("storage") for label in labels)


def test_the_idle_rate_is_taken_off_what_works_all_the_time(found, forty):
    amounts = {each.label: each.per_statement for each in found.amounts}
    raw = {change.name: change.amount / 40 for change in forty[0].changes}
    assert raw['mz_persist_external_started_count{op="consensus_cas"}'] == pytest.approx(
        44.7, abs=0.1
    )
    # Half of the 45 calls in the time of a statement are made without one, too.
    assert 20 < amounts["consensus compare-and-set"] < 25
    assert 4 < amounts["oracle calls"] < 8
    assert amounts["blob"] > 50_000


def test_a_reading_is_small_and_its_names_are_stable(before):
    assert len(msgspec.json.encode(before)) < 7_000
    assert {series.name for series in before.series} <= {metrics.ITEMS, *costs.series()}
    by_name = {series.name: series for series in before.series}
    side_effects = 'mz_catalog_transact_seconds{method="catalog_transact_with_side_effects"}'
    assert by_name[f"{side_effects}.sum"].unit == "ns"
    assert by_name[f"{side_effects}.count"].kind is Kind.COUNTER
    assert by_name[f"{side_effects}.count"].value > 600
    items = by_name[metrics.ITEMS]
    assert (items.kind, items.value) == (Kind.GAUGE, 644)
    message = 'mz_slow_message_handling{message_kind="command-execute"}.sum'
    assert by_name[message].unit == "ns"
    assert before.bytes == len(captured("650-tables-before"))
    assert before.notes == ()


def test_an_older_server_has_the_other_timers():
    page = without(captured("650-tables-before"), "mz_group_commit_") + SPIKE
    reading = read(page)
    assert len(msgspec.json.encode(reading)) < 7_000
    later = difference(reading, read(page))
    sheet = costs.cost_sheet("create-table")
    found = attribute(sheet, later, statements=1, client_mean_ns=1)
    labels = {node.label for node in flat(found.tree)}
    assert "create table: create_collections" in labels
    assert "storage: table_register" in labels
    assert "group commit: confirm leadership" in labels
    assert "group commit: table advancement" not in labels
    assert not [warning for warning in found.warnings if "not measured" in warning]


def test_what_was_not_used_yet_counts_as_zero_and_what_the_server_lacks_is_left_out():
    empty = captured("empty")
    assert b"mz_catalog_transact_seconds" not in empty
    before, after = read(empty), read(captured("650-tables-before"))
    by_name = {series.name: series.value for series in before.series}
    method = 'mz_catalog_transact_seconds{method="catalog_transact_with_context"}'
    assert by_name[f"{method}.sum"] == by_name[f"{method}.count"] == 0
    assert by_name['mz_slow_message_handling{message_kind="create_view_stage_ready"}.count'] == 0
    assert not any("create_table_collections" in name for name in by_name)
    changes = {change.name: change.amount for change in difference(before, after).changes}
    assert changes[f"{method}.count"] > 50

    lacking = read(without(empty, "mz_apply_catalog_implications_seconds"))
    assert not any("mz_apply_catalog" in series.name for series in lacking.series)
    assert not any("mz_catalog_transact_" in series.name for series in lacking.series)


def test_another_start_of_the_server_voids_the_difference(before):
    page = captured("650-tables-before")
    assert not difference(before, read(page)).void
    assert difference(before, read(page, boot="another")).void == "the server was restarted"
    line = b'mz_start_time_environmentd{build_type="debug",version="26.24.0-dev.0"} 14061'
    assert line in page
    restarted = read(page.replace(line, line[:-1] + b"7"))
    assert difference(before, restarted).void == "the server was restarted"
    with_process = read(
        b"# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 5\n" + page
    )
    assert difference(before, with_process).void == "the server was restarted"


def test_metrics_about_ddl_that_no_sheet_knows_are_noted_and_do_no_harm(before):
    new = b"# TYPE mz_catalog_new_seconds counter\nmz_catalog_new_seconds 4\n"
    other = b"# TYPE mz_arrangement_new counter\nmz_arrangement_new 4\n"
    reading = read(captured("650-tables-before") + new + other)
    (note,) = reading.notes
    assert "mz_catalog_new_seconds" in note
    assert "arrangement" not in note
    assert reading.series == before.series


def test_another_servers_page_is_refused():
    with pytest.raises(ExternalError) as caught:
        read(b"# TYPE go_gc gauge\ngo_gc 4\n")
    assert caught.value.code == "metrics.foreign"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("statement", costs.STATEMENTS)
def test_every_sheet_is_sound(statement, mode, before):
    sheet = costs.cost_sheet(statement, mode)
    nodes = [node for root in sheet.roots for node in declared(root)]
    labels = [node.label for node in nodes]
    assert len(labels) == len(set(labels))
    assert sheet.rest
    # The commit of a catalog transaction is found once, under exactly one method's timer.
    assert labels.count("catalog commit") == labels.count("apply implications") == 1
    # A server of the newer generation has all but the timers of the other one.
    there = {series.name for series in before.series}
    missing = {node.label for node in nodes if not there.issuperset((*node.time, *node.calls))}
    assert missing == {node.label for node in nodes if node.generation == costs.SPIKE}


def test_methods_nest_as_the_server_nests_them():
    def path(statement, mode="autocommit"):
        def search(nodes, above):
            for node in nodes:
                if node.label == "catalog commit":
                    return above
                if below := search(node.children, (*above, node.label)):
                    return below
            return ()

        return search(costs.cost_sheet(statement, mode).roots, ())

    assert path("drop-view") == ("query message", "execute message", "transact with context")
    assert path("create-view") == (
        "query message",
        "create view message",
        "transact",
        "transact with context",
    )
    assert path("create-index") == (
        "query message",
        "create index message",
        "transact with side effects",
    )
    assert path("create-table-from-source")[1] == "purified message"
    # In a transaction the two methods are disjoint: a dry run, and the work at COMMIT.
    assert path("alter-rename", "transaction") == ("execute message", "transact with side effects")
    assert path("drop-table", "transaction") == ("put-off message", "transact with context")


def test_an_unknown_statement_names_the_nearest():
    with pytest.raises(UsageError) as caught:
        costs.cost_sheet("create-tabel")
    assert "create-table" in caught.value.remedy


def test_browsing_counts_what_there_is_for_each_object(before):
    page = captured("650-tables-before")
    with served(whole(page)) as url:
        everything = metrics.browse(url, "boot", "")
        oracle = metrics.browse(url, "boot", 'mz_ts_oracle_seconds{op="write_ts"}')
        upper = metrics.browse(url, "boot", "mz_persist_shard_upper")
    units = {series.name: series.unit for series in everything.series}
    assert units["mz_persist_shard_upper"] == "series"
    assert not any(name.startswith("mz_persist_shard_upper{") for name in units)
    assert [series.name for series in oracle.series] == ['mz_ts_oracle_seconds{op="write_ts"}']
    assert len(upper.series) > 100
    assert everything.boot == before.boot


def test_a_saved_page_is_the_servers(tmp_path):
    page = captured("empty")
    with served(whole(page)) as url:
        assert metrics.save(url, tmp_path / "page.txt.gz") == len(page)
    assert gzip.decompress((tmp_path / "page.txt.gz").read_bytes()) == page


def test_the_size_and_the_cost_of_a_page_are_foreseen(before):
    # Seen: 3.9 MB at 650 tables, 21.7 MB at 4,500.
    assert metrics.foreseen_bytes(650) == pytest.approx(3.9e6, rel=0.05)
    assert metrics.foreseen_bytes(4_500) == pytest.approx(21.7e6, rel=0.05)
    reading = msgspec.structs.replace(before, bytes=3_900_000, cost_ns=200_000_000)
    assert metrics.foreseen_ns(reading, 100_000) == pytest.approx(24e9, rel=0.05)
    assert metrics.foreseen_ns(reading, 0) == reading.cost_ns
