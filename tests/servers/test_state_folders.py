"""A state's folder: made whole, removed whole, and nothing else is touched."""

import contextlib
import signal
import subprocess
from pathlib import Path

import pytest
from server_support import (
    QUIET,
    make_server,
    postmasters,
    start_elsewhere,
)

from lab.core.errors import ExternalError, PreconditionError
from lab.servers import folders, settings
from lab.servers.records import Condition


def test_a_reset_takes_what_the_lab_made_and_nothing_else(root):
    server = make_server(root)
    server.start(QUIET)
    port = server.inspect().port
    mine = server.folder / "mine.txt"
    mine.write_text("mine")
    server.reset(QUIET)
    assert server.inspect().condition is Condition.ABSENT
    assert [path.name for path in server.folder.iterdir()] == ["mine.txt"]
    assert postmasters(root) == []

    with pytest.raises(PreconditionError) as caught:
        server.start(QUIET)
    assert caught.value.code == "state.foreign-files"
    assert mine.read_text() == "mine"

    mine.unlink()
    steps = server.start(QUIET)
    assert steps[0].name == "state"
    assert server.inspect().port == port
    server.reset(QUIET)
    assert list((root / "states").iterdir()) == []


def test_data_of_another_major_version_are_refused(root):
    server = make_server(root)
    (server.data / "PG_VERSION").write_text("17\n")
    with pytest.raises((PreconditionError, ExternalError)) as caught:
        server.start(QUIET)
    assert caught.value.code == "state.version"


def test_a_full_disk_is_named(empty_root):
    small = empty_root / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m,mode=755", "tmpfs", str(small)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        server = make_server(small)
        with pytest.raises(PreconditionError) as caught:
            server.start(QUIET)
        assert caught.value.code == "disk.full"
        assert server.inspect().condition is Condition.ABSENT
        assert {path.name for path in server.folder.iterdir()} <= {folders.MARK, folders.PASSWORD}
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.fixture
def mine(empty_root):
    """A folder of the user's, which the state is made a link to."""
    folder = empty_root / "mine"
    (empty_root / "states").mkdir()
    folder.mkdir()
    (empty_root / "states" / "main").symlink_to(folder)
    return folder


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def own_names() -> list[str]:
    """Return names that users give, and some that look as if the lab had given them."""
    return [
        "new-important/f",
        "removed-important/f",
        ".ddl-lab-initdb-0123456789abcdef/f",
        ".ddl-lab-removed-important/f",
        "password",
        ".password.abcd1234",
        "lab.conf",
        "data/PG_VERSION",
    ]


@pytest.mark.parametrize("name", own_names())
def test_what_the_user_has_in_the_folder_of_a_state_stays(empty_root, mine, name):
    (mine / name).parent.mkdir(exist_ok=True)
    (mine / name).write_text("mine")
    server = make_server(empty_root)
    with pytest.raises(PreconditionError) as caught:
        server.start(QUIET)
    assert caught.value.code in ("state.foreign-files", "state.foreign-data")
    assert str(mine) in caught.value.what
    with contextlib.suppress(PreconditionError):
        server.reset(QUIET)
    assert tree(mine) == {name: "mine"}


def test_a_state_beside_the_users_files_is_reset_without_them(empty_root, mine):
    server = make_server(empty_root)
    server.start(QUIET)
    assert server.folder == mine
    names = [name for name in own_names() if "/" in name and not name.startswith("data")]
    for name in names:
        (mine / name).parent.mkdir()
        (mine / name).write_text("mine")
    server.stop(QUIET)
    server.start(QUIET)
    server.reset(QUIET)
    assert tree(mine) == dict.fromkeys(names, "mine")


def test_data_of_somebody_elses_are_neither_served_nor_reset(root):
    server = make_server(root)
    conf = server.data / "postgresql.conf"
    conf.write_text(conf.read_text().replace(settings.INCLUDE, ""))
    for action in (server.start, server.stop, server.reset):
        with pytest.raises(PreconditionError) as caught:
            action(QUIET)
        assert caught.value.code == "state.foreign-data"
    assert (server.data / "PG_VERSION").exists()


def test_data_that_were_moved_to_another_disk_are_reset_there(root, empty_root):
    server = make_server(root)
    elsewhere = empty_root / "elsewhere"
    server.data.rename(elsewhere)
    (server.folder / "data").symlink_to(elsewhere)
    server.start(QUIET)
    server.reset(QUIET)
    assert list(elsewhere.iterdir()) == []
    assert list((root / "states").iterdir()) == []


def test_what_a_killed_command_left_is_taken_away(empty_root):
    server = make_server(empty_root)
    killed = start_elsewhere(empty_root, kill_at="env.start.initdb:made")
    assert killed.returncode == -signal.SIGKILL
    assert list(server.folder.glob(".ddl-lab-initdb-*"))
    (server.folder / ".password.abcd1234").write_text("of an atomic write")
    server.start(QUIET)
    assert not list(server.folder.glob(".ddl-lab-*"))
    assert not (server.folder / ".password.abcd1234").exists()


def test_a_reset_that_is_killed_is_carried_on(root):
    server = make_server(root)
    killed = start_elsewhere(root, kill_at="env.reset.renamed:after", action="reset")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert server.inspect().condition is Condition.ABSENT
    assert list(server.folder.glob(".ddl-lab-removed-*"))
    server.reset(QUIET)
    assert list((root / "states").iterdir()) == []
