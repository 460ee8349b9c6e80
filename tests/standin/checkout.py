"""A directory that looks like a checkout of Materialize, as far as a lab looks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from standin import behaviour, cargo, launcher
from standin.behaviour import Behaviour, Law

VERSION = "26.24.0-dev.0"
_TESTS = Path(__file__).resolve().parent.parent

_CARGO = """\
[workspace]
members = ["src/adapter", "src/clusterd", "src/environmentd"]

[profile.optimized]
inherits = "release"
lto = "off"
debug = 1
incremental = true
"""
_IGNORED = "/target\n/mzdata\n/mzbuild\n/scratch\n/.standin\n__pycache__\n"
_ENVIRONMENTD = """\
#!/bin/sh
# Builds environmentd and clusterd, and runs the former.
exec "$(dirname "$0")/run" environmentd "$@"
"""
_RUN = """\
#!/bin/sh
root=$(cd "$(dirname "$0")/.." && pwd)
PYTHONPATH="$root/misc/python" exec "{python}" -m materialize.cli.run "$@"
"""
_RUN_PY = '''\
"""Builds a program and runs it."""

import sys
from pathlib import Path

sys.path.insert(0, {tests!r})

from standin.wrapper import main

if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parents[4]))
'''


def make_checkout(
    directory: Path,
    *,
    law: Law | None = None,
    version: str = VERSION,
    first_port: int = 6875,
    **changes: object,
) -> Path:
    """Lay out a checkout at ``directory`` and commit it; return the directory.

    ``changes`` are fields of `Behaviour`. The listener configuration names ``first_port`` and the
    three after it. PubSub keeps its port, 6879, unless environmentd's own argument moves it.

    Raises
    ------
    RuntimeError
        What compiles the binaries' launcher is missing.

    """
    directory.mkdir(parents=True, exist_ok=True)
    behaviour.write(directory, law or Law(), Behaviour(**changes))
    _write(directory, "Cargo.toml", _CARGO)
    _write(directory, ".gitignore", _IGNORED)
    _write(directory, "bin/environmentd", _ENVIRONMENTD, mode=0o755)
    _write(directory, "bin/run", _RUN.format(python=sys.executable), mode=0o755)
    _write(directory, "misc/python/materialize/__init__.py", '"""Helpers."""\n')
    _write(directory, "misc/python/materialize/cli/__init__.py", '"""Programs."""\n')
    _write(directory, "misc/python/materialize/cli/run.py", _RUN_PY.format(tests=str(_TESTS)))
    _write(directory, "src/adapter/src/coord/ddl.rs", "// Carries out DDL.\n")
    for crate in ("clusterd", "environmentd"):
        _write(directory, f"src/{crate}/src/main.rs", "fn main() {}\n")
    set_version(directory, version)
    listeners = json.dumps(listener_config(first_port), indent=2)
    _write(directory, "src/materialized/ci/listener_configs/no_auth.json", listeners + "\n")
    launcher_file = directory / cargo.LAUNCHER
    launcher_file.parent.mkdir(exist_ok=True)
    launcher.compile_launcher(launcher_file)
    _git(directory, "init", "--quiet", "--initial-branch=main")
    commit(directory, "a stand-in's first commit")
    return directory


def set_version(directory: Path, version: str) -> None:
    """Change the version that binaries built from now on have."""
    for crate in ("clusterd", "environmentd"):
        text = f'[package]\nname = "mz-{crate}"\nversion = "{version}"\npublish = false\n'
        _write(directory, f"src/{crate}/Cargo.toml", text)


def set_behaviour(directory: Path, law: Law, **changes: object) -> None:
    """Change what binaries built from now on do. This dirties the tree."""
    behaviour.write(directory, law, Behaviour(**changes))


def commit(directory: Path, message: str) -> str:
    """Commit everything; return the commit's id."""
    _git(directory, "add", "--all")
    _git(directory, "commit", "--quiet", "--message", message)
    return _git(directory, "rev-parse", "HEAD").strip()


def listener_config(first_port: int, host: str = "0.0.0.0") -> dict:
    """Return listeners on ``first_port`` and the three after it."""
    internal = ("base", "webhook", "internal", "metrics", "profiling")

    def sql(port: int, roles: str) -> dict:
        return {
            "addr": f"{host}:{port}",
            "authenticator_kind": "None",
            "allowed_roles": roles,
            "enable_tls": False,
        }

    def http(port: int, on: tuple[str, ...]) -> dict:
        return sql(port, "NormalAndInternal") | {"routes": {name: name in on for name in internal}}

    return {
        "sql": {
            "external": sql(first_port, "Normal"),
            "internal": sql(first_port + 2, "Internal"),
        },
        "http": {
            "external": http(first_port + 1, ("base", "webhook")),
            "internal": http(first_port + 3, internal),
        },
    }


def _write(directory: Path, name: str, text: str, mode: int = 0o644) -> None:
    file = directory / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)


def _git(directory: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=stand-in", "-c", "user.email=stand-in@localhost"]
    done = subprocess.run(
        ["git", "-C", str(directory), *identity, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
