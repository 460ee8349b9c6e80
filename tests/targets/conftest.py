"""A checkout that is compiled by a script, away from the configuration of its users."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from builds_support import Source


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    home = tmp_path / "home"
    home.mkdir()
    (home / "jj.toml").write_text('[user]\nname = "A Tester"\nemail = "tester@localhost"\n')
    (home / "gitconfig").write_text("[user]\nname = A Tester\nemail = tester@localhost\n")
    for name in list(os.environ):
        if name.startswith(("GIT_", "JJ_", "CARGO_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "xdg"))
    monkeypatch.setenv("JJ_CONFIG", str(home / "jj.toml"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    return Source(tmp_path / "checkout")
