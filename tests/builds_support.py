"""A checkout whose compiler is a script, and programs that tell a version."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from pathlib import Path

from lab.core.progress import SilentProgress
from lab.targets.materialize.builds import BuildStore
from lab.targets.materialize.checkout import Checkout

SOURCE = "#include <stdio.h>\nint main(void) { puts(TEXT); return CODE; }\n"
WRAPPER = '#!/bin/sh\ncd "$(dirname "$0")/.." && . behaviour/compile.sh\n'
SUCCEED = """
profile=debug; [ "$1" = --optimized ] && profile=optimized
mkdir -p target/$profile && cp -p behaviour/next/* target/$profile/
echo "    Finished \\`$profile\\` profile" >&2
"""


@functools.cache
def _compiled(text: str, code: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "p.c"), Path(folder, "p")
        source.write_text(SOURCE)
        text = text.replace("\n", "\\n")
        subprocess.run(
            ["cc", f'-DTEXT="{text}"', f"-DCODE={code}", "-o", program, source], check=True
        )
        return program.read_bytes()


def write_program(path: Path, text: str, code: int = 0) -> Path:
    """Write a real program that prints ``text`` and ends with ``code``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(_compiled(text, code))
    path.chmod(0o755)
    return path


def write_pair(directory: Path, version: str = "v1.0.0-dev (abcdef012)") -> Path:
    write_program(directory / "environmentd", f"environmentd {version}\nOpenSSL 3")
    write_program(directory / "clusterd", f"clusterd {version}")
    return directory


class Watching(SilentProgress):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


class Source:
    """A git repository that passes for a checkout; ``behaviour`` in it is ignored by git."""

    def __init__(self, root: Path) -> None:
        self.root = root
        write_pair(root / "behaviour/next")
        self.compiles_by(SUCCEED)
        (root / "bin").mkdir()
        (root / "bin/environmentd").write_text(WRAPPER)
        (root / "bin/environmentd").chmod(0o755)
        (root / "src/environmentd").mkdir(parents=True)
        (root / "src/environmentd/main.rs").write_text("fn main() {}\n")
        (root / ".gitignore").write_text("/target\n/behaviour\n")
        self.git("init", "--quiet", "-b", "main", ".")
        self.commit("base")

    @property
    def checkout(self) -> Checkout:
        return Checkout.open(self.root)

    def compiles_by(self, script: str) -> None:
        (self.root / "behaviour/compile.sh").write_text(script)

    def edit(self, text: str) -> None:
        (self.root / "src/environmentd/main.rs").write_text(text)

    def git(self, *arguments: str) -> str:
        author = ("-c", "user.name=A Tester", "-c", "user.email=tester@localhost")
        return run("git", *author, *arguments, folder=self.root)

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD").strip()


def run(*command: str, folder: Path) -> str:
    return subprocess.run(
        command, cwd=folder, capture_output=True, encoding="utf-8", check=True
    ).stdout


def store(folder: Path, source: Source | None = None, running: tuple[Path, ...] = ()) -> BuildStore:
    paths = frozenset(str(each) for each in running)
    return BuildStore(folder, source.checkout if source else None, lambda: paths)


def kept(folder: Path) -> list[str]:
    """The names of what lies in the folder of builds, but logs and hashes."""
    return (
        sorted(each.name for each in folder.iterdir() if each.is_dir()) if folder.is_dir() else []
    )
