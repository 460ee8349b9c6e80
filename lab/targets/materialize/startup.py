"""What environmentd's log tells of a start: phases with their durations, panics, halts."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from lab.targets.parts import BootPhase

HALTED = 166
"""The exit code of an environmentd that ended on purpose, to be started again."""

_PHASE = re.compile(
    r"startup: (?P<label>.+?):? "
    r"(?:(?P<begun>beginning)|complete in (?P<took>[\d.]+(?:ns|µs|ms|s)))$"
)
_PANIC = re.compile(r"panicked at [^\n]*")
_HALT = re.compile(r"halting process: (?P<why>[^\n]*)")
_UNITS_NS = {"ns": 1, "µs": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_TERMINAL = re.compile(r"\x1b\[[0-9;]*m")
_MOST_LINES = 6


class _Open(msgspec.Struct):
    label: str
    children: list[BootPhase]


def phases(lines: Iterable[str]) -> tuple[BootPhase, ...]:
    """Return the phases that ``lines`` tell of as complete, those within others as children.

    A line reads ``… startup: LABEL beginning`` or ``… startup: LABEL complete in 1.002975987s``
    (seen with v26.24). A phase lies within those that had begun and not ended when it began. Of
    several starts in the log only the last one counts.
    """
    stack: list[_Open] = [_Open("", [])]
    for line in lines:
        found = _PHASE.search(plain(line))
        if found is None:
            continue
        label = found["label"]
        if found["begun"]:
            if label == _FIRST:
                stack = [_Open("", [])]
            stack.append(_Open(label, []))
        else:
            _close(stack, label, _nanoseconds(found["took"]))
    return tuple(stack[0].children)


_FIRST = "envd init"


def current_phase(lines: Iterable[str]) -> str:
    """Return the label of the innermost phase that has begun and not ended; empty for none."""
    open_phases: list[str] = []
    for line in lines:
        found = _PHASE.search(plain(line))
        if found is None:
            continue
        if found["begun"]:
            open_phases.append(found["label"])
        elif found["label"] in open_phases:
            open_phases.remove(found["label"])
    return open_phases[-1] if open_phases else ""


def panic(log: str) -> str:
    """Return where and why environmentd or clusterd panicked last, as the log says; else empty."""
    text = plain(log)
    found = list(_PANIC.finditer(text))
    if not found:
        return ""
    following = text[found[-1].start() :].splitlines()
    kept: list[str] = []
    for line in following[:_MOST_LINES]:
        if kept and ("stack backtrace" in line or "run with `RUST_BACKTRACE" in line):
            break
        kept.append(line.strip())
    return "\n".join(line for line in kept if line)


def halts(log: str) -> tuple[str, ...]:
    """Return why environmentd halted on purpose (exit code 166), each time, as the log says."""
    return tuple(found["why"].strip() for found in _HALT.finditer(plain(log)))


def halted_last(log: str) -> bool:
    """Say whether the last end that the log tells of was a halt, and no panic."""
    text = plain(log)
    ends = [found.start() for found in _HALT.finditer(text)]
    panics = [found.start() for found in _PANIC.finditer(text)]
    return bool(ends) and ends[-1] > max(panics, default=-1)


def plain(text: str) -> str:
    """Return ``text`` without terminal colours."""
    return _TERMINAL.sub("", text).rstrip()


def _nanoseconds(took: str) -> int:
    unit = next(unit for unit in ("ns", "µs", "ms", "s") if took.endswith(unit))
    return round(float(took.removesuffix(unit)) * _UNITS_NS[unit])


def _close(stack: list[_Open], label: str, duration_ns: int) -> None:
    """End the phase ``label``; one that was never seen to begin has no children."""
    depth = next((i for i in range(len(stack) - 1, 0, -1) if stack[i].label == label), 0)
    if not depth:
        shown = _within(label, [each.label for each in stack])
        stack[-1].children.append(BootPhase(label=shown, duration_ns=duration_ns))
        return
    ended = stack.pop(depth)
    # What had begun within it and has not ended goes on beside it.
    parent = stack[depth - 1]
    parent.children.append(
        BootPhase(
            label=_within(label, [each.label for each in stack[:depth]]),
            duration_ns=duration_ns,
            children=tuple(ended.children),
        )
    )


def _within(label: str, outer: Iterable[str]) -> str:
    """Return ``label`` without the longest of the labels around it that it begins with."""
    prefixes = [f"{each}: " for each in outer if each and label.startswith(f"{each}: ")]
    return label.removeprefix(max(prefixes, key=len, default=""))
