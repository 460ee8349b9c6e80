"""The stand-in answers what a real environmentd answered, statement by statement.

With ``LAB_TEST_MATERIALIZE_PORT`` set to the first port of a real, empty environment, the same
statements go there.
"""

import json
import os
import urllib.error
import urllib.request
from pathlib import Path

import psycopg
import pytest
from psycopg import pq
from standin_support import environment, metadata_store, root_folder

DATA = Path(__file__).parent.parent / "standin" / "data"
REAL_PORT = os.environ.get("LAB_TEST_MATERIALIZE_PORT", "")
INTERNAL = {"mz_system", "mz_support"}
OTHER_ROWS = (
    "SHOW ALL",
    "SELECT mz_version()",
    "SHOW mz_version",
    "SELECT version()",
    "SELECT mz_environment_id()",
    "SELECT count(*) FROM mz_internal.mz_sessions",
)
"""Statements whose rows depend on the build, or on the environment's past."""
UNREPORTED = {"server_encoding", "is_superuser", "welcome_message"}


def transcript(name: str = "sql.jsonl") -> list[dict]:
    return [json.loads(line) for line in (DATA / name).read_text().splitlines()]


def connect(port: int, user: str, database: str = "materialize") -> psycopg.Connection:
    return psycopg.connect(
        host="127.0.0.1",
        port=port + (2 if user in INTERNAL else 0),
        user=user,
        dbname=database,
        application_name="ddl-lab",
        options="--welcome_message=off",
        autocommit=True,
    )


def answer(connection: psycopg.Connection, sql: str, *, extended: bool) -> dict:
    """Return what the transcript holds of an answer."""
    notices: list[str] = []

    def keep(diagnostic) -> None:
        notices.append(f"{diagnostic.severity}: {diagnostic.message_primary}")

    connection.add_notice_handler(keep)
    handle = connection.pgconn
    result = handle.exec_params(sql.encode(), []) if extended else handle.exec_(sql.encode())
    connection.remove_notice_handler(keep)
    status = pq.TransactionStatus(handle.transaction_status).name
    found: dict = {"status": pq.ExecStatus(result.status).name, "transaction_status": status}
    if notices:
        found["notices"] = notices
    if result.status == pq.ExecStatus.FATAL_ERROR:
        fields = {
            "sqlstate": pq.DiagnosticField.SQLSTATE,
            "message": pq.DiagnosticField.MESSAGE_PRIMARY,
            "detail": pq.DiagnosticField.MESSAGE_DETAIL,
            "hint": pq.DiagnosticField.MESSAGE_HINT,
        }
        texts = {name: result.error_field(number) for name, number in fields.items()}
        return found | {name: text.decode() for name, text in texts.items() if text}
    found["tag"] = result.command_status.decode()
    if result.status == pq.ExecStatus.TUPLES_OK:
        found["columns"] = [result.fname(i).decode() for i in range(result.nfields)]
        found["types"] = [result.ftype(i) for i in range(result.nfields)]
        found["rows"] = [
            [
                None if (v := result.get_value(r, c)) is None else v.decode()
                for c in range(result.nfields)
            ]
            for r in range(result.ntuples)
        ]
    return found


def expected(line: dict) -> dict:
    names = ["status", "transaction_status", "notices", "sqlstate", "message", "detail", "hint"]
    wanted = {
        name: line[name] for name in [*names, "tag", "columns", "types", "rows"] if name in line
    }
    return {name: value for name, value in wanted.items() if value is not None}


def comparable(line: dict, given: dict) -> dict:
    """Leave out what is another environment's own."""
    kept = dict(given)
    if line["sql"] in OTHER_ROWS:
        kept.pop("rows", None)
    if line["sql"] == "SHOW ALL":
        # The transcript kept two of the three columns, and there are fewer variables.
        kept.pop("columns", None)
        kept.pop("tag", None)
    if line.get("message", "").startswith("unknown cluster replica size"):
        kept.pop("hint", None)
    if "desired: 755" in line.get("message", ""):
        kept.pop("message", None)
    if line.get("nrows", 0) != len(line.get("rows") or []):
        kept.pop("rows", None)
    return kept


@pytest.fixture(scope="module")
def metadata():
    # The store is the upstream, too.
    with root_folder() as root, metadata_store(root, wal_level="logical") as made:
        yield made


@pytest.fixture(scope="module")
def port(request):
    if REAL_PORT:
        yield int(REAL_PORT)
        return
    with environment(request.getfixturevalue("metadata")) as made:
        made.up()
        yield made.first_port


def replay(port: int, lines: list[dict]) -> list[str]:
    """Return what is answered otherwise."""
    connections = {}
    differences = []
    try:
        for line in lines:
            if "sql" not in line:
                if "parameters" in line:
                    database = line["parameters"]["database"]
                    connections[line["conn"]] = connect(port, line["user"], database)
                continue
            extended = line["protocol"] != "simple"
            found = answer(connections[line["conn"]], line["sql"], extended=extended)
            wanted, given = comparable(line, expected(line)), comparable(line, found)
            if wanted != given:
                differences.append(f"{line['conn']}: {line['sql']}\n  {wanted}\n  {given}")
    finally:
        for connection in connections.values():
            connection.close()
    return differences


def test_statements(port):
    differences = replay(port, transcript())
    assert not differences, "\n".join(differences)


@pytest.mark.skipif(bool(REAL_PORT), reason="the upstream database is the stand-in's")
def test_statements_about_sources(metadata):
    with environment(metadata) as made:
        info = psycopg.conninfo.conninfo_to_dict(made.metadata.url)
        publish(made.metadata.connect, 300)
        made.up()
        with made.connect() as connection:
            for number in range(10):  # so that a limit of 20 is exceeded as it was there
                connection.execute(f"CREATE TABLE more_{number} (a int)".encode())
        text = (DATA / "sql-source.jsonl").read_text()
        # The upstream is another one, and asks unknown roles for a password before it says so.
        text = text.replace("PORT 15432", f"PORT {info['port']}")
        lines = [json.loads(line) for line in text.splitlines()]
        differences = replay(made.first_port, [line for line in lines if not elsewhere(line)])
    assert not differences, "\n".join(differences)


def elsewhere(line: dict) -> bool:
    """Say whether the answer depends on how many objects there were, or on how logins are made."""
    sql = line.get("sql", "")
    return "GROUP BY type" in sql or "up_nouser" in sql


def publish(connect_to, count: int) -> None:
    with connect_to() as connection:
        connection.execute("CREATE ROLE mzsrc LOGIN REPLICATION PASSWORD 'pw'")
        info = connection.info
        with psycopg.connect(
            host=info.host,
            port=info.port,
            user=info.user,
            password=info.password,
            dbname="postgres",
        ) as upstream:
            columns = "(id int PRIMARY KEY, a int, b text)"
            for name in (f"bench_table_{n}" for n in range(1, count + 1)):
                upstream.execute(f"CREATE TABLE {name} {columns}".encode())
                upstream.execute(f"ALTER TABLE {name} REPLICA IDENTITY FULL".encode())
            upstream.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO mzsrc")
            upstream.execute("SET client_min_messages = error")
            upstream.execute("CREATE PUBLICATION bench_pub FOR ALL TABLES")


@pytest.mark.parametrize(
    "line",
    [
        line
        for line in transcript("http.jsonl")
        if not line["path"].startswith(("/metrics/", "/memory", "/hierarchical", "/api/opentel"))
    ],
    ids=lambda line: f"{line['method']} {line['path']} {line['port']} {line['request_body']}",
)
def test_http(port, line):
    headers = line["request_headers"] or {}
    data = line["request_body"].encode() if line["request_body"] else None
    request = urllib.request.Request(
        f"http://127.0.0.1:{port + line['port'] - 6875}{line['path']}", data, headers
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            status, kind, body = response.status, response.headers["content-type"], response.read()
    except urllib.error.HTTPError as error:
        with error:
            status, kind, body = error.code, error.headers["content-type"], error.read()
    assert (status, kind) == (line["status"], line["content_type"])
    if line["bytes"] < 500:
        assert body.decode() == line["body"]


def test_reported_parameters(port):
    for line in transcript():
        if "parameters" not in line:
            continue
        with connect(port, line["user"], line["parameters"]["database"]) as connection:
            for name, value in line["parameters"].items():
                found = connection.info.parameter_status(name)
                if name in UNREPORTED:
                    assert not found, name
                elif name != "mz_version":
                    assert found == value, name


@pytest.mark.parametrize(("user", "internal"), [("mz_system", False), ("materialize", True)])
def test_refused_logins(port, user, internal):
    with pytest.raises(psycopg.OperationalError, match=f"unauthorized login to user '{user}'"):
        psycopg.connect(host="127.0.0.1", port=port + 2 * internal, user=user, dbname="materialize")


def test_welcome(port):
    def notices(options):
        seen = []
        connection = psycopg.connect(
            host="127.0.0.1", port=port, user="materialize", dbname="materialize", options=options
        )
        with connection:
            connection.add_notice_handler(seen.append)
            connection.execute("SELECT 1")
        return seen

    assert notices("--welcome_message=off") == []
