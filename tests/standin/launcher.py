"""Executables that are the stand-in: a compiled launcher with a description of the build behind it.

The launcher is an ELF file that runs libpython in its own process: what `/proc/PID/exe` points to
is the file itself, wherever it was copied to. Each build's description follows the ELF data as
JSON, then its length and a mark; two builds therefore differ in their hashes.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

MARK = b"environmentd stand-in"
_LENGTH = struct.Struct("<Q")
_TESTS = Path(__file__).resolve().parent.parent
_CODE = (
    "import sys; sys.path.insert(0, {tests!r}); "
    "from standin.program import main; sys.exit(main(sys.argv[1:]))"
)


def missing_packages() -> list[str]:
    """Return what has to be installed, as Debian names it, before launchers can be compiled."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    missing = [] if shutil.which("cc") else ["gcc", "libc6-dev"]
    return missing if find_library() else [*missing, f"libpython{version}"]


def find_library() -> Path | None:
    """Return this Python's shared library."""
    folders = [sysconfig.get_config_var(name) for name in ("LIBDIR", "LIBPL")]
    multiarch = sysconfig.get_config_var("MULTIARCH")
    folders += [f"/usr/lib/{multiarch}", "/usr/lib"]
    for folder in filter(None, folders):
        for variable in ("INSTSONAME", "LDLIBRARY"):
            name = sysconfig.get_config_var(variable) or ""
            versions = [name, f"{name}.1.0", f"{name}.1"] if ".so" in name else []
            for file in (Path(folder) / version for version in versions):
                if file.is_file():
                    return file
    return None


def compile_launcher(target: Path) -> None:
    """Compile the launcher for the Python that runs this.

    Raises
    ------
    RuntimeError
        The compiler or the library is missing, or does not work.

    """
    missing = missing_packages()
    if missing:
        raise RuntimeError(f"the stand-in needs the Debian packages {' '.join(missing)}")
    macros = {
        "PYTHON": sys.executable,
        "LIBRARY": str(find_library()),
        "CODE": _CODE.format(tests=str(_TESTS)),
    }
    source = Path(__file__).with_name("launcher.c")
    command = ["cc", "-O1", *(f"-D{name}={json.dumps(text)}" for name, text in macros.items())]
    done = subprocess.run(
        [*command, "-o", str(target), str(source), "-ldl"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the stand-in's launcher does not compile:\n{done.stderr}")


def write_executable(launcher: Path, target: Path, description: dict[str, Any]) -> None:
    """Write the launcher with ``description`` behind it; replace the file, never rewrite it."""
    data = json.dumps(description, sort_keys=True).encode()
    new = target.with_name(f"{target.name}.new")
    new.write_bytes(launcher.read_bytes() + data + _LENGTH.pack(len(data)) + MARK)
    new.chmod(0o755)
    new.replace(target)


def read_description(executable: Path) -> dict[str, Any] | None:
    """Return what stands behind the launcher; None where the file is none of the stand-in's."""
    try:
        data = executable.read_bytes()
    except FileNotFoundError:
        return None
    if not data.endswith(MARK):
        return None
    end = len(data) - len(MARK) - _LENGTH.size
    (length,) = _LENGTH.unpack_from(data, end)
    description: dict[str, Any] = json.loads(data[end - length : end])
    return description
