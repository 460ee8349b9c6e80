"""Files that are replaced or created whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.core.errors import PreconditionError
from lab.core.files import create_exclusively, read_struct, sha256, write_atomically


def test_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_atomically(path, b"one")
    write_atomically(path, b"two", mode=0o600)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_of_many_creators_one_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [str(number).encode() * 1000 for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda content: create_exclusively(path, content), contents))
    assert created.count(True) == 1
    assert path.read_bytes() == contents[created.index(True)]
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_sees_the_old_or_the_new_while_the_writer_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    old, size = b"a" * 400_000, 400_000
    write_atomically(path, old)
    script = textwrap.dedent(
        f"""
        from pathlib import Path
        from lab.core.files import write_atomically
        print("ready", flush=True)
        while True:
            write_atomically(Path({str(path)!r}), b"b" * {size})
            write_atomically(Path({str(path)!r}), b"a" * {size})
        """
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        for _ in range(50):
            assert path.read_bytes() in (old, b"b" * size)
        os.kill(writer.pid, signal.SIGKILL)
    assert path.read_bytes() in (old, b"b" * size)


def test_a_corrupt_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("{")
    with pytest.raises(PreconditionError, match=r"state\.json cannot be read") as caught:
        read_struct(path, dict)
    assert caught.value.code == "file.corrupt"
    assert read_struct(tmp_path / "none.json", dict) is None


def test_hash_is_named() -> None:
    assert (
        sha256(b"")
        == f"sha256:{'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'}"
    )
