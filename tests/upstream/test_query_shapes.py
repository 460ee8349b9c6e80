"""Each statement that an upstream is asked has one shape, whatever its text."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lab.upstream.shapes import OTHER, SHAPES, shape_of

KNOWN = [
    # What making one table from a source asks.
    ("connection-checks", "SELECT pg_catalog.current_setting($1) AS server_version_num"),
    ("connection-checks", "SHOW wal_level"),
    ("connection-checks", "SELECT current_setting($1)::int8 AS max_wal_senders"),
    (
        "connection-checks",
        "SELECT current_setting($1)::int8 - (SELECT count(*) FROM pg_catalog.pg_replication_slots)",
    ),
    ("publication", "SELECT oid FROM pg_publication WHERE pubname = $1"),
    (
        "publication",
        "SELECT c.oid, p.tablename FROM pg_class c JOIN pg_publication_tables p"
        " ON c.relname = p.tablename WHERE p.pubname = $1",
    ),
    (
        "columns",
        "SELECT a.attname, a.atttypid FROM pg_attribute a LEFT JOIN pg_constraint b"
        " ON a.attrelid = b.conrelid WHERE a.attrelid = ANY ($1) ORDER BY a.attnum",
    ),
    (
        "constraints",
        "SELECT conrelid, conkey FROM pg_constraint JOIN pg_index ON indexrelid = conindid"
        " WHERE conrelid = ANY ($1)",
    ),
    (
        "privileges",
        "WITH n AS (SELECT $1) SELECT * FROM n WHERE NOT has_schema_privilege(n.oid, $2)",
    ),
    (
        "privileges",
        "SELECT c.relname FROM pg_class c WHERE NOT has_table_privilege(CURRENT_USER, c.oid, $2)",
    ),
    ("privileges", "SELECT 1 FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid"),
    ("replica-identity", "SELECT c.relname FROM pg_class c WHERE relreplident <> $2"),
    # What a source does of its own.
    (
        "snapshot",
        "SELECT c.oid, p.tablename FROM pg_class c JOIN pg_publication_tables p"
        " ON c.relname = p.tablename WHERE p.pubname = $1 AND c.oid = ANY ($2)",
    ),
    ("snapshot", "SELECT $2 FROM pg_publication WHERE pubname = $1"),
    ("snapshot", "SELECT pg_current_wal_lsn()"),
    ("snapshot", "SELECT timeline_id FROM pg_control_checkpoint()"),
    ("snapshot", "SHOW wal_sender_timeout;"),
    ("snapshot", "SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1"),
    ("snapshot", "SELECT pg_export_snapshot()"),
    ("snapshot", "SET TRANSACTION SNAPSHOT '00000003-1B-1'"),
    ("snapshot", 'COPY (SELECT "id" FROM public.bench_table_1) TO STDOUT'),
    ("snapshot", 'SELECT count(*) as count from "public"."bench_table_7";'),
    ("snapshot", "SELECT oid, relpages FROM pg_class WHERE oid IN ($1)"),
    ("snapshot", 'START_REPLICATION SLOT "s" LOGICAL 0/0 ("publication_names" \'p\')'),
    ("snapshot", 'CREATE_REPLICATION_SLOT s TEMPORARY LOGICAL "pgoutput" USE_SNAPSHOT'),
    # What postgres_fdw asks.
    ("session", "SET datestyle = $1"),
    ("session", "START TRANSACTION ISOLATION LEVEL REPEATABLE READ"),
    ("session", "BEGIN"),
    ("session", "  COMMIT TRANSACTION"),
    ("session", "FETCH 100 FROM c1"),
    ("imported-catalog", "SELECT $1 FROM pg_catalog.pg_namespace WHERE nspname = $2"),
    (
        "imported-catalog",
        "SELECT relname, attname, format_type(atttypid, atttypmod) FROM pg_class c"
        " JOIN pg_namespace n ON relnamespace = n.oid LEFT JOIN pg_attribute a ON attrelid = c.oid"
        " LEFT JOIN pg_attrdef ad ON adrelid = c.oid WHERE n.nspname = $3",
    ),
    # None of these.
    ("other", "SELECT $1"),
    ("other", "SELECT count(*) FROM a, b WHERE a.x = b.x"),
    ("other", "INSERT INTO t VALUES ($1)"),
    ("other", ""),
]


@pytest.mark.parametrize(("shape", "text"), KNOWN, ids=[text[:60] for _, text in KNOWN])
def test_a_known_statement(shape, text):
    assert shape_of(text) == shape


@pytest.mark.parametrize(("shape", "text"), KNOWN, ids=[text[:60] for _, text in KNOWN])
def test_how_it_is_written_does_not_matter(shape, text):
    assert shape_of(text.upper() if '"' not in text else text) == shape
    assert shape_of("/* from here */\n" + text.replace(" ", "\n\t ")) == shape
    assert shape_of(text + " -- pg_publication\n") == shape


def test_what_stands_in_a_string_or_a_comment_is_no_word_of_it():
    assert shape_of("SELECT 'pg_publication pubname oid'") == OTHER
    assert shape_of("SELECT 1 /* pg_attribute") == OTHER
    assert shape_of("SELECT $tag$ relreplident $tag$") == OTHER
    assert shape_of("SELECT $$ relreplident $$, relreplident FROM x") == "replica-identity"
    assert shape_of('SELECT "it\'s", relreplident FROM x') == "replica-identity"
    assert shape_of("SELECT $1, relreplident, $2 FROM x") == "replica-identity"


@given(st.text())
@example("'")
@example("/*")
@example("$a$")
@example('"')
def test_any_text_has_one_shape(text):
    assert shape_of(text) in SHAPES


@given(st.lists(st.sampled_from([word for _, text in KNOWN for word in text.split()])))
def test_any_mixture_of_known_words_has_one_shape(words):
    assert shape_of(" ".join(words)) in SHAPES


@given(st.sampled_from(KNOWN), st.integers(0, 200), st.sampled_from(["\n", "\t", "  ", "/* */"]))
def test_white_space_between_words_does_not_matter(known, at, space):
    shape, text = known
    words = text.split(" ")
    at = min(at, len(words))
    assert shape_of(space.join([" ".join(words[:at]), " ".join(words[at:])])) == shape


def test_the_shapes_are_told_apart_by_name():
    assert len(set(SHAPES)) == len(SHAPES)
