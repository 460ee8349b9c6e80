"""The files of a state, and whether they and a metadata store belong together."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standin_support import Metadata, metadata_store, root_folder

from lab.core.errors import StateMismatchError
from lab.targets.materialize.state import StateFiles, catalog_shard

OTHER = "another store"
STORE = "this store"


def test_the_catalogs_shard_follows_from_the_environments_id() -> None:
    """As a real environmentd (v26.24) named it."""
    assert (
        catalog_shard("local-az1-8992e768-a210-49a3-b53d-47baa97d4835-0")
        == "s3b20eb4e-c8c5-8766-9a6f-202954948d3d"
    )


@given(st.uuids(), st.uuids(), st.integers(0, 99))
def test_each_environment_has_a_shard_of_its_own(
    one: uuid.UUID, other: uuid.UUID, number: int
) -> None:
    first = catalog_shard(f"local-az1-{one}-{number}")

    assert uuid.UUID(first.removeprefix("s"))
    assert first == catalog_shard(f"aws-us-east-1-{one}-0"), "the organization alone counts"
    assert (first == catalog_shard(f"local-az1-{other}-0")) == (one == other)


@given(st.text(max_size=40))
def test_what_is_no_id_has_no_shard(text: str) -> None:
    assert catalog_shard(text) == ""


def test_a_state_is_made_once(tmp_path: Path) -> None:
    files = StateFiles(tmp_path / "mzdata")
    assert not files.exists
    assert files.environment_id == ""

    assert files.make()
    identity = files.environment_id

    assert catalog_shard(identity)
    assert files.exists
    assert not files.make()
    assert files.environment_id == identity
    assert not files.has_blobs()


def test_files_that_are_being_written_or_deleted_are_no_blobs(tmp_path: Path) -> None:
    files = StateFiles(tmp_path)
    files.make()
    for name in ("one.tmp", "two.bak"):
        (files.blobs / name).touch()
    assert not files.has_blobs()

    (files.blobs / "three").touch()

    assert files.has_blobs()


def test_destroying_a_state_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    files = StateFiles(tmp_path / "mzdata")
    files.make()
    files.bind(STORE)
    (files.blobs / "blob").touch()
    (files.folder / "notes").touch()

    files.destroy()

    assert [path.name for path in files.folder.iterdir()] == ["notes"]
    (files.folder / "notes").unlink()
    files.destroy()
    assert not files.folder.exists()


@pytest.fixture(scope="module")
def metadata() -> Iterator[Metadata]:
    with root_folder() as root, metadata_store(root) as made:
        yield made


@pytest.fixture
def connection(metadata: Metadata) -> Iterator[psycopg.Connection]:
    with metadata.connect() as made:
        made.execute("DROP SCHEMA IF EXISTS consensus CASCADE")
        yield made


def write(connection: psycopg.Connection, shard: str, *data: bytes) -> None:
    connection.execute("CREATE SCHEMA IF NOT EXISTS consensus")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS consensus.consensus (shard text NOT NULL,"
        " sequence_number bigint NOT NULL, data bytea NOT NULL)"
    )
    for number, each in enumerate(data):
        connection.execute(
            "INSERT INTO consensus.consensus VALUES (%s, %s, %s)", (shard, number, each)
        )


def a_state(folder: Path, *rollups: str) -> tuple[StateFiles, str]:
    """Make a state whose blob store holds the catalog's ``rollups``."""
    files = StateFiles(folder / "mzdata")
    files.make()
    shard = catalog_shard(files.environment_id)
    for rollup in rollups:
        # As the blob store names its files: a slash is not one of the file system's.
        (files.blobs / f"{shard}∕v1∕{rollup}").touch()
    return files, shard


def rollup() -> str:
    return f"r{uuid.uuid4()}"


def mention(name: str) -> bytes:
    return b"\x0a\x2fn0001/" + name.encode() + b"\x12\x02\x08\x01"


def refused(files: StateFiles, connection: psycopg.Connection, metadata: str = STORE) -> str:
    with pytest.raises(StateMismatchError) as error:
        files.require_bond(connection, metadata)
    assert error.value.code == "state.halves"
    assert error.value.remedy
    return error.value.what


def test_a_new_state_on_an_empty_store(tmp_path: Path, connection: psycopg.Connection) -> None:
    files = StateFiles(tmp_path / "mzdata")

    files.require_bond(connection, STORE)
    files.make()
    files.require_bond(connection, STORE)


def test_halves_that_belong_together(tmp_path: Path, connection: psycopg.Connection) -> None:
    name = rollup()
    files, shard = a_state(tmp_path, name)
    write(connection, shard, mention(rollup()), mention(name))
    files.bind(STORE)

    files.require_bond(connection, STORE)


def test_an_id_that_is_missing(tmp_path: Path, connection: psycopg.Connection) -> None:
    files, shard = a_state(tmp_path, rollup())
    write(connection, shard, mention(rollup()))
    (files.folder / "environment-id").unlink()

    assert "environment-id is missing" in refused(files, connection)


def test_blobs_without_metadata(tmp_path: Path, connection: psycopg.Connection) -> None:
    files, _ = a_state(tmp_path, rollup())

    assert "metadata store is empty" in refused(files, connection)


def test_another_metadata_store(tmp_path: Path, connection: psycopg.Connection) -> None:
    name = rollup()
    files, shard = a_state(tmp_path, name)
    write(connection, shard, mention(name))
    files.bind(OTHER)

    assert "belongs to another metadata store" in refused(files, connection)


def test_another_environments_catalog(tmp_path: Path, connection: psycopg.Connection) -> None:
    files, _ = a_state(tmp_path, rollup())
    write(connection, catalog_shard(f"local-az1-{uuid.uuid4()}-0"), mention(rollup()))

    assert "holds no catalog of" in refused(files, connection)


def test_blobs_of_another_copy(tmp_path: Path, connection: psycopg.Connection) -> None:
    """Those of a fork have the same shards, and other rollups."""
    files, shard = a_state(tmp_path, rollup())
    write(connection, shard, mention(rollup()))

    assert "catalog are not in" in refused(files, connection)


def test_old_rollups_that_were_collected_do_not_matter(
    tmp_path: Path, connection: psycopg.Connection
) -> None:
    newest = rollup()
    files, shard = a_state(tmp_path, newest)
    write(connection, shard, *[mention(rollup()) for _ in range(6)], mention(newest))

    files.require_bond(connection, STORE)
