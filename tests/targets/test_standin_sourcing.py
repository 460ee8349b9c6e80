"""What the stand-in does upstream is what a real one does there, and its replay can grow."""

import time

import psycopg
import pytest
from standin import Law
from standin_support import environment, metadata_store, root_folder, wait_until

from lab.upstream.shapes import shape_of

TABLES = 40
FAST = {"boot_ms": 60.0, "build_seconds": 0.0, "idle_drift": False}
FITTING = {
    "wal_level": "logical",
    "shared_preload_libraries": "pg_stat_statements",
    "max_replication_slots": "4",
}
ROLE = "reader"
ASKED = {
    "connection-checks": 4,
    "publication": 2,
    "columns": 1,
    "constraints": 1,
    "privileges": 3,
    "replica-identity": 1,
}
"""Statements of each shape that making one table asks, seen of a real environmentd."""


@pytest.fixture(scope="module")
def metadata():
    with root_folder() as root, metadata_store(root, **FITTING) as made:
        with made.connect() as connection:
            connection.execute("CREATE DATABASE upstream")
            connection.execute(f"CREATE ROLE {ROLE} LOGIN REPLICATION PASSWORD 'pw'")
        with upstream(made) as connection:
            connection.execute("CREATE EXTENSION pg_stat_statements")
            for number in range(1, TABLES + 1):
                add_table(connection, number)
            connection.execute("CREATE PUBLICATION bench FOR TABLE bench_table_1")
            for number in range(2, TABLES + 1):
                connection.execute(f"ALTER PUBLICATION bench ADD TABLE bench_table_{number}")
        yield made


@pytest.fixture(scope="module", params=[0.0, 3.0], ids=["no replay", "replay"])
def law(request):
    return Law(4, 0, soft_assertion_factor=1, per_position_ms=request.param)


@pytest.fixture(scope="module")
def plain(metadata):
    with environment(metadata, law=Law(2, 0), **FAST) as made:
        made.up()
        yield made


@pytest.fixture
def connection(plain):
    with plain.connect() as connection:
        make_source(plain, connection)
        yield connection
        connection.execute("DROP SOURCE IF EXISTS source CASCADE")
        connection.execute("DROP CONNECTION up")
        connection.execute("DROP SECRET pw")
    wait_until(lambda: not slots(plain.metadata))


def upstream(metadata, database: str = "upstream") -> psycopg.Connection:
    return psycopg.connect(metadata.url.replace("/materialize", f"/{database}"), autocommit=True)


def add_table(connection: psycopg.Connection, number: int) -> None:
    name = f"bench_table_{number}"
    connection.execute(f"CREATE TABLE {name} (id int PRIMARY KEY, a int, b text)".encode())
    connection.execute(f"ALTER TABLE {name} REPLICA IDENTITY FULL".encode())
    connection.execute(f"GRANT SELECT ON {name} TO {ROLE}".encode())


def make_source(made, connection: psycopg.Connection) -> None:
    port = psycopg.conninfo.conninfo_to_dict(made.metadata.url)["port"]
    with made.connect("mz_system") as system:
        system.execute("ALTER SYSTEM SET enable_create_table_from_source = true")
    connection.execute("CREATE SECRET pw AS 'pw'")
    connection.execute(
        f"CREATE CONNECTION up TO POSTGRES (HOST '127.0.0.1', PORT {port}, DATABASE upstream,"
        f" USER {ROLE}, PASSWORD SECRET pw)".encode()
    )
    connection.execute("CREATE SOURCE source FROM POSTGRES CONNECTION up (PUBLICATION 'bench')")


def create(number: int) -> bytes:
    table = f"bench_table_{number}"
    return f"CREATE TABLE t_{number} FROM SOURCE source (REFERENCE public.{table})".encode()


def slots(metadata) -> list[str]:
    with metadata.connect() as connection:
        rows = connection.execute("SELECT slot_name FROM pg_replication_slots").fetchall()
    return [name for (name,) in rows]


def status(connection: psycopg.Connection) -> str:
    query = "SELECT status FROM mz_internal.mz_source_statuses WHERE name = 'source'"
    return connection.execute(query).fetchone()[0]


def failure(connection: psycopg.Connection, number: int = 1) -> str:
    with pytest.raises(psycopg.Error) as raised:
        connection.execute(create(number))
    diagnostic = raised.value.diag
    return f"{raised.value.sqlstate} {diagnostic.message_primary} | {diagnostic.message_detail}"


def test_each_table_asks_a_connection_of_its_own_a_dozen_things(plain, connection):
    with upstream(plain.metadata) as watching:
        query = f"""
            SELECT s.query, s.calls, s.rows FROM pg_stat_statements s
              JOIN pg_roles r ON r.oid = s.userid WHERE r.rolname = '{ROLE}'
        """
        opened = "SELECT sessions FROM pg_stat_database WHERE datname = 'upstream'"
        watching.execute("SELECT pg_stat_statements_reset()")
        before = watching.execute(opened).fetchone()[0]
        connection.execute("BEGIN")
        for number in (1, 2, 3):
            connection.execute(create(number))
        wait_until(lambda: watching.execute(opened).fetchone()[0] == before + 3, 5)
        rows = watching.execute(query.encode()).fetchall()
        connection.execute("ROLLBACK")
        assert watching.execute(opened).fetchone()[0] == before + 3
    calls: dict[str, int] = {}
    for text, count, _ in rows:
        calls[shape_of(text)] = calls.get(shape_of(text), 0) + count
    assert calls == {shape: 3 * count for shape, count in ASKED.items()}
    returned = {shape_of(text): most for text, _, most in sorted(rows, key=lambda row: row[2])}
    assert returned["publication"] == 3 * TABLES
    assert returned["columns"] == 9 * TABLES
    assert returned["constraints"] == 3 * TABLES


def test_a_source_has_a_slot_from_its_first_table_until_it_is_dropped(plain, connection):
    assert slots(plain.metadata) == []
    assert status(connection) == "created"
    connection.execute(create(1))
    wait_until(lambda: slots(plain.metadata) != [], 5)
    query = "SELECT replication_slot FROM mz_internal.mz_postgres_sources"
    assert slots(plain.metadata) == [connection.execute(query).fetchone()[0]]
    assert status(connection) == "running"

    connection.execute("DROP SOURCE source CASCADE")
    # Its secret goes at once, the slot some time later.
    assert slots(plain.metadata) != []
    wait_until(lambda: slots(plain.metadata) == [], 5)
    made = "SELECT count(*) FROM mz_tables WHERE name LIKE 't\\_%'"
    assert connection.execute(made.replace("\\", "")).fetchone() == (0,)


def test_a_transaction_that_is_rolled_back_leaves_no_slot(plain, connection):
    connection.execute("BEGIN")
    connection.execute(create(1))
    connection.execute("ROLLBACK")
    time.sleep(0.3)
    assert slots(plain.metadata) == []


def test_a_slot_outlives_the_server_and_goes_with_the_source(metadata):
    with environment(metadata, law=Law(2, 0), **FAST) as made:
        made.up()
        with made.connect() as connection:
            make_source(made, connection)
            connection.execute(create(1))
        wait_until(lambda: slots(metadata) != [], 5)
        before = slots(metadata)
        made.stop()
        made.up()
        with made.connect() as connection:
            assert slots(metadata) == before
            connection.execute("DROP SOURCE source CASCADE")
        wait_until(lambda: slots(metadata) == [], 5)


def test_a_table_published_later_is_there_without_a_refresh(plain, connection):
    number = TABLES + 1
    with upstream(plain.metadata) as administrator:
        add_table(administrator, number)
        administrator.execute(f"ALTER PUBLICATION bench ADD TABLE bench_table_{number}".encode())
        try:
            references = "SELECT count(*) FROM mz_internal.mz_source_references"
            connection.execute(create(number))
            assert connection.execute(references).fetchone() == (TABLES,)
            connection.execute("ALTER SOURCE source REFRESH REFERENCES")
            assert connection.execute(references).fetchone() == (TABLES + 1,)
        finally:
            administrator.execute(f"DROP TABLE bench_table_{number}".encode())
    assert failure(connection, number) == (
        f"XX000 reference to public.bench_table_{number} not found in source | None"
    )


@pytest.mark.parametrize(
    ("spoil", "mend", "expected"),
    [
        (
            "ALTER TABLE bench_table_5 REPLICA IDENTITY DEFAULT",
            "ALTER TABLE bench_table_5 REPLICA IDENTITY FULL",
            "XX000 POSTGRES source validation: referenced items not tables with REPLICA IDENTITY"
            " FULL | referenced items: public.bench_table_5",
        ),
        (
            f"REVOKE SELECT ON bench_table_5 FROM {ROLE}",
            f"GRANT SELECT ON bench_table_5 TO {ROLE}",
            "XX000 POSTGRES source validation: insufficient privileges"
            " | user lacks SELECT privileges for tables public.bench_table_5",
        ),
        (
            "CREATE POLICY p ON bench_table_5; ALTER TABLE bench_table_5 ENABLE ROW LEVEL SECURITY",
            "DROP POLICY p ON bench_table_5; ALTER TABLE bench_table_5 DISABLE ROW LEVEL SECURITY",
            "XX000 POSTGRES source validation: one or more tables requires BYPASSRLS"
            " | user must have BYPASSRLS attribute to read tables public.bench_table_5",
        ),
        (
            "SELECT pg_create_physical_replication_slot('s' || n) FROM generate_series(1, 3) n",
            "SELECT pg_drop_replication_slot('s' || n) FROM generate_series(1, 3) n",
            "XX000 PostgreSQL server has insufficient number of replication slots available"
            " | executing this statement requires 2 replication slots",
        ),
        (
            f"ALTER ROLE {ROLE} PASSWORD 'another'",
            f"ALTER ROLE {ROLE} PASSWORD 'pw'",
            f'XX000 db error: FATAL: password authentication failed for user "{ROLE}" | None',
        ),
    ],
    ids=["replica identity", "privileges", "row security", "slots", "password"],
)
def test_what_the_upstream_lacks_is_told(plain, connection, spoil, mend, expected):
    with upstream(plain.metadata) as administrator:
        administrator.execute(spoil)
        try:
            assert failure(connection, 5) == expected
        finally:
            administrator.execute(mend)
    connection.execute(create(5))


def test_a_failure_within_a_transaction_ends_in_rollback(plain, connection):
    connection.execute("BEGIN")
    connection.execute(create(1))
    failure(connection, TABLES + 100)
    assert connection.execute("COMMIT").statusmessage == "ROLLBACK"
    assert connection.execute("SELECT count(*) FROM mz_tables WHERE name = 't_1'").fetchone() == (
        0,
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "server must have wal_level >= logical, but has replica"),
        ({"wal_level": "logical", "max_wal_senders": "0"}, "replication disabled on server"),
    ],
    ids=["wal_level", "senders"],
)
def test_an_upstream_that_cannot_be_a_source_is_refused(settings: dict[str, str], expected: str):
    with root_folder() as root, metadata_store(root, **settings) as metadata:
        with metadata.connect() as connection:
            connection.execute("CREATE DATABASE upstream")
            connection.execute(f"CREATE ROLE {ROLE} LOGIN REPLICATION PASSWORD 'pw'")
        with environment(metadata, law=Law(2, 0), **FAST) as made:
            made.up()
            with made.connect() as connection, pytest.raises(psycopg.Error) as raised:
                make_source(made, connection)
    assert raised.value.sqlstate == "XX000"
    assert raised.value.diag.message_primary == expected


def test_a_replay_makes_statements_slower_by_position_and_moves_the_metrics(metadata, law):
    with environment(metadata, law=law, **FAST) as made:
        made.up()
        with made.connect() as connection:
            make_source(made, connection)
            before = booked(made)
            times = transaction(connection, TABLES)
            seconds = booked(made) - before
            connection.execute("DROP SOURCE source CASCADE")
        wait_until(lambda: slots(metadata) == [], 5)
    # The least of ten: what else the host does only adds to it.
    grown = min(times[-10:]) - min(times[1:11])
    assert grown == pytest.approx(law.per_position_ms * (TABLES - 11) / 1000, abs=0.025)
    asked = (2 * TABLES + law.per_position_ms * sum(range(TABLES))) / 1000
    assert 0.9 * asked <= seconds <= 1.5 * asked + 0.2


def transaction(connection: psycopg.Connection, size: int) -> list[float]:
    times = []
    connection.execute("BEGIN")
    for number in range(1, size + 1):
        began = time.perf_counter()
        connection.execute(create(number))
        times.append(time.perf_counter() - began)
    assert connection.execute("COMMIT").statusmessage == "COMMIT"
    return times


def booked(made) -> float:
    """Return the seconds that dry runs took, by the metrics."""
    series = 'mz_catalog_transact_seconds_sum{method="catalog_transact_with_ddl_transaction"}'
    lines = made.get("/metrics")[1].splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(series))
