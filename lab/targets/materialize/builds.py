"""The builds that the lab keeps, each in a directory of its own with both binaries."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from lab.core.errors import ExternalError, PreconditionError, UsageError
from lab.core.files import explained
from lab.core.nearest import did_you_mean
from lab.core.progress import Progress
from lab.core.results import Check, Status, Step
from lab.targets.materialize import build_checks, build_folders
from lab.targets.materialize.binaries import (
    ENVIRONMENTD,
    NAMES,
    Answer,
    ask,
    pair,
    require_usable,
)
from lab.targets.materialize.build_identity import build_id, hinted_profile, running_files
from lab.targets.materialize.checkout import Checkout, TreeIdentity
from lab.targets.materialize.compiling import FLAGS, compile_tree, require_profile
from lab.targets.materialize.hashes import FileHashes, signature
from lab.targets.parts import Build

_LEAST_PREFIX = 4


class BuildStore:
    """Keeps builds in ``folder``; see `lab.targets.parts.Builds`.

    ``checkout`` is what is compiled, None where none is configured. ``running`` returns the paths
    of the executables that run now: a build that holds one of them is never removed. Whoever calls
    what changes the store holds the workspace's lock.
    """

    profiles: tuple[str, ...] = tuple(FLAGS)

    def __init__(
        self,
        folder: Path,
        checkout: Checkout | None,
        running: Callable[[], frozenset[str]],
    ) -> None:
        self._folder = folder
        self._checkout = checkout
        self._running = running
        self._hashes = FileHashes(folder / "hashes.json")

    def all(self) -> tuple[Build, ...]:
        """Return the builds that are kept, newest first: as they were last made or asked for.

        Raises
        ------
        PreconditionError
            A record cannot be read.

        """
        return build_folders.newest_first(self._folder)

    def make(self, profile: str, progress: Progress) -> tuple[Build, Step]:
        """Compile the checkout and keep a copy; ``ok`` where these very binaries are kept already.

        Raises
        ------
        UsageError
            ``build.unknown-profile``.
        PreconditionError
            No checkout, no space, or binaries that do not run here.
        ExternalError
            ``build.failed``, ``build.unusable``.
        StateMismatchError
            ``build.tree-changed``.

        """
        require_profile(profile)
        checkout = self._require_checkout()
        log = self._folder / f"build-{profile}.log"
        started = time.monotonic()
        tree = compile_tree(checkout, profile, log, progress)
        took = f"compiling took {time.monotonic() - started:.0f} s"
        programs = _compiled(checkout.binaries(profile))
        made = _describe(profile, require_usable(programs), f"compiled in {checkout.root}", tree)
        return self._keep(made, programs, took, progress)

    def adopt(self, profile: str, source: Path, progress: Progress) -> tuple[Build, Step]:
        """Keep a copy of the binaries that lie in the directory ``source``.

        Raises
        ------
        UsageError
            ``build.unknown-profile``.
        PreconditionError
            A binary is missing, or they do not run here; no space.
        ExternalError
            ``build.unusable``.

        """
        require_profile(profile)
        programs = pair(source)
        answers = require_usable(programs)
        tree = TreeIdentity(commit=answers[ENVIRONMENTD].commit)
        origin = f"adopted from {programs[ENVIRONMENTD].parent}"
        described = _describe(profile, answers, origin, tree)
        return self._keep(described, programs, _doubt(profile, programs, answers), progress)

    def foresee(self, profile: str, source: Path | None = None) -> Step:
        """Say what `make` would do, or `adopt` where there is a ``source``; change nothing.

        Raises
        ------
        UsageError, PreconditionError, ExternalError
            What they would refuse.

        """
        require_profile(profile)
        if source is not None:
            programs = pair(source)
            doubt = _doubt(profile, programs, require_usable(programs))
            wanted = build_id(profile, self._hash(programs))
            if build_folders.is_intact(self._folder / wanted, programs):
                return _step(Status.OK, _said(f"{wanted} is kept already", doubt))
            why = _said(f"would keep {programs[ENVIRONMENTD].parent}", doubt)
            return _step(Status.WOULD_CHANGE, why, (f"+ {wanted} ({profile})",))
        checkout = self._require_checkout()
        tree = checkout.identity()
        for build in self.all():
            if tree.commit and (build.profile, _tree_of(build)) == (profile, tree):
                return _step(Status.OK, f"{build.id} is of this very tree")
        return _step(
            Status.WOULD_CHANGE,
            f"would compile {checkout.root} in the profile {profile}",
            (f"+ {profile} of {_commit_in_words(tree)}",),
        )

    def check(self, build: Build) -> tuple[Check, ...]:
        """Prove that ``build`` is whole and runs on this host; all its bytes are read."""
        return build_checks.checks(build, self._checkout)

    def find(self, wanted: str) -> Build:
        """Return the newest build of the profile ``wanted``, or the one whose id begins so.

        Raises
        ------
        UsageError
            ``build.unknown`` or ``build.ambiguous``.

        """
        builds = self.all()
        of_profile = [build for build in builds if build.profile == wanted]
        if of_profile:
            return of_profile[0]
        prefix = wanted if len(wanted) >= _LEAST_PREFIX else ""
        found = [build for build in builds if prefix and build.id.startswith(prefix)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"Several builds begin with {wanted}.",
                code="build.ambiguous",
                why=f"They are {', '.join(build.id for build in found)}.",
                remedy="Give more of the id.",
            )
        raise _unknown(wanted, builds)

    def prune(self, keep: int, *, check: bool) -> tuple[Step, ...]:
        """Remove all but the ``keep`` newest of each profile, and what killed commands left.

        A build that runs stays.
        """
        running = self._running_directories()
        seen: dict[str, int] = {}
        steps = []
        for build in self.all():
            seen[build.profile] = seen.get(build.profile, 0) + 1
            if seen[build.profile] <= keep:
                continue
            if Path(build.directory).resolve() in running:
                steps.append(_step(Status.SKIPPED, "it runs", name=f"build {build.id}"))
                continue
            steps.append(self._remove(build, check=check))
        steps += self._sweep(check=check)
        if not steps:
            kept = ", ".join(f"{number} {profile}" for profile, number in sorted(seen.items()))
            steps.append(_step(Status.OK, f"nothing to remove: {kept or 'none'} kept"))
        return tuple(steps)

    def identify(self, executable: Path) -> Build | None:
        """Return the build that a running environmentd belongs to, symbolic links resolved.

        A build that is not kept has no directory; its profile is that of the directory it lies in,
        empty where that tells none. None where the executable is gone or was replaced.
        """
        home = executable.resolve().parent
        if home.parent == self._folder.resolve() and build_folders.is_build(home):
            return build_folders.read(home) if executable.is_file() else None
        files = running_files(executable, self._hashes)
        if files is None:
            return None
        for build in self.all():
            if build.files == files:
                return build
        profile = hinted_profile(home)
        try:
            answer = ask(executable.resolve())
        except ExternalError:
            answer = Answer("", "")
        return Build(
            id=build_id(profile, files),
            profile=profile,
            files=files,
            version=answer.version,
            commit=answer.commit,
            origin=f"found in {home}",
        )

    def _keep(
        self, described: Build, programs: Mapping[str, Path], remark: str, progress: Progress
    ) -> tuple[Build, Step]:
        with explained(self._folder, "creating"):
            self._folder.mkdir(parents=True, exist_ok=True)
        self._sweep(check=False)
        with explained(programs[ENVIRONMENTD].parent, "reading"):
            signatures = {name: signature(path) for name, path in programs.items()}
        files = self._hash(programs)
        build = msgspec.structs.replace(
            described, id=build_id(described.profile, files), files=files
        )
        directory = self._folder / build.id
        if build_folders.is_intact(directory, programs):
            return self._again(directory, build, remark)
        kept = build_folders.place(directory, build, programs, signatures, progress)
        why = _said(f"{kept.id}: {kept.profile} of {_commit_in_words(_tree_of(kept))}", remark)
        return kept, _step(Status.CHANGED, why, (f"+ {kept.directory}",))

    def _again(self, directory: Path, build: Build, remark: str) -> tuple[Build, Step]:
        """Return the build that is kept already, its record completed where more is known now."""
        kept = build_folders.read(directory)
        words = f"{build.id} is kept already"
        if len(kept.commit) >= len(build.commit):
            build_folders.touch(directory)
            return kept, _step(Status.OK, _said(words, remark))
        # It had been adopted: of its commit no more was known than its version tells.
        build = msgspec.structs.replace(build, made_at=kept.made_at)
        kept = build_folders.complete(directory, build)
        words = f"{words}; it turns out to be of {_commit_in_words(_tree_of(kept))}"
        return kept, _step(Status.CHANGED, _said(words, remark))

    def _hash(self, programs: Mapping[str, Path]) -> dict[str, str]:
        return {name: self._hashes.of(path) for name, path in sorted(programs.items())}

    def _remove(self, build: Build, *, check: bool) -> Step:
        name, diff = f"build {build.id}", (f"- {build.directory}",)
        what = f"{build.profile} of {build.made_at}"
        if check:
            return _step(Status.WOULD_CHANGE, what, diff, name=name)
        build_folders.discard(Path(build.directory))
        return _step(Status.CHANGED, what, diff, name=name)

    def _sweep(self, *, check: bool) -> list[Step]:
        """Remove what killed commands left."""
        left = build_folders.leftovers(self._folder)
        for path in () if check else left:
            build_folders.clear(path)
        status = Status.WOULD_CHANGE if check else Status.CHANGED
        why = "left by a command that was killed"
        return [_step(status, why, (f"- {path}",), name="leftover") for path in left]

    def _running_directories(self) -> set[Path]:
        return {Path(path.removesuffix(" (deleted)")).resolve().parent for path in self._running()}

    def _require_checkout(self) -> Checkout:
        if self._checkout is None:
            raise PreconditionError(
                "There is no checkout to compile.",
                code="build.no-checkout",
                why="`checkout` in [materialize] is not set.",
                remedy="Set it to a Materialize checkout, or name binaries with --from.",
            )
        return self._checkout


def _compiled(directory: Path) -> dict[str, Path]:
    """Return the programs that cargo has just written to ``directory``."""
    try:
        return pair(directory)
    except PreconditionError as error:
        raise PreconditionError(
            "The build succeeded, but its binaries are not where they should be.",
            code="build.no-binaries",
            why=f"{error.what} A `target-dir` in cargo's configuration may lead elsewhere.",
            remedy="Set CARGO_TARGET_DIR to cargo's target directory, or unset it in cargo's"
            " configuration: `bin/environmentd` looks for them in the checkout's own `target`.",
        ) from error


def _describe(
    profile: str, answers: Mapping[str, Answer], origin: str, tree: TreeIdentity
) -> Build:
    """Return all that is known of a build but its files and what follows from them."""
    return Build(
        id="",
        profile=profile,
        files={},
        version=answers[ENVIRONMENTD].version,
        commit=tree.commit,
        change=tree.change,
        dirty=tree.dirty,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        origin=origin,
    )


def _tree_of(build: Build) -> TreeIdentity:
    return TreeIdentity(build.commit, build.change, build.dirty)


def _commit_in_words(tree: TreeIdentity) -> str:
    if not tree.commit:
        return "an unknown commit"
    return f"commit {tree.commit[:9]}{' with uncommitted edits' if tree.dirty else ''}"


def _doubt(profile: str, programs: Mapping[str, Path], answers: Mapping[str, Answer]) -> str:
    """Say what speaks against binaries being one build of ``profile``; empty where nothing does."""
    doubts = []
    hint = hinted_profile(programs[ENVIRONMENTD].parent)
    if hint not in ("", profile):
        doubts.append(f"taken for {profile} as you say, though they lie in a directory {hint}")
    versions = {name: answers[name].version for name in NAMES}
    if len(set(versions.values())) > 1:
        doubts.append(", but ".join(f"{name} is {each}" for name, each in versions.items()))
    return "; ".join(doubts)


def _said(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _step(status: Status, why: str, diff: tuple[str, ...] = (), *, name: str = "build") -> Step:
    return Step(name=name, status=status, why=why, diff=diff)


def _unknown(wanted: str, builds: tuple[Build, ...]) -> UsageError:
    known = {build.profile for build in builds} | {build.id for build in builds}
    if not builds:
        why, remedy = "No build is kept yet.", "`build.debug` and `build.optimized` make one."
    else:
        why = f"An id is given by at least {_LEAST_PREFIX} of its digits."
        remedy = did_you_mean(wanted, known, "`build.list` shows what is kept.")
    return UsageError(
        f"There is no build {wanted!r}.", code="build.unknown", why=why, remedy=remedy
    )
