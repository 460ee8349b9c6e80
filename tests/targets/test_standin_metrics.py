"""The stand-in's `/metrics` moves with each statement, as the real one's does."""

import re
import threading

import psycopg
import pytest
from standin import Law, set_faults
from standin_support import environment, metadata_store, root_folder

TRANSACT = "mz_catalog_transact_seconds"
FAST = {"boot_ms": 60.0, "build_seconds": 0.0, "idle_drift": False}
STATEMENTS = 20


@pytest.fixture(scope="module")
def metadata():
    with root_folder() as root, metadata_store(root) as made:
        yield made


@pytest.fixture(scope="module", params=["head", "spike"])
def made(request, metadata):
    with environment(metadata, law=Law(5, 0), generation=request.param, **FAST) as made:
        made.generation = request.param
        made.up()
        yield made


def page(made) -> dict[str, float]:
    status, text = made.get("/metrics")
    assert status == 200
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {series: float(value) for series, _, value in lines}


def moved(made, *statements: str) -> dict[str, float]:
    before = page(made)
    with made.connect() as connection:
        for statement in statements:
            connection.execute(statement.encode())
    after = page(made)
    return {series: value - before.get(series, 0.0) for series, value in after.items()}


def histogram(delta: dict[str, float], name: str, labels: str = "") -> tuple[float, float]:
    """Return how often and how long."""
    tail = f"{{{labels}}}" if labels else ""
    return delta[f"{name}_count{tail}"], delta[f"{name}_sum{tail}"]


def test_create_table_is_booked_and_nested(made):
    delta = moved(made, *(f"CREATE TABLE t{n} (a int)" for n in range(STATEMENTS)))
    chain = [
        histogram(delta, "mz_pgwire_message_processing_seconds", 'message_type="query"'),
        histogram(delta, "mz_slow_message_handling", 'message_kind="command-execute"'),
        histogram(delta, TRANSACT, 'method="catalog_transact_with_ddl_transaction"'),
        histogram(delta, TRANSACT, 'method="catalog_transact_with_side_effects"'),
        histogram(delta, "mz_apply_catalog_implications_seconds"),
    ]
    assert [count for count, _ in chain] == [STATEMENTS] * 5
    seconds = [total for _, total in chain]
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[0] >= STATEMENTS * 0.0075  # the law's 5 ms, times 1.5 for soft assertions
    assert delta['mz_query_total{session_type="user",statement_type="create_table"}'] == STATEMENTS
    assert delta["mz_catalog_transaction_commits"] == STATEMENTS
    assert delta['mz_catalog_collection_entries{collection="item"}'] == STATEMENTS
    ids, _ = histogram(delta, "mz_catalog_allocate_id_seconds")
    assert ids == (1 if made.generation == "head" else STATEMENTS)


def test_generations_have_families_of_their_own(made):
    names = {series.partition("{")[0] for series in page(made)}
    head = {"mz_group_commit_table_advancement_seconds_sum"}
    spike = {
        "mz_create_table_collections_seconds_sum",
        "mz_group_commit_confirm_leadership_seconds_sum",
    }
    assert (head <= names, spike <= names) == (
        made.generation == "head",
        made.generation == "spike",
    )


@pytest.mark.parametrize(
    ("statement", "method"),
    [
        ("CREATE VIEW {} AS SELECT 1", "catalog_transact"),
        ("CREATE MATERIALIZED VIEW {} AS SELECT 1", "catalog_transact_with_side_effects"),
        ("DROP VIEW IF EXISTS drop_{0}", None),
        ("CREATE SCHEMA {}", "catalog_transact_with_context"),
    ],
)
def test_methods_by_statement(made, statement, method):
    name = "x" + re.sub(r"\W", "_", statement[:14]).lower()
    delta = moved(made, statement.format(name))
    if method is not None:
        count, seconds = histogram(delta, TRANSACT, f'method="{method}"')
        assert count == 1
        assert seconds > 0


def test_transaction_of_renames(made):
    name = f"renamed_{made.generation}"
    with made.connect() as connection:
        connection.execute(f"CREATE TABLE {name} (a int)".encode())
    steps = [f"ALTER TABLE {name} RENAME TO {name}_2", f"ALTER TABLE {name}_2 RENAME TO {name}_3"]
    delta = moved(made, "BEGIN", *steps, "COMMIT")
    dry, _ = histogram(delta, TRANSACT, 'method="catalog_transact_with_ddl_transaction"')
    real, _ = histogram(delta, TRANSACT, 'method="catalog_transact_with_side_effects"')
    assert (dry, real) == (2, 1)


def test_page_grows_with_the_tables(made):
    before = len(made.get("/metrics")[1])
    with made.connect() as connection:
        for number in range(10):
            connection.execute(f"CREATE TABLE grown{number} (a int)".encode())
    grown = len(made.get("/metrics")[1]) - before
    assert 40_000 < grown < 60_000


def test_buckets_are_cumulative(made):
    name = "mz_catalog_transact_seconds_bucket"
    buckets = [
        value for series, value in page(made).items() if "side_effects" in series and name in series
    ]
    assert buckets == sorted(buckets)


def test_truncated_page(made):
    set_faults(made.checkout, truncated_metrics=1000)
    with pytest.raises(Exception, match="IncompleteRead"):
        made.get("/metrics")
    set_faults(made.checkout)


def test_queries_can_be_cancelled_and_time_out(made):
    worker = next(w for w in made.processes("clusterd") if "cluster-s2-" in " ".join(w.cmdline()))
    worker.suspend()
    with made.connect() as connection:
        worker.kill()
        timer = threading.Timer(0.2, connection.cancel_safe)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled, match="user request"):
            connection.execute("SELECT count(*) FROM mz_objects")
        timer.join()
        # The process is started again after a while, and the same query then answers.
        connection.execute("SELECT count(*) FROM mz_objects")


def test_statement_that_is_put_off_to_the_commit(made):
    delta = moved(made, "BEGIN", f"CREATE TABLE off_{made.generation} (a int)", "COMMIT")
    put_off = histogram(
        delta,
        "mz_slow_message_handling",
        'message_kind="execute_single_statement_transaction"',
    )
    transact = histogram(delta, TRANSACT, 'method="catalog_transact_with_ddl_transaction"')
    assert (put_off[0], transact[0]) == (1, 1)
    assert put_off[1] > transact[1] > 0
