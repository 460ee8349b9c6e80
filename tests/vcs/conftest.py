"""Real jj and git, away from the configuration of whoever runs the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from vcs_support import AUTHOR, Run

from lab.vcs.git import Git
from lab.vcs.jj import Jj


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home with an author for jj and for git; returns the folder with both settings."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "jj.toml").write_text(AUTHOR)
    (home / "gitconfig").write_text("[user]\nname = Test Author\nemail = author@example.org\n")
    for name in list(os.environ):
        if name.startswith(("GIT_", "JJ_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "xdg"))
    monkeypatch.setenv("JJ_CONFIG", str(home / "jj.toml"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    return home


@pytest.fixture
def run() -> Run:
    """Run a program in a folder and return what it printed."""

    def run(arguments: Sequence[str], folder: Path, *, stdin: str = "") -> str:
        done = subprocess.run(
            arguments, cwd=folder, input=stdin, capture_output=True, encoding="utf-8", check=False
        )
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    return run


@pytest.fixture
def jj_program() -> str:
    found = shutil.which("jj")
    if found is None:
        pytest.skip("needs jj 0.46 or newer on PATH; tests/install_jj.sh installs it")
    return found


@pytest.fixture
def jj_root(tmp_path: Path, jj_program: str, run: Run) -> Path:
    """A colocated repository with one described change and an empty one on top."""
    root = tmp_path / "work"
    run([jj_program, "git", "init", "--colocate", "--quiet", str(root)], tmp_path)
    (root / "code.txt").write_text("first\n")
    (root / ".gitignore").write_text("*.ignored\n")
    run([jj_program, "--quiet", "commit", "-m", "base"], root)
    return root


@pytest.fixture
def jj(jj_root: Path, jj_program: str) -> Jj:
    return Jj(jj_root, jj_program)


@pytest.fixture
def git_root(tmp_path: Path, run: Run) -> Path:
    """A repository with one commit."""
    root = tmp_path / "work"
    run(["git", "init", "--quiet", "-b", "main", str(root)], tmp_path)
    (root / "code.txt").write_text("first\n")
    (root / ".gitignore").write_text("*.ignored\n")
    run(["git", "add", "."], root)
    run(["git", "commit", "--quiet", "-m", "base"], root)
    return root


@pytest.fixture
def git(git_root: Path) -> Git:
    return Git(git_root)
