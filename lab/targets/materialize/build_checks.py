"""What proves that a kept build is whole and runs on this host."""

from __future__ import annotations

import os
from pathlib import Path

from lab.core.errors import LabError
from lab.core.results import Check
from lab.targets.materialize.binaries import ENVIRONMENTD, NAMES, ask, misfit, missing_libraries
from lab.targets.materialize.checkout import Checkout
from lab.targets.materialize.hashes import digest
from lab.targets.parts import Build

_AGAIN = "Build or adopt it again: a damaged copy is replaced."


def checks(build: Build, checkout: Checkout | None) -> tuple[Check, ...]:
    """Look at all that `lab.targets.parts.Builds.check` promises; the files are read whole."""
    paths = [Path(build.directory) / name for name in NAMES]
    present = [path for path in paths if path.is_file()]
    missing = [path.name for path in paths if path not in present]
    return (
        Check(
            name="files",
            passed=not missing,
            found=f"missing: {', '.join(missing)}" if missing else ", ".join(NAMES),
            expected=", ".join(NAMES),
            remedy=_AGAIN,
        ),
        _content(build, present),
        _all(
            "executable",
            [path.name for path in present if not os.access(path, os.X_OK)],
            "not executable",
            _AGAIN,
        ),
        _all(
            "architecture",
            [said for path in present if (said := misfit(path))],
            "",
            "Run it on the kind of host that it was compiled for.",
        ),
        _version(build, present),
        _all(
            "libraries",
            sorted({each for path in present for each in missing_libraries(path)}),
            "not installed",
            "Install what is missing; the libraries of the host may have been upgraded.",
        ),
        _commit(build, checkout),
    )


def _all(name: str, wrong: list[str], what: str, remedy: str) -> Check:
    found = " ".join([", ".join(wrong), what]).strip() if wrong else "ok"
    return Check(name=name, passed=not wrong, found=found, expected="ok", remedy=remedy)


def _content(build: Build, present: list[Path]) -> Check:
    try:
        other = [path.name for path in present if digest(path) != build.files.get(path.name)]
    except OSError as error:
        other = [f"{error.filename}: {error.strerror}"]
    return _all("content", other, "other than when it was kept", _AGAIN)


def _version(build: Build, present: list[Path]) -> Check:
    remedy = "Run it by hand with --version."
    try:
        said = {path.name: ask(path).version for path in present if os.access(path, os.X_OK)}
    except LabError as error:
        found = f"{error.what} {error.why}"
        return Check(name="version", passed=False, found=found, expected="", remedy=remedy)
    own = said.get(ENVIRONMENTD, "none")
    # The commit of clusterd may be older: cargo leaves alone what a commit did not touch.
    others = [
        f"{name} {each}" for name, each in said.items() if each.split(" ")[0] != own.split(" ")[0]
    ]
    return Check(
        name="version",
        passed=own == build.version and not others,
        found=", ".join([own, *others]),
        expected=build.version,
        remedy=_AGAIN,
    )


def _commit(build: Build, checkout: Checkout | None) -> Check:
    remedy = "Compile it with `build.debug` or `build.optimized`, so that its commit is known."
    found = f"{build.commit[:9]}{' with uncommitted edits' if build.dirty else ''}"
    if build.commit and checkout is not None:
        try:
            same = checkout.holds(build.commit, build.dirty)
        except LabError as error:
            found = f"{found}; {error.what}"
        else:
            found = f"{found}; {_WHERE[same]}"
    return Check(name="commit", passed=bool(build.commit), found=found or "unknown", remedy=remedy)


_WHERE = {
    True: "as the checkout is now",
    False: "the checkout is other than that now",
    None: "not in the checkout",
}
