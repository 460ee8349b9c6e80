"""What somebody else made on the upstream survives whatever the lab tidies up."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from provision_support import FAST
from upstream_places import COLUMNS, QUIET, Place, place

from lab.core.config import BatchConfig
from lab.core.errors import LabError, PreconditionError, StateMismatchError
from lab.core.results import Outcome, Status
from lab.measure.batch_plan import make_batch_plan
from lab.measure.batch_runner import measure_batches
from lab.provision import sourcing
from lab.provision import upstream as provision
from lab.servers.cluster import Trusted
from lab.servers.postgres import EmbeddedServer
from lab.upstream.embedded import SETTINGS
from lab.upstream.swept import KILL_MADE, KILL_RECORDED
from lab.upstream.upstream import Upstream

ALIKE = "upstream_10"
TABLES = 30


class Theirs(msgspec.Struct, frozen=True):
    """Somebody else's server, with a database whose name is that of a sweep's."""

    server: EmbeddedServer

    def query(self, sql: str, database: str = "postgres") -> list[tuple[object, ...]]:
        with contextlib.closing(self.server.connect(database, "owner")) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    @property
    def url(self) -> str:
        return f"postgres://owner@127.0.0.1:{self.server.inspect().port}/theirs"

    def kept(self) -> bool:
        return self.query("SELECT a FROM business", ALIKE) == [(42,)]


@pytest.fixture(scope="module")
def theirs() -> Iterator[Theirs]:
    root = Path(tempfile.mkdtemp(prefix="ddl-lab-test-"))
    root.chmod(0o755)
    made = Theirs(
        EmbeddedServer(
            states=root / "states",
            environments=root / "environments",
            name="theirs",
            user_settings={**FAST, **SETTINGS},
            trusted=tuple(
                Trusted(each, "owner") for each in ("postgres", "theirs", ALIKE, "upstream_20")
            ),
        )
    )
    try:
        made.server.start(QUIET)
        made.query("CREATE ROLE owner LOGIN SUPERUSER")
        made.query("CREATE DATABASE theirs")
        made.query(f"CREATE DATABASE {ALIKE}")
        made.query("CREATE TABLE business AS SELECT 42 AS a", ALIKE)
        yield made
    finally:
        made.server.reset(QUIET)
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def there(theirs: Theirs) -> Iterator[Place]:
    """A workspace whose upstream is that server; what it leaves there is taken away."""
    with place(provider="url", url=theirs.url, tables=TABLES) as made:
        try:
            yield made
        finally:
            theirs.query("DROP DATABASE theirs WITH (FORCE)")
            theirs.query("DROP DATABASE IF EXISTS upstream_20 WITH (FORCE)")
            theirs.query("DROP ROLE IF EXISTS ddl_lab_source")
            theirs.query("CREATE DATABASE theirs")


def up(upstream: Upstream, *, adopt: bool = True) -> Outcome:
    return provision.up(
        upstream, tables=TABLES, columns=COLUMNS, adopt=adopt, check=False, progress=QUIET
    )


def connect(lab: Place) -> Outcome:
    return sourcing.connect(
        lab.environment, lab.upstream, "quickstart", check=False, progress=QUIET
    )


def clean(lab: Place) -> Outcome:
    return sourcing.clean(
        lab.environment,
        lab.upstream,
        "quickstart",
        keep_source=False,
        check=False,
        progress=QUIET,
    )


def test_a_database_of_a_sweeps_name_survives(there: Place, theirs: Theirs) -> None:
    there.environment.start(QUIET)
    assert up(there.upstream).failure is None
    connect(there)
    settings = BatchConfig(sizes=(1,), repetitions=1, sweep=(10, 20), sweep_size=2)
    run = measure_batches(
        there.environment,
        there.upstream,
        "quickstart",
        make_batch_plan(settings, "import-foreign-table", seed=1),
        session=0,
        progress=QUIET,
    )
    assert run.batch is not None
    (note,) = (each for each in run.batch.notes if "broke off" in each)
    assert "did not make" in note
    assert "--upstream-sweep" in note
    assert theirs.kept()
    for act in (there.upstream.drop_database, there.upstream.claim_database):
        with pytest.raises(StateMismatchError) as refused:
            act(ALIKE)
        assert refused.value.code == "upstream.not-ours"
    # Even if it were recorded: it does not carry the mark.
    there.upstream._swept_records.add(ALIKE)
    with pytest.raises(StateMismatchError):
        there.upstream.drop_database(ALIKE)
    cleaned = clean(there)
    assert cleaned.exit_code == 0, cleaned.text
    (spared,) = (step for step in cleaned.steps if step.name == "databases")
    assert (spared.status, ALIKE in spared.why) == (Status.SKIPPED, True)
    assert theirs.kept()


def test_on_a_server_that_is_not_adopted_nothing_is_dropped(there: Place, theirs: Theirs) -> None:
    there.environment.start(QUIET)
    upstream = there.upstream
    up(upstream, adopt=False)
    upstream._swept_records.add(ALIKE)
    for act in (
        upstream.require_sweepable,
        lambda: upstream.drop_database(ALIKE),
        lambda: upstream.claim_database("upstream_20"),
    ):
        with pytest.raises(PreconditionError) as refused:
            act()
        assert refused.value.code == "upstream.not-adopted"
    assert not upstream.has_database("upstream_20")
    assert "not adopted" in str(clean(there).steps)
    assert theirs.kept()


def test_what_a_sweep_left_there_is_known_and_dropped(there: Place, theirs: Theirs) -> None:
    there.environment.start(QUIET)
    assert up(there.upstream).failure is None
    there.upstream.provision(4, COLUMNS, QUIET, database="upstream_20")
    shown = provision.status(there.upstream, there.config.upstream)
    assert any("upstream_20" in each for each in shown.warnings)
    assert any("upstream_20" in each for each in provision.verify(there.upstream, None).warnings)
    cleaned = clean(there)
    assert cleaned.exit_code == 0, cleaned.text
    assert not there.upstream.has_database("upstream_20")
    assert there.upstream.swept() == ()
    assert theirs.kept()


@pytest.mark.parametrize("point", [KILL_RECORDED, KILL_MADE])
@pytest.mark.parametrize("filled", [False, True])
def test_killed_while_a_database_is_made(
    there: Place, theirs: Theirs, point: str, filled: bool
) -> None:
    assert up(there.upstream).failure is None
    script = (
        "import sys; from pathlib import Path; from lab.core.config import Config, UpstreamConfig;"
        " from lab.core.workspace import Workspace; from lab.upstream.assembly import"
        " open_upstream; config = Config(upstream=UpstreamConfig(provider='url',"
        " url=sys.argv[2]));"
        " open_upstream(Workspace(Path(sys.argv[1])), config).claim_database('upstream_20')"
    )
    killed = subprocess.run(
        [sys.executable, "-c", script, str(there.root), theirs.url],
        env={**os.environ, "LAB_KILL_AT": point},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    upstream = there.upstream
    made = upstream.has_database("upstream_20")
    assert made is (point == KILL_MADE)
    assert [each.database for each in upstream.swept()] == ["upstream_20"]
    if filled:
        if not made:
            theirs.query("CREATE DATABASE upstream_20")
        theirs.query("CREATE TABLE kept (a int)", "upstream_20")
        for act in (upstream.drop_database, upstream.claim_database):
            with pytest.raises(StateMismatchError):
                act("upstream_20")
        assert upstream.has_database("upstream_20")
        return
    upstream.claim_database("upstream_20")
    assert upstream.drop_database("upstream_20")
    assert upstream.swept() == ()


def test_the_role_of_another_workspace_is_not_taken_over(there: Place, theirs: Theirs) -> None:
    assert up(there.upstream).failure is None
    password = there.upstream.records.password()
    with place(provider="url", url=theirs.url, tables=TABLES) as other:
        refused = up(other.upstream)
        assert refused.failure is not None
        assert refused.failure.code == "upstream.role-exists"
        assert ".lab/upstream/password" in refused.failure.remedy
        logs_in = {check.name: check.passed for check in there.upstream.verify(None)}
        assert logs_in["role logs in"]
        # As the remedy says.
        (other.upstream.records.folder / "password").write_text(password)
        assert up(other.upstream).failure is None
    # Its own is set right, also after the upstream was forgotten and adopted anew.
    theirs.query("ALTER ROLE ddl_lab_source NOLOGIN")
    assert up(there.upstream).failure is None
    provision.down(
        there.upstream, destroy=True, confirmed=provision.NAME, check=False, progress=QUIET
    )
    assert up(there.upstream).failure is None


def test_destroyed_before_it_was_cleaned() -> None:
    with place() as lab:
        lab.environment.start(QUIET)
        with pytest.raises(LabError) as nothing:
            clean(lab)
        assert nothing.value.code == "upstream.missing"
        lab.upstream.start(QUIET)
        lab.upstream.provision(3, COLUMNS, QUIET)
        lab.upstream.provision(3, COLUMNS, QUIET, database="upstream_3")
        connect(lab)
        copy = lab.environment.sourcing(
            lab.upstream.link(database="upstream_3", name="3"), "quickstart"
        )
        with contextlib.closing(lab.environment.connect("test")) as connection:
            copy.connect(connection, QUIET)
            connection.execute(copy.create(1).encode())
        failed = [check for check in lab.environment.verify(None) if not check.passed]
        assert [check.name for check in failed] == ["nothing left by batches"]
        assert "`upstream.clean`" in failed[0].remedy
        dropped = sourcing.drop_leftovers(lab.environment, lab.upstream, "quickstart", QUIET)
        assert "1 table" in dropped[0].why
        assert all(check.passed for check in lab.environment.verify(None))

        def down(*, check: bool) -> Outcome:
            return provision.down(
                lab.upstream, destroy=True, confirmed=provision.NAME, check=check, progress=QUIET
            )

        assert "`upstream.clean` for it first" in down(check=True).warnings[0]
        assert "postgres-main" in down(check=False).warnings[0]
        cleaned = clean(lab)
        assert cleaned.exit_code == 0, cleaned.text
        with contextlib.closing(lab.environment.connect("test")) as connection:
            assert lab.environment.count_objects(connection).upstream == 0
            left = connection.execute(b"SELECT count(*) FROM pg_user_mappings").fetchone()
        assert left == (0,)
        assert list(lab.upstream.records.folder.glob("baseline-*")) == []
        assert lab.upstream.swept() == ()


def test_so_many_tables_are_refused() -> None:
    with place(tables=99_999_999) as lab:
        for act in (
            lambda: provision.up(
                lab.upstream,
                tables=99_999_999,
                columns=COLUMNS,
                adopt=False,
                check=True,
                progress=QUIET,
            ),
            lambda: provision.verify(lab.upstream, 100_001),
            lambda: provision.status(lab.upstream, lab.config.upstream),
        ):
            with pytest.raises(LabError) as refused:
                act()
            assert refused.value.code == "upstream.too-many-tables"
            assert "100,000" in refused.value.what


def test_no_room_on_disk_is_foreseen(monkeypatch: pytest.MonkeyPatch) -> None:
    from lab.upstream import disk

    with place() as lab:
        lab.upstream.start(QUIET)
        lab.upstream.provision(2, COLUMNS, QUIET)
        monkeypatch.setattr(disk, "TABLE_BYTES", 10**12)
        for act in (
            lambda: lab.upstream.foresee(5, COLUMNS),
            lambda: lab.upstream.provision(5, COLUMNS, QUIET),
        ):
            with pytest.raises(PreconditionError) as full:
                act()
            assert full.value.code == "disk.full"
            assert "3,000.00 GB" in full.value.why
        assert lab.upstream.published() == {1, 2}
        lab.upstream.provision(2, COLUMNS, QUIET)


def test_what_is_foreseen_before_there_is_a_server() -> None:
    with place() as lab:
        foreseen = provision.up(
            lab.upstream, tables=5, columns="id nosuchtype", adopt=False, check=True, progress=QUIET
        )
        steps = {step.name: step for step in foreseen.steps}
        assert list(steps)[:2] == ["state", "server"]
        assert "cannot be tried" in steps["tables"].why


def test_what_was_adopted_is_one_server_and_no_other(there: Place, theirs: Theirs) -> None:
    assert up(there.upstream).failure is None
    elsewhere = theirs.url.rpartition("/")[0] + f"/{ALIKE}"
    other = msgspec.structs.replace(
        there,
        config=msgspec.structs.replace(
            there.config,
            upstream=msgspec.structs.replace(there.config.upstream, url=elsewhere),
        ),
    )
    with pytest.raises(StateMismatchError) as refused:
        _ = other.upstream
    assert refused.value.code == "upstream.other-server"
    assert ALIKE in refused.value.what
    assert there.upstream.changeable
    assert theirs.kept()
