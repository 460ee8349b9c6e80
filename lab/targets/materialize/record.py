"""What the lab writes down of an environment: its process, its launches, its starts."""

from __future__ import annotations

from pathlib import Path

import msgspec

from lab.core.files import read_struct, write_struct
from lab.core.processes import ProcessIdentity
from lab.targets.base import AS_DECLARED, Launch
from lab.targets.parts import Boot

_MOST_TOKENS = 50
_MOST_BOOTS = 50


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """``.lab/environments/NAME.json``.

    ``process`` is the environmentd that was started last, None once it was stopped. ``tokens`` are
    those of the lab's launches, the last one at the end: what carries one is the lab's. ``offset``
    is the length that the log had at the last launch, and ``launch`` what was asked for then, a
    saved build by its id.
    """

    process: ProcessIdentity | None = None
    tokens: tuple[str, ...] = ()
    offset: int = 0
    launch: Launch = AS_DECLARED

    @property
    def token(self) -> str:
        """That of the last launch; empty where there was none."""
        return self.tokens[-1] if self.tokens else ""

    def with_launch(self, token: str, offset: int, launch: Launch) -> Record:
        """Return this record with one more launch."""
        tokens = (*self.tokens, token)[-_MOST_TOKENS:]
        return msgspec.structs.replace(self, tokens=tokens, offset=offset, launch=launch)


class Records(msgspec.Struct, frozen=True):
    """The files about one environment in ``folder`` (``.lab/environments``)."""

    folder: Path
    name: str

    @property
    def log(self) -> Path:
        """The log of environmentd and of what was launched around it."""
        return self.folder / f"{self.name}.log"

    @property
    def lock(self) -> Path:
        """The lock of starting and stopping."""
        return self.folder / f"{self.name}.lock"

    @property
    def listeners(self) -> Path:
        """The listener configuration of the last launch."""
        return self.folder / f"{self.name}-listeners.json"

    @property
    def variables(self) -> Path:
        """The system variables that were set."""
        return self.folder / f"{self.name}-variables.json"

    @property
    def recipe(self) -> Path:
        """How the last environmentd was launched that ``bin/environmentd`` made."""
        return self.folder / f"{self.name}-launch.json"

    def read(self) -> Record:
        """Return the record; an empty one where there is none."""
        return read_struct(self._file, Record) or Record()

    def write(self, record: Record) -> None:
        """Replace the record."""
        write_struct(self._file, record)

    def boots(self) -> tuple[Boot, ...]:
        """Return what is known of the starts, newest first."""
        read = (
            read_struct(path, Boot) for path in sorted(self._boots.glob("*.json"), reverse=True)
        )
        return tuple(boot for boot in read if boot is not None)

    def add_boot(self, boot: Boot) -> None:
        """Keep a start; the oldest beyond fifty go."""
        name = boot.started_at.replace(":", "").replace("-", "")
        write_struct(self._boots / f"{name}-{boot.id.partition('@')[0]}.json", boot)
        for old in sorted(self._boots.glob("*.json"))[:-_MOST_BOOTS]:
            old.unlink(missing_ok=True)

    @property
    def _file(self) -> Path:
        return self.folder / f"{self.name}.json"

    @property
    def _boots(self) -> Path:
        return self.folder / f"{self.name}-boots"
