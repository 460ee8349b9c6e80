"""What an entry was written with, as a comment below its marker says.

::

    <!-- lab:contents regions=setup,…,evidence runs=ID,… text=sha256:… -->

A workspace may leave sections out of its template, so that this cannot be derived from the runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lab.notebook.regions import comment, is_sealed, parse_comment, sealed

EVIDENCE = "evidence"
"""The region that lists the files of all of an entry's runs; every other one is of one run."""

_KIND = "contents"
_NONE = "none"


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """The names of an entry's regions and the ids of its runs, each in order.

    ``intact`` is False where the comment was edited.
    """

    regions: tuple[str, ...]
    runs: tuple[str, ...]
    intact: bool = True

    def keys(self) -> list[tuple[str, str]]:
        """Return region and run of each region that the entry holds."""
        return [
            (name, run)
            for name in self.regions
            for run in ((joined(self.runs),) if name == EVIDENCE else self.runs)
        ]


def joined(values: Sequence[str]) -> str:
    """Return ``values`` as the value of one attribute."""
    return ",".join(values) or _NONE


def contents_comment(regions: Sequence[str], runs: Sequence[str]) -> str:
    """Return the comment that says what an entry holds."""
    return comment(_KIND, sealed({"regions": joined(regions), "runs": joined(runs)}))


def parse_contents(text: str) -> Contents | None:
    """Return what the comment in an entry's ``text`` says; None where there is none."""
    for line in text.split("\n"):
        found = parse_comment(line, _KIND)
        if found is not None:
            return Contents(
                regions=_split(found.get("regions", _NONE)),
                runs=_split(found.get("runs", _NONE)),
                intact=is_sealed(found),
            )
    return None


def _split(value: str) -> tuple[str, ...]:
    return () if value == _NONE else tuple(value.split(","))
