"""What was there before anything was made from the upstream, so that cleaning can be proven."""

from __future__ import annotations

from pathlib import Path

import msgspec

from lab.core.files import explained, read_struct, write_struct
from lab.core.results import Check
from lab.servers.connection import Connection
from lab.targets.base import Environment
from lab.upstream.base import ROLE
from lab.upstream.checks import described
from lab.upstream.slots import Slot
from lab.upstream.upstream import Upstream


class Objects(msgspec.Struct, frozen=True, kw_only=True):
    """What the environment holds; ``made`` are the objects by which it reads the upstream."""

    by_type: dict[str, int]
    made: int


class Replication(msgspec.Struct, frozen=True, kw_only=True):
    """What reads the upstream; ``slots`` are names, ``sessions`` those of the source's role."""

    slots: tuple[Slot, ...]
    senders: int
    sessions: int


class Picture(msgspec.Struct, frozen=True):
    """What counts: objects in the environment, and replication on the upstream."""

    objects: Objects
    replication: Replication


class Baseline(msgspec.Struct, frozen=True):
    """How things were before the source was made, and with it, before any table."""

    before: Picture
    connected: Picture | None = None


class Baselines(msgspec.Struct, frozen=True):
    """The baselines of a workspace: one file for each environment that reads the upstream."""

    folder: Path

    @classmethod
    def of(cls, upstream: Upstream) -> Baselines:
        """Return those of ``upstream``."""
        return cls(upstream.records.folder)

    def read(self, environment: Environment) -> Baseline | None:
        """Return the baseline of ``environment``; None where it reads nothing."""
        return read_struct(self._path(environment), Baseline)

    def write(self, environment: Environment, baseline: Baseline) -> None:
        """Replace it."""
        write_struct(self._path(environment), baseline)

    def forget(self, environment: Environment) -> None:
        """Remove it, once everything is back."""
        with explained(self._path(environment), "removing"):
            self._path(environment).unlink(missing_ok=True)

    def all(self) -> tuple[str, ...]:
        """Return the names of the environments that read the upstream: ``TARGET-STATE``."""
        found = self.folder.glob("baseline-*.json")
        return tuple(sorted(each.stem.removeprefix("baseline-") for each in found))

    def others(self, environment: Environment) -> tuple[str, ...]:
        """Return the names of the other environments that read the upstream."""
        own = self._path(environment).stem.removeprefix("baseline-")
        return tuple(each for each in self.all() if each != own)

    def _path(self, environment: Environment) -> Path:
        return self.folder / f"baseline-{environment.target}-{environment.state}.json"


def picture(environment: Environment, connection: Connection, upstream: Upstream) -> Picture:
    """Return how things are now."""
    return Picture(objects_now(environment, connection), replication_now(upstream))


def objects_now(environment: Environment, connection: Connection) -> Objects:
    """Return what the environment holds now."""
    counts = environment.count_objects(connection)
    return Objects(by_type=dict(sorted(counts.by_type.items())), made=counts.upstream)


def replication_now(upstream: Upstream) -> Replication:
    """Return what reads the upstream now."""
    room = upstream.room()
    return Replication(slots=upstream.slots(), senders=room.senders, sessions=room.sessions)


def objects_compared(before: Objects | None, now: Objects) -> tuple[Check, ...]:
    """Prove that the environment holds what it did ``before``; None where that is not known.

    Then all may be as it is, but for objects that read the upstream, of which none is to be left.
    """
    wanted = before or msgspec.structs.replace(now, made=0)
    return (
        _same("user objects", wanted.by_type, now.by_type),
        Check(
            name="objects that read the upstream",
            passed=now.made == wanted.made,
            found=f"{now.made:,}",
            expected=f"{wanted.made:,}",
            remedy="`upstream.clean` drops them; `env.status` counts what is there.",
        ),
    )


def replication_compared(
    before: Replication | None, now: Replication, *, kept: bool
) -> tuple[Check, ...]:
    """Prove that nothing more replicates from the upstream than ``before``, if that is known.

    What differs may go away by itself for some seconds. A source that is ``kept`` goes on reading,
    by one slot at most; it makes it when it likes.
    """
    wanted = before or now
    if kept:
        return (_slots(wanted, now, of_source=1),)
    return (
        _slots(wanted, now, of_source=0),
        _no_more("WAL senders", wanted.senders, now.senders),
        _no_more(f"sessions of {ROLE}", wanted.sessions, now.sessions),
    )


def new_slots(before: Replication | None, slots: tuple[Slot, ...]) -> tuple[Slot, ...]:
    """Return the slots that were not there before."""
    known = [slot.name for slot in before.slots] if before else []
    return tuple(slot for slot in slots if slot.name not in known)


def _slots(wanted: Replication, now: Replication, *, of_source: int) -> Check:
    more = new_slots(wanted, now.slots)
    named = "; ".join(f"{described(slot)}, {_use(slot)}" for slot in more)
    return Check(
        name="replication slots",
        passed=len(more) <= of_source,
        found=f"{len(now.slots):,}" + (f", new: {named}" if named else ""),
        expected=f"{len(wanted.slots):,}" + (" and the one of the source" if of_source else ""),
        remedy="What reads the slots that are named is still there: end it, and run"
        " `upstream.clean` again.",
    )


def _use(slot: Slot) -> str:
    return "in use" if slot.active else "idle"


def _same(name: str, wanted: dict[str, int], found: dict[str, int]) -> Check:
    return Check(
        name=name,
        passed=wanted == found,
        found=_counts(found),
        expected=_counts(wanted),
        remedy="Something else made or dropped objects meanwhile; `env.status` counts them. The"
        " next `upstream.connect` takes what is there then for the beginning.",
    )


def _no_more(name: str, wanted: int, found: int) -> Check:
    return Check(
        name=name,
        passed=found <= wanted,
        found=f"{found:,}",
        expected=f"{wanted:,}" if not wanted else f"at most {wanted:,}",
        remedy="Something still reads the upstream: end it, and run `upstream.clean` again.",
    )


def _counts(by_type: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {kind}" for kind, number in sorted(by_type.items())) or "none"
