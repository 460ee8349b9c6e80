"""The two programs of a build: found in a directory, and proven to run on this host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec

from lab.core.errors import ExternalError, LabError, PreconditionError

ENVIRONMENTD = "environmentd"
CLUSTERD = "clusterd"
NAMES = (ENVIRONMENTD, CLUSTERD)
"""environmentd looks for clusterd beside its own executable, under exactly this name."""

_TIMEOUT_S = 60.0
# e_type and e_machine of elf(5).
_PROGRAM_TYPES = (2, 3)
_MACHINES = {3: "x86", 40: "ARM", 62: "x86-64", 183: "AArch64", 243: "RISC-V"}
_COMMIT = re.compile(r"\(([0-9a-f]{7,40})\)")


class Header(msgspec.Struct, frozen=True):
    """What the header of an ELF file says: word size in bits, byte order, type, machine."""

    bits: int
    order: str
    type: int
    machine: int

    @property
    def architecture(self) -> tuple[int, str, int]:
        """What two programs must have in common to run on one host."""
        return self.bits, self.order, self.machine

    def __str__(self) -> str:
        machine = _MACHINES.get(self.machine, f"machine {self.machine}")
        return f"{machine}, {self.bits}-bit, {self.order}-endian"


class Answer(msgspec.Struct, frozen=True):
    """What a program says of itself: ``version`` (``v26.24.0-dev.0 (e7ac38b33)``) and commit.

    ``commit`` is abbreviated, and empty where the version names none.
    """

    version: str
    commit: str


def pair(directory: Path) -> dict[str, Path]:
    """Return environmentd and clusterd of ``directory`` (or beside the file environmentd).

    Raises
    ------
    PreconditionError
        ``build.no-environmentd`` or ``build.no-clusterd``.

    """
    directory = directory.expanduser().absolute()
    if directory.name == ENVIRONMENTD and directory.is_file():
        directory = directory.parent
    found = {name: directory / name for name in NAMES if (directory / name).is_file()}
    if ENVIRONMENTD not in found:
        raise PreconditionError(
            f"There is no environmentd in {directory}.",
            code="build.no-environmentd",
            why="The binaries are looked for under the names environmentd and clusterd.",
            remedy="Name the directory that holds both under exactly these names.",
        )
    if CLUSTERD not in found:
        raise PreconditionError(
            f"There is an environmentd in {directory}, but no clusterd beside it.",
            code="build.no-clusterd",
            why="environmentd starts the clusterd that lies beside it, of the same build.",
            remedy="Put the clusterd that was compiled with it into the same directory, under"
            " this name.",
        )
    return found


def header(path: Path) -> Header | None:
    """Return the ELF header of ``path``; None where it is no ELF file."""
    with path.open("rb") as file:
        start = file.read(20)
    if len(start) < 20 or not start.startswith(b"\x7fELF"):
        return None
    order = "big" if start[5] == 2 else "little"
    kind, machine = start[16:18], start[18:20]
    if order == "big":
        kind, machine = kind[::-1], machine[::-1]
    bits = 64 if start[4] == 2 else 32
    return Header(bits, order, int.from_bytes(kind, "little"), int.from_bytes(machine, "little"))


def misfit(path: Path) -> str:
    """Say why the program ``path`` is not one for this host; empty where it is."""
    found, host = header(path), header(Path(sys.executable))
    if found is None or found.type not in _PROGRAM_TYPES:
        return f"{path.name} is no ELF executable"
    if host is not None and found.architecture != host.architecture:
        return f"{path.name} is for {found}; this host is {host}"
    return ""


def require_usable(programs: dict[str, Path]) -> dict[str, Answer]:
    """Return what each program says of itself, once all are proven to run here.

    Raises
    ------
    PreconditionError
        ``build.wrong-architecture`` or ``build.not-executable``.
    ExternalError
        ``build.unusable``: one does not tell its version.

    """
    for path in programs.values():
        if unfit := misfit(path):
            raise PreconditionError(
                f"{path} does not run on this host.",
                code="build.wrong-architecture",
                why=f"{unfit}.",
                remedy="Take binaries that were compiled for this kind of host.",
            )
        if not os.access(path, os.X_OK):
            raise PreconditionError(
                f"{path} is not executable.",
                code="build.not-executable",
                why="Its mode allows nobody to run it, or its file system is mounted so.",
                remedy="Give it the mode of a program, if it is what you think it is.",
            )
    return {name: ask(path) for name, path in programs.items()}


def ask(path: Path) -> Answer:
    """Return what ``path --version`` says.

    Raises
    ------
    ExternalError
        ``build.unusable``.

    """
    try:
        done = _run(path, "--version")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _unusable(path, str(error)) from error
    said = done.stdout.strip()
    if done.returncode != 0 or not said:
        why = done.stderr.strip()[-800:] or _ended(done.returncode)
        raise _unusable(path, why)
    version = said.splitlines()[0].removeprefix(f"{path.name} ")
    commit = _COMMIT.search(version)
    return Answer(version, commit[1] if commit else "")


def missing_libraries(path: Path) -> tuple[str, ...]:
    """Return the shared libraries that ``path`` wants and the host does not have.

    Empty, too, where nothing can say so (no ``ldd``, or a static program).
    """
    try:
        done = _run("ldd", path)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    lines = done.stdout.splitlines()
    return tuple(line.split()[0] for line in lines if line.rstrip().endswith("not found"))


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_TIMEOUT_S,
        check=False,
    )


def _ended(code: int) -> str:
    if code < 0:
        return f"It was ended by signal {-code}. The host's processor may lack what it needs."
    return f"It ended with exit code {code} and said nothing."


def _unusable(path: Path, why: str) -> LabError:
    return ExternalError(
        f"{path} does not tell its version.",
        code="build.unusable",
        why=why,
        remedy="Run it by hand with --version; libraries that are missing are to be installed.",
    )
