"""What `cargo build` would do: write both binaries, with cargo's progress and rustc's errors."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

from standin import behaviour, control
from standin.launcher import read_description, write_executable

LAUNCHER = ".standin/launcher"
PROGRAMS = ("clusterd", "environmentd")
_CRATES = ("ore", "persist-client", "catalog", "adapter", "clusterd", "environmentd")
_FINISHED = {
    "debug": "`dev` profile [unoptimized + debuginfo]",
    "optimized": "`optimized` profile [optimized + debuginfo]",
    "release": "`release` profile [optimized]",
}
_ERROR = """\
error[E0308]: mismatched types
  --> src/adapter/src/coord/ddl.rs:42:24
   |
42 |     let objects: u64 = "many";
   |                  ---   ^^^^^^ expected `u64`, found `&str`
   |                  |
   |                  expected due to this

For more information about this error, try `rustc --explain E0308`.
error: could not compile `mz-adapter` (lib) due to 1 previous error
"""


def build(root: Path, profile: str, features: str = "") -> int:
    """Build both programs; return cargo's exit code."""
    began = time.monotonic()
    print_finished = f"    Finished {_FINISHED[profile]} target(s) in"
    description = describe(root, profile, features)
    targets = {program: root / "target" / profile / program for program in PROGRAMS}
    if any(_stale(target, description) for target in targets.values()):
        settings = behaviour.read(description["settings"])[1]
        for crate in _CRATES:
            say(f"   Compiling mz-{crate} v{description['version']} ({root}/src/{crate})")
            time.sleep(settings.build_seconds / len(_CRATES))
            if crate == "adapter" and control.Control(root / control.FILE).get("build_fails"):
                sys.stderr.write(_ERROR)
                return 101
        for program, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            write_executable(root / LAUNCHER, target, description | {"program": program})
    say(f"{print_finished} {time.monotonic() - began:.2f}s")
    return 0


def describe(root: Path, profile: str, features: str = "") -> dict:
    """Return what the binaries of this source tree would say of themselves."""
    manifest = (root / "src/environmentd/Cargo.toml").read_text()
    version = re.search(r'^version = "(.*)"', manifest, re.MULTILINE)
    commit = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "profile": profile,
        "features": features,
        "version": version[1] if version else "0.0.0",
        "commit": commit.stdout.strip() or "0" * 40,
        "source": fingerprint(root),
        "settings": json.loads((root / behaviour.FILE).read_text()),
        "control": str(root / control.FILE),
    }


def fingerprint(root: Path) -> str:
    """Return a hash of all source files."""
    total = hashlib.sha256()
    files = [root / "Cargo.toml", *(root / "src").rglob("*")]
    for file in sorted(file for file in files if file.is_file()):
        total.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes())
    return total.hexdigest()


def say(line: str) -> None:
    """Print a line as cargo does, on standard error."""
    print(line, file=sys.stderr, flush=True)


def _stale(target: Path, description: dict) -> bool:
    # As with cargo, a commit alone is no reason to compile anything again.
    there = read_description(target) or {}
    names = ("profile", "features", "source")
    return any(there.get(name) != description[name] for name in names)
