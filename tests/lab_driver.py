"""A driver that runs the real program in a place of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAM = Path(sys.executable).with_name("ddl-lab")
KILLED = -signal.SIGKILL


@dataclass
class Result:
    """What a command left: exit code, both streams, and the envelope where it was asked for."""

    code: int
    out: str
    err: str

    @property
    def envelope(self) -> dict[str, Any]:
        return json.loads(self.out)

    @property
    def data(self) -> Any:
        return self.envelope["data"]

    @property
    def error(self) -> dict[str, str]:
        return self.envelope["error"]


@dataclass
class Driver:
    """Runs ``ddl-lab`` in ``directory``, with a home and an identity of its own."""

    directory: Path
    home: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def workspace(self) -> Path:
        own = (self.directory / "lab.toml").exists()
        return self.directory if own else self.directory / "logs"

    def environment(self, **more: str) -> dict[str, str]:
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(("LAB_", "GIT_", "JJ_"))
        }
        own = {
            "HOME": str(self.home),
            "JJ_CONFIG": str(self.home / "jj.toml"),
            "GIT_CONFIG_GLOBAL": str(self.home / "gitconfig"),
        }
        return {**inherited, **own, **self.variables, **more}

    def run(self, *words: str, stdin: str = "", timeout: float = 120, **more: str) -> Result:
        done = subprocess.run(
            [PROGRAM, *words],
            cwd=self.directory,
            env=self.environment(**more),
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=timeout,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def ok(self, *words: str, **more: Any) -> Result:
        result = self.run(*words, **more)
        assert result.code == 0, f"{words} ended with {result.code}\n{result.out}\n{result.err}"
        return result

    def json(self, *words: str, **more: Any) -> Result:
        return self.run(*words, "--json", **more)

    def spawn(self, *words: str, under: tuple[str, ...] = (), **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*under, PROGRAM, *words],
            cwd=self.directory,
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def call(self, *words: str) -> str:
        """Run another program (git, jj) in the workspace."""
        done = subprocess.run(
            words,
            cwd=self.workspace,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout


def make_driver() -> Driver:
    # Not pytest's tmp_path: as root the server runs as another user, who must get there.
    base = Path(tempfile.mkdtemp(prefix="ddl-lab-test-"))
    base.chmod(0o755)
    for name in ("home", "place"):
        (base / name).mkdir()
    identity = 'name = "A Tester"\nemail = "tester@localhost"\n'
    (base / "home/jj.toml").write_text(f"[user]\n{identity}")
    (base / "home/gitconfig").write_text("[user]\nname = A Tester\nemail = tester@localhost\n")
    return Driver(base / "place", base / "home")


def remove_driver(driver: Driver) -> None:
    driver.run("env.stop")
    if (driver.workspace / ".lab/upstream").exists():
        driver.run("upstream.down")
    shutil.rmtree(driver.directory.parent, ignore_errors=True)
