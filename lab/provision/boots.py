"""What is known of a server's starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lab.core.results import Outcome
from lab.core.tables import table
from lab.targets.base import Environment
from lab.targets.parts import Boot, BootPhase

_SHOWN_BOOTS = 10
# No blanks: a table takes leading ones away.
_INDENT = "· "


def boots(environment: Environment) -> Outcome:
    """Show what the last start consisted of, as a tree, and the starts before it."""
    known = environment.boots()
    if not known:
        return Outcome(
            summary="Nothing is known of a start.",
            data={"boots": known},
            hint="a target that tells the phases of its start keeps them from the next one on",
        )
    last = known[0]
    earlier = [
        (boot.started_at, boot.build, f"{boot.ready_ns / 1e9:.1f} s", _objects_of(boot))
        for boot in known[:_SHOWN_BOOTS]
    ]
    text = [
        f"Started {last.started_at}: {last.build}, ready after {last.ready_ns / 1e9:.1f} s",
        table(list(_phase_rows(last.phases)), headers=("phase", "ms", "of it alone, ms")),
        "",
        table(earlier, headers=("started", "build", "ready after", "objects")),
    ]
    return Outcome(text="\n".join(text), data={"boots": known})


def _objects_of(boot: Boot) -> str:
    return "" if boot.objects is None else f"{boot.objects:,}"


def _phase_rows(phases: Sequence[BootPhase], depth: int = 0) -> Iterator[tuple[str, str, str]]:
    for phase in phases:
        alone_ns = phase.duration_ns - sum(each.duration_ns for each in phase.children)
        alone = f"{alone_ns / 1e6:,.1f}" if phase.children else ""
        yield f"{_INDENT * depth}{phase.label}", f"{phase.duration_ns / 1e6:,.1f}", alone
        yield from _phase_rows(phase.children, depth + 1)
