"""A known amount of work on a real server moves the right counters by plausible amounts."""

import shutil
import tempfile
import time
from pathlib import Path

import pytest

from lab.core.config import Config, PostgresConfig
from lab.core.progress import SilentProgress
from lab.core.workspace import Workspace
from lab.metrics.attribute import attribute
from lab.metrics.reading import Kind, difference
from lab.targets.postgres.costs import cost_sheet
from lab.targets.postgres.metrics import CATALOGS
from lab.targets.registry import target

STATEMENTS = 40


@pytest.fixture(scope="module")
def environment():
    # Not pytest's tmp_path: as root the server runs as another user, who must get there.
    directory = Path(tempfile.mkdtemp(prefix="ddl-lab-metrics-"))
    directory.chmod(0o755)
    workspace = Workspace(directory)
    workspace.prepare()
    # Without autovacuum, which would take dead rows away at moments of its own.
    config = Config(postgres=PostgresConfig(settings={"autovacuum": "off"}))
    made = target("postgres").environment(workspace, config)
    made.start(SilentProgress())
    yield made
    made.stop(SilentProgress())
    shutil.rmtree(directory)


class Pair:
    """The measured connection and the one that reads."""

    def __init__(self, environment):
        self.environment = environment
        self.subject, self.observer = (environment.connect(each) for each in ("measure", "observe"))
        self.pid = self.subject.info.backend_pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.subject.close()
        self.observer.close()

    def unsettled(self):
        return self.environment.read_metrics(self.observer, self.pid)

    def reading(self):
        self.environment.settle(self.subject)
        return self.unsettled()

    def run(self, sql):
        """Run ``sql`` for 1 to 40; return what moved and the mean latency in ns."""
        before, taken = self.reading(), 0
        for i in range(STATEMENTS):
            started = time.perf_counter_ns()
            self.subject.execute(sql.format(i=i))
            taken += time.perf_counter_ns() - started
        return difference(before, self.reading()), taken / STATEMENTS


@pytest.fixture
def pair(environment):
    with Pair(environment) as made:
        yield made


def moved(delta):
    assert not delta.void
    return {change.name: change.amount for change in delta.changes}


def test_creating_tables_moves_what_it_must(pair):
    delta, mean_ns = pair.run("CREATE TABLE made_{i} (a int, b text)")
    by = moved(delta)
    assert by["subject.wal.bytes"] / STATEMENTS > 1000
    assert by["subject.wal.records"] / STATEMENTS > 10
    # One autocommitted statement, one flush; the walwriter may be faster now and then.
    assert 0.9 < by["subject.io.wal.normal.fsyncs"] / STATEMENTS < 1.2
    assert 0 < by["subject.io.wal.normal.fsync_time"] / STATEMENTS < mean_ns
    assert by["subject.io.relation.normal.hits"] / STATEMENTS > 50
    # Itself, its row type and its array type, columns and system columns, and what they depend on.
    assert by["catalog.rows.inserted"] / STATEMENTS > 10
    assert by["catalog.pg_attribute.bytes"] > 0
    assert by["database.commits"] >= STATEMENTS
    assert by["server.wal.bytes"] >= by["subject.wal.bytes"]

    by = moved(pair.run("DROP TABLE made_{i}")[0])
    assert by["catalog.rows.deleted"] / STATEMENTS > 10
    assert by["catalog.pg_class.dead"] > 0
    assert by["catalog.rows.inserted"] == 0


def test_reading_alone_moves_nothing_of_the_subject(pair):
    pair.reading()
    by = moved(difference(pair.reading(), pair.reading()))
    assert by["subject.wal.bytes"] == 0
    assert by["subject.io.wal.normal.fsyncs"] == 0
    assert by["subject.io.relation.normal.hits"] < 20


def test_the_subject_is_told_apart_from_others(pair, environment):
    before = pair.reading()
    with environment.connect("other") as other:
        for i in range(10):
            other.execute(f"CREATE TABLE other_{i} (a int)")
        environment.settle(other)
    by = moved(difference(before, pair.reading()))
    assert by["subject.wal.bytes"] == 0
    assert by["server.wal.bytes"] > 10_000


def test_what_is_not_settled_is_not_seen(pair):
    before = pair.reading()
    pair.subject.execute("CREATE TABLE unsettled (a int)")
    assert moved(difference(before, pair.unsettled()))["subject.wal.bytes"] == 0
    assert moved(difference(before, pair.reading()))["subject.wal.bytes"] > 1000


def test_units_and_kinds(pair):
    by_name = {series.name: series for series in pair.reading().series}
    assert by_name["subject.io.wal.normal.fsync_time"].unit == "ns"
    assert by_name["subject.wal.bytes"].unit == "bytes"
    assert by_name["subject.wal.records"].unit == "count"
    for name in CATALOGS:
        assert by_name[f"catalog.{name}.bytes"].kind is Kind.GAUGE
        assert by_name[f"catalog.{name}.bytes"].unit == "bytes"
        assert by_name[f"catalog.{name}.dead"].kind is Kind.GAUGE
    gauges = [name for name, series in by_name.items() if series.kind is Kind.GAUGE]
    assert all(name.startswith("catalog.pg_") for name in gauges)


@pytest.mark.parametrize(
    ("make", "drop"),
    [
        ("CREATE TABLE c_{i} (a int, b text)", "DROP TABLE c_{i}"),
        ("CREATE VIEW c_{i} AS SELECT 1 AS a", "DROP VIEW c_{i}"),
        ("CREATE MATERIALIZED VIEW c_{i} AS SELECT 1 AS a", "DROP MATERIALIZED VIEW c_{i}"),
    ],
)
def test_every_series_of_the_cost_sheet_is_read_and_adds_up(pair, make, drop):
    for sql in (make, drop):
        delta, mean_ns = pair.run(sql)
        found = attribute(
            cost_sheet("create-table"), delta, statements=STATEMENTS, client_mean_ns=mean_ns
        )
        on_host = "subject.cpu.run_time" in moved(delta)
        expected = () if on_host else (": not measured here",)
        assert all(warning.endswith(expected) for warning in found.warnings)
        assert all(node.nested for node in found.tree)
        assert 0 < found.unattributed_ns < mean_ns
        assert found.tree[0].label == "WAL flush (fsync)"
        amounts = {each.label: each.per_statement for each in found.amounts}
        assert amounts["WAL"] > 300
        assert amounts["catalog rows written"] + amounts["catalog rows left dead"] > 3


def test_the_time_on_a_cpu_is_that_of_the_backend(pair):
    if not Path(f"/proc/{pair.pid}/schedstat").exists():
        pytest.skip("this kernel does not tell a process's time on a CPU")
    before, started = pair.reading(), time.perf_counter_ns()
    pair.subject.execute("SELECT sum(i) FROM generate_series(1, 300000) AS i")
    wall_ns = time.perf_counter_ns() - started
    by = moved(difference(before, pair.reading()))
    assert 5e6 < by["subject.cpu.run_time"] < wall_ns * 1.1 + 5e6


def test_a_subject_that_is_gone_voids(pair):
    before = pair.reading()
    pair.subject.close()
    deadline = time.monotonic() + 10
    alive = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
    while pair.observer.execute(alive, (pair.pid,)).fetchone() != (0,):
        assert time.monotonic() < deadline
    delta = difference(before, pair.unsettled())
    assert "subject" in delta.void
    assert "vanished" in delta.void


def test_figures_that_were_reset_void(pair):
    pair.subject.execute("CREATE TABLE before_reset (a int)")
    before = pair.reading()
    pair.observer.execute("SELECT pg_stat_reset_backend_stats(%s)", (pair.pid,))
    assert "fell" in difference(before, pair.reading()).void


def test_readings_across_a_restart_void(environment):
    with Pair(environment) as pair:
        before = pair.reading()
    environment.stop(SilentProgress())
    environment.start(SilentProgress())
    with Pair(environment) as pair:
        delta = difference(before, pair.reading())
    assert delta.void == "the server was restarted"
    assert delta.changes == ()


def test_reading_reads_no_more_among_many_objects(pair):
    """Counted in buffers that the reading connection looks at: no catalog is read through."""

    pair.pid = pair.observer.info.backend_pid

    def observed():
        pair.environment.settle(pair.observer)
        return pair.unsettled()

    def looked_at():
        observed()  # what has to be looked up once is now cached
        before = observed()
        return moved(difference(before, observed()))["subject.io.relation.normal.hits"]

    few = looked_at()
    pair.subject.execute(
        "DO $$ BEGIN FOR i IN 1..800 LOOP EXECUTE format('CREATE TABLE many_%s ()', i);"
        " IF i % 400 = 0 THEN COMMIT; END IF; END LOOP; END $$"
    )
    assert looked_at() < few + 5
