"""A session recorded with jj.

What `Jj.separate` leaves is what ``squash --from @- --into @`` of the prompt, ``describe`` and
``new`` would leave, but the change for the prompt is put *between* the session's change and the
empty one. The working-copy change is so never described on the way, and the effect of each command
shows in the repository alone, which is what makes every step repeatable after a crash.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import msgspec

from lab.core.errors import StateMismatchError
from lab.vcs.base import VcsStatus
from lab.vcs.jj_command import JjCommand, immutable
from lab.vcs.paths import listed, names_in
from lab.vcs.trailers import SESSION, role_of, session_of, sign

# The crash tests kill at `:before` and `:after` of each.
POINTS = (
    "vcs.track",
    "vcs.describe",
    "vcs.start-new",
    "vcs.insert-log",
    "vcs.move-log",
    "vcs.insert-prompt",
    "vcs.move-prompt",
    "vcs.snapshot",
)

# A session's changes are looked for this far below the working copy and all heads.
_DEPTH = 32
_UNITS = {"": 1, "b": 1}
_UNITS |= {f"{p}{s}": 1000**n for n, p in enumerate("kmgt", 1) for s in ("", "b")}
_UNITS |= {f"{p}i{s}": 1024**n for n, p in enumerate("kmgt", 1) for s in ("", "b")}


class _Change(msgspec.Struct, frozen=True, array_like=True):
    change: str
    commit: str
    description: str
    empty: bool
    conflict: bool
    immutable: bool
    current: bool
    below: bool


_FIELDS = (
    "change_id",
    "commit_id",
    "description",
    "empty",
    "conflict",
    "immutable",
    "current_working_copy",
    'self.contained_in("::@")',
)


class _Settings(msgspec.Struct, frozen=True, array_like=True):
    name: str | None
    email: str | None
    size_limit: str | int | None


_SETTINGS = tuple(
    f'config("{name}")' for name in ("user.name", "user.email", "snapshot.max-new-file-size")
)


class Jj:
    """The jj repository at ``root``; see `lab.vcs.base.Repository` for what the methods promise."""

    system = "jj"

    def __init__(self, root: Path, executable: str) -> None:
        self.root = root.resolve()
        self._jj = JjCommand(executable, self.root)

    def __repr__(self) -> str:
        return f"Jj({str(self.root)!r})"

    def status(self) -> VcsStatus:
        """Look, and change nothing: not even the edits in the working copy are recorded."""
        current, refused = self._current()
        return self._status(current, refused)

    def require_ready(self, session: str, files: Sequence[Path]) -> VcsStatus:
        """Refuse what a session cannot be recorded on."""
        current, refused = self._current()
        self._refuse_unfit(current, session)
        self._refuse_large(names_in(self.root, files))
        return self._status(current, refused)

    def describe(
        self, session: str, message: str, *, paths: Sequence[Path], apart: Sequence[Path] = ()
    ) -> str:
        """Describe the working-copy change; its id stays."""
        with self._jj.exclusive():
            done = _with_role(self._changes_of(session), "")
            if done:
                return done.change
            current, _ = self._current()
            self._refuse_unfit(current, session)
            self._track(names_in(self.root, [*paths, *apart]))
            self._jj.change("describe", "describe", "--stdin", "@", message=sign(message, session))
            return self._work_of(session).change

    def start_new(self, session: str) -> str:
        """Start an empty change on top, unless the working copy has moved on already."""
        with self._jj.exclusive():
            if self._work_of(session).current:
                self._jj.change("start-new", "new")
            return self._log("@")[0].change

    def separate(
        self, session: str, role: str, message: str, *, paths: Sequence[Path]
    ) -> str | None:
        """Move ``paths`` into a change between the session's and the empty one."""
        names = names_in(self.root, paths)
        with self._jj.exclusive():
            if self._work_of(session).current:
                self._jj.change("start-new", "new")
            self._track(names)
            changes = self._changes_of(session)
            apart = _with_role(changes, role)
            sources = self._to_move(changes, apart, names)
            if not sources:
                return apart.change if apart else None
            if apart is None:
                apart = self._insert(session, role, message, changes)
            # Both sources are kept though they may become empty: one is described, the other is
            # the working copy.
            froms = [f"--from={change}" for change in sources]
            flags = ["--keep-emptied", "--use-destination-message", f"--into={apart.change}"]
            self._jj.change(f"move-{role}", "squash", *flags, *froms, *map(_fileset, names))
            return apart.change

    def operation(self) -> str:
        """Record the working copy's edits, so that going back keeps them; return the operation."""
        with self._jj.exclusive():
            self._jj.change("snapshot", "util", "snapshot")
        return self._jj.operation()

    def undo_command(self, operation_before: str, operation_after: str) -> str:
        """Return ``jj operation restore``, to be run where this command was."""
        if operation_before == operation_after or self.operation() != operation_after:
            return ""
        here = Path.cwd()
        inside = here.is_relative_to(self.root)
        where = [] if inside else ["-R", os.path.relpath(self.root, here)]
        return shlex.join(["jj", *where, "operation", "restore", operation_before[:16]])

    def _current(self) -> tuple[_Change, list[str]]:
        """Return the working-copy change with its edits, and the files that jj left out."""
        template = _template(_FIELDS)
        printed, warnings = self._jj.look_closely("log", "--no-graph", "--revisions=@", template)
        # Its form in 0.46: "  big.bin: 1.1MiB (1200000 bytes); the maximum size allowed is …".
        refused = re.findall(
            r"^  (.+): \S+ \(\d+ bytes\); the maximum size", warnings, flags=re.MULTILINE
        )
        return msgspec.json.decode(printed, type=_Change), refused

    @functools.cached_property
    def _settings(self) -> _Settings:
        template = _template(_SETTINGS)
        printed = self._jj.look("log", "--no-graph", "--revisions=root()", template)
        return msgspec.json.decode(printed, type=_Settings)

    def _status(self, current: _Change, refused: Sequence[str]) -> VcsStatus:
        settings = self._settings
        configured = bool(settings.name and settings.email)
        warnings = []
        if not configured:
            warnings.append(
                "No author is configured, so the change has an empty one. Set it with "
                "`jj config set --user user.name NAME` and `… user.email ADDRESS`."
            )
        if refused:
            warnings.append(
                f"jj leaves these files out for their size: {listed(refused)}. "
                "Ignore them in .gitignore, or raise `snapshot.max-new-file-size`."
            )
        return VcsStatus(
            system=self.system,
            version=self._jj.version,
            root=str(self.root),
            change=current.change,
            commit=current.commit,
            description=current.description,
            empty=current.empty,
            author=f"{settings.name} <{settings.email}>" if configured else "",
            operation=self._jj.operation(),
            warnings=tuple(warnings),
        )

    def _refuse_unfit(self, current: _Change, session: str) -> None:
        if current.description and session_of(current.description) != session:
            raise _foreign(current)
        if current.conflict:
            raise StateMismatchError(
                f"The working copy in {self.root} has conflicts.",
                code="vcs.conflict",
                why=f"Change {current.change[:12]} holds files that jj could not merge.",
                remedy="Resolve them (`jj resolve --list` names them) and start again.",
            )
        if current.immutable:
            raise immutable(self.root)

    def _refuse_large(self, names: Sequence[str]) -> None:
        limit = _bytes(self._settings.size_limit)
        sizes = {name: _size(self.root / name) for name in names}
        large = [name for name, size in sizes.items() if limit and size > limit]
        tracked = self._tracked(large)
        new = [name for name in large if name not in tracked]
        if new:
            raise StateMismatchError(
                f"Too large for jj to take in: {listed(new)}.",
                code="vcs.too-large",
                why=f"jj leaves new files over {limit} bytes out of a change with only a warning "
                f"(`snapshot.max-new-file-size`); {new[0]} has {sizes[new[0]]}.",
                remedy="Make the file smaller, or raise the limit with "
                "`jj config set --repo snapshot.max-new-file-size 10MiB`.",
            )

    def _tracked(self, names: Sequence[str]) -> set[str]:
        if not names:
            return set()
        filesets = map(_fileset, names)
        printed, _ = self._jj.look_closely("file", "list", "--revision=@", *filesets)
        # Names come relative to the root, where jj is run; a missing one is only warned about.
        return set(printed.splitlines())

    def _track(self, names: Sequence[str]) -> None:
        """Make jj see ``names`` even where they are ignored."""
        self._refuse_large(names)
        present = [name for name in names if os.path.lexists(self.root / name)]
        tracked = self._tracked(present)
        missing = [_fileset(name) for name in present if name not in tracked]
        if missing:
            self._jj.change("track", "file", "track", "--include-ignored", *missing)

    def _log(self, revisions: str) -> list[_Change]:
        template = _template(_FIELDS)
        printed = self._jj.look("log", "--no-graph", f"--revisions={revisions}", template)
        return [msgspec.json.decode(line, type=_Change) for line in printed.splitlines()]

    def _changes_of(self, session: str) -> list[_Change]:
        """Return the session's changes, those below the working copy first."""
        trailer = _quoted(f"{SESSION}: {session}")
        near = f"ancestors(@ | visible_heads(), {_DEPTH})"
        found = self._log(f"{near} & description(substring:{trailer})")
        found.sort(key=lambda change: not change.below)
        return [change for change in found if session_of(change.description) == session]

    def _work_of(self, session: str) -> _Change:
        change = _with_role(self._changes_of(session), "")
        if change is None:
            raise StateMismatchError(
                f"No change of session {session} is to be found in {self.root}.",
                code="vcs.no-change",
                why="Its description was taken away, or the change was abandoned.",
                remedy="Look with `jj log` and `jj operation log` what became of it.",
            )
        return change

    def _to_move(
        self, changes: Sequence[_Change], apart: _Change | None, names: Sequence[str]
    ) -> list[str]:
        """Return the change ids from which ``names`` are still to be moved.

        Edits made since in the empty change on top go along, until the move has been made.
        """
        if not names:
            return []
        work = _with_role(changes, "")
        assert work
        on_top = f"@ & {work.commit}:: & description(exact:'')"
        touching = "files(" + " | ".join(map(_fileset, names)) + ")"
        printed, _ = self._jj.look_closely(
            "log",
            "--no-graph",
            f"--revisions=({work.commit} | {on_top}) & {touching}",
            r'--template=change_id ++ "\n"',
        )
        sources = printed.splitlines()
        done = apart and not apart.empty and work.change not in sources
        return [] if done else sources

    def _insert(self, session: str, role: str, message: str, changes: Sequence[_Change]) -> _Change:
        """Make an empty change for ``role`` on top of those that the session has."""
        own = " | ".join(change.commit for change in changes)
        self._jj.change(
            f"insert-{role}",
            "new",
            "--no-edit",
            f"--insert-after=heads({own})",
            f"--message={sign(message, session, role)}",
        )
        inserted = _with_role(self._changes_of(session), role)
        assert inserted
        return inserted


def _with_role(changes: Sequence[_Change], role: str) -> _Change | None:
    return next((change for change in changes if role_of(change.description) == role), None)


def _foreign(current: _Change) -> StateMismatchError:
    other = session_of(current.description)
    title = current.description.splitlines()[0]
    if other:
        remedy = "Finish or abort that session first, or start a change of your own with `jj new`."
    else:
        remedy = "Start a change of your own on top of it with `jj new`, then start the session."
    return StateMismatchError(
        f"The working-copy change {current.change[:12]} is already described.",
        code="vcs.described",
        why=f"It belongs to session {other}." if other else f"It says {title!r}.",
        remedy=remedy,
    )


def _template(fields: Sequence[str]) -> str:
    values = ' ++ "," ++ '.join(f"json({field})" for field in fields)
    return f'--template="[" ++ {values} ++ "]\\n"'


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _fileset(name: str) -> str:
    return f"root-file:{_quoted(name)}"


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def _bytes(limit: str | int | None) -> int:
    """Read jj's size setting; 0, jj's word for no limit, also where it cannot be read."""
    found = re.fullmatch(r"\s*([\d.]+)\s*([a-z]*)\s*", str(limit).lower())
    if not found or found[2] not in _UNITS:
        return 0
    return int(float(found[1]) * _UNITS[found[2]])
