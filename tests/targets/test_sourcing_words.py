"""What is read out of definitions and errors, and how sets of tables are told."""

import json
import re
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.targets import sourcing as common
from lab.targets.base import Trouble
from lab.targets.counting import tally
from lab.targets.diagnosis import described, diagnose
from lab.targets.materialize import costs, source_catalog
from lab.targets.materialize import troubles as materialize
from lab.targets.postgres import costs as postgres_costs
from lab.targets.postgres import troubles as postgres
from lab.upstream.base import Link

CAPTURED = Path(__file__).parents[1] / "standin/data/sql-source.jsonl"
# As a running environmentd (v26.24) answered, beside what was captured.
ANSWERED = {
    'XX000 db error: FATAL: password authentication failed for user "u"': "upstream.refused",
    "XX000 error connecting to server: Connection refused (os error 111)": "upstream.not-running",
    "XX000 reference to public.bench_table_303 not found in source": "upstream.publication",
    "XX000 POSTGRES source validation: insufficient privileges": "upstream.publication",
    "XX000 POSTGRES source validation: referenced items not tables with REPLICA IDENTITY FULL": (
        "upstream.publication"
    ),
    "XX000 PostgreSQL server has insufficient number of replication slots available": (
        "upstream.slots"
    ),
    "XX000 server must have wal_level >= logical, but has replica": "upstream.unfit",
    "40001 another session modified the catalog while this DDL transaction was open": (
        "batch.conflict"
    ),
    "53000 creating table would violate max_tables limit (desired: 21, limit: 20, current: 20)": (
        "batch.limit"
    ),
    "XX000 unknown catalog item 'ddl_lab_upstream.source'": "source.missing",
    "XX000 unknown catalog item 'materialize.ddl_lab_upstream.source'": "source.missing",
}


def captured(sql: str) -> psycopg.Error:
    """Return the captured error of a statement that begins so, as psycopg would raise it."""
    for line in CAPTURED.read_text().splitlines():
        answer = json.loads(line)
        if answer.get("sql", "").startswith(sql) and answer["status"] == "FATAL_ERROR":
            state, said = answer["sqlstate"], [answer["message"], answer.get("detail", "")]
            return psycopg.errors.lookup(state)(" ".join(said).strip())
    raise AssertionError(sql)


@pytest.mark.parametrize(
    ("sql", "code", "trouble"),
    [
        ("CREATE CONNECTION up_bad", "upstream.not-running", Trouble.UPSTREAM),
        ("CREATE CONNECTION up_nouser", "upstream.refused", Trouble.UPSTREAM),
        ("CREATE SOURCE up_src0", "upstream.publication", Trouble.UPSTREAM),
        ("CREATE TABLE bt_x", "upstream.publication", Trouble.UPSTREAM),
        ("CREATE TABLE bt_15", "batch.conflict", Trouble.CONFLICT),
        ("CREATE TABLE bt_16", "batch.limit", Trouble.LIMIT),
    ],
)
def test_captured_errors_are_understood(sql, code, trouble):
    error = captured(sql)
    known = diagnose(described(error), materialize.MEANINGS)
    assert known is not None
    assert (known.code, materialize.classify(error, "")) == (code, trouble)


@pytest.mark.parametrize("sql", ["CREATE TABLE bt_1 ", "CREATE TABLE plain", "DROP SOURCE"])
def test_captured_errors_that_have_nothing_to_do_with_an_upstream(sql):
    error = captured(sql)
    assert diagnose(described(error), materialize.MEANINGS) is None
    assert materialize.classify(error, "") in (Trouble.OVERTAKEN, Trouble.REFUSED)


@pytest.mark.parametrize(("error", "code"), ANSWERED.items())
def test_answers_are_understood(error, code):
    known = diagnose(error, materialize.MEANINGS)
    assert known is not None
    assert known.code == code
    assert known.why == error
    assert not re.search(r"--yes|DROP ", known.remedy)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("53200 out of shared memory", "batch.limit"),
        ("40001 could not serialize access", "batch.conflict"),
        ('42704 server "ddl_lab_upstream" does not exist', "source.missing"),
        (
            '08001 could not connect to server "s" connection to server at "127.0.0.1", port 1'
            " failed: FATAL: sorry, too many clients already",
            "upstream.slots",
        ),
        (
            '08001 could not connect to server "s" FATAL: no pg_hba.conf entry for host "1"',
            "upstream.refused",
        ),
    ],
)
def test_errors_of_foreign_tables_are_understood(error, code):
    known = diagnose(error, postgres.MEANINGS)
    assert known is not None
    assert known.code == code


@pytest.mark.parametrize("meanings", [materialize.MEANINGS, postgres.MEANINGS])
def test_what_is_not_known_is_not_guessed(meanings):
    for error in ("42601 syntax error", "22023 invalid value", "the COMMIT answered ROLLBACK", ""):
        assert diagnose(error, meanings) is None


@pytest.mark.parametrize(
    "definition",
    [
        'CREATE CONNECTION "materialize"."ddl_lab_upstream"."upstream" TO POSTGRES (DATABASE ='
        " 'data base', HOST = '10.0.0.1', PASSWORD = SECRET"
        ' [u1 AS "materialize"."ddl_lab_upstream"."password"], PORT = 15432,'
        " USER = 'o''neil')",
        "CREATE CONNECTION c TO POSTGRES (HOST '10.0.0.1', PORT 15432, DATABASE \"data base\","
        " USER 'o''neil', PASSWORD SECRET s)",
    ],
)
def test_options_are_read_as_the_catalog_spells_them(definition):
    assert source_catalog.options(definition) == {
        "host": "10.0.0.1",
        "port": "15432",
        "database": "data base",
        "user": "o'neil",
    }


def test_options_of_a_source():
    definition = (
        'CREATE SOURCE "materialize"."ddl_lab_upstream"."source" IN CLUSTER [u1] FROM POSTGRES'
        ' CONNECTION [u5 AS "materialize"."s"."upstream"] (PUBLICATION = \'ddl_lab\', DETAILS ='
        " '0a05')"
    )
    assert source_catalog.options(definition) == {"publication": "ddl_lab"}


TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1)


@given(TEXTS, TEXTS)
def test_any_name_comes_back(database, user):
    definition = (
        f"CREATE CONNECTION c TO POSTGRES (HOST 'h', DATABASE {common.literal(database)},"
        f" USER = {common.identifier(user)})"
    )
    assert source_catalog.options(definition) == {"host": "h", "database": database, "user": user}


TABLES = st.frozensets(st.integers(1, 40))


@given(TABLES, st.integers(0, 40))
def test_differences_count_what_is_missing_and_what_is_too_many(seen, tables):
    lines = common.reference_differences(seen, tables)
    published = set(range(1, tables + 1))
    told = {line[0]: int(line.split()[1]) for line in lines}
    assert told.get("+", 0) == len(published - seen)
    assert told.get("-", 0) == len(seen - published)
    assert bool(lines) is (seen != published)


@given(TABLES)
def test_differences_name_the_ranges(seen):
    line = "".join(common.reference_differences(seen, 0))
    listed = line[line.find("(") + 1 : line.find(")")]
    ranges = [part.split(" to ") for part in listed.split(" and ")[0].split(", ") if part]
    named = {n for r in ranges for n in range(int(r[0]), int(r[-1]) + 1)}
    assert named <= seen
    assert named == seen or "more ranges" in line


def test_only_bench_tables_have_numbers():
    names = ["bench_table_7", "bench_table_07", "bench_table_", "my_bench_table_1", "bench_table_x"]
    assert common.numbers(names) == {7}


@pytest.mark.parametrize(
    ("schema", "own"),
    [
        ("ddl_lab_upstream", True),
        ("ddl_lab_batch_100", True),
        ("ddl_lab_batches", False),
        ("ddl_lab", False),
        ("public", False),
    ],
)
def test_whose_schema_it_is(schema, own):
    counts = tally([("table", schema, 2), ("view", "ddl_lab_fixture", 1), ("view", "public", 3)])
    assert counts.upstream == (2 if own else 0)
    assert counts.fixtures == 1
    assert counts.total == (3 if own else 5)


def test_a_password_is_blotted_out():
    link = Link(host="h", port=1, database="d", password="s3cret", tables=1)
    assert common.without_password("it is s3cret, s3cret", link) == "it is …, …"
    assert "s3cret" not in repr(link)


def test_cost_sheets_say_that_the_upstream_is_beside_them():
    sheets = (
        costs.cost_sheet("create-table-from-source", "transaction"),
        postgres_costs.cost_sheet(postgres_costs.IMPORT),
    )
    for sheet in sheets:
        assert "the upstream" in sheet.rest
    assert "the upstream" not in postgres_costs.cost_sheet("create-table").rest
