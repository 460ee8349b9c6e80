"""Sampled stacks of a server: read from profilers' output, added up into the hottest frames."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec

_PAGE = re.compile(r"let mzfg = (?P<json>\"(?:[^\"\\]|\\.)*\")")
_STACK = re.compile(r"^(?P<addresses>(?:0x[0-9a-fA-F]+;)*) (?P<weight>\d+(?:\.\d*)?)(?: .*)?$")
_NAMES = re.compile(r"^(?P<address>0x[0-9a-fA-F]+) (?P<names>.+)$")
_PIECE = re.compile(r"((?:[^;\\]|\\.)+);?")
_FRAME = re.compile(r"^\s+[0-9a-f]+ (?P<name>.+?)(?:\+0x[0-9a-f]+)? \(.*\)$")
_HANDLER = "perf_signal_handler"  # of the crate pprof
_HANDED_ON = 0.98
# What Rust's two ways of naming symbols append to a path.
_HASH = re.compile(r"::h[0-9a-f]{16}$|\[[0-9a-f]{16}\]")


class Stack(NamedTuple):
    """One stack, from the outermost frame to the innermost, and how many samples found it."""

    frames: tuple[str, ...]
    weight: float


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """A function: the share of the samples in which it was on the stack, and on top of it."""

    name: str
    total: float
    own: float


def from_page(page: str) -> tuple[Stack, ...]:
    """Read the stacks out of environmentd's flamegraph page.

    The page holds, as a JSON string, a header, a line for each stack (addresses, a weight), and the
    names of each address (src/prof/src/lib.rs writes it, flamegraph.js reads it; version 1).

    Raises
    ------
    ValueError
        There is no such text in it.
    """
    found = _PAGE.search(page)
    if found is None:
        raise ValueError("the page holds no stacks")
    lines = json.loads(found["json"]).split("\n")
    stacks = [match for line in lines if (match := _STACK.match(line))]
    names = {
        match["address"]: tuple(_unescaped(match["names"]))
        for line in lines
        if (match := _NAMES.match(line)) and not _STACK.match(line)
    }
    return tuple(
        Stack(
            _without_profiler(
                [
                    name
                    for address in stack["addresses"].split(";")[:-1]
                    for name in names.get(address, (address,))
                ]
            ),
            float(stack["weight"]),
        )
        for stack in stacks
        if stack["addresses"]
    )


def from_perf(script: str) -> tuple[Stack, ...]:
    """Read the stacks out of what ``perf script`` prints: innermost frame first, blank between."""
    counted: Counter[tuple[str, ...]] = Counter()
    frames: list[str] = []
    for line in [*script.splitlines(), ""]:
        match = _FRAME.match(line)
        if match:
            frames.append(plain_name(match["name"]))
        elif not line.strip() and frames:
            counted[tuple(reversed(frames))] += 1
            frames = []
    return tuple(Stack(stack, weight) for stack, weight in counted.items())


def folded(stacks: Iterable[Stack]) -> str:
    """Return ``stacks`` in the folded form that flamegraph tools read: ``a;b;c 12``."""
    return "".join(f"{';'.join(stack.frames)} {stack.weight:g}\n" for stack in stacks)


def hottest(stacks: Sequence[Stack], most: int) -> tuple[Frame, ...]:
    """Return the ``most`` functions that were on top of the stack most often, hottest first."""
    return tuple(sorted(_frames(stacks), key=lambda each: (-each.own, each.name)))[:most]


def widest(stacks: Sequence[Stack], most: int) -> tuple[Frame, ...]:
    """Return the ``most`` functions below which most samples lie, widest first.

    One that hands all of its samples on to a function that it calls says nothing, and is left out.
    """
    passed_on: dict[str, dict[str, float]] = {}
    for stack in stacks:
        for caller, callee in set(pairwise(stack.frames)):
            callees = passed_on.setdefault(caller, {})
            callees[callee] = callees.get(callee, 0.0) + stack.weight
    all_samples = sum(stack.weight for stack in stacks)
    telling = [
        frame
        for frame in _frames(stacks)
        if max(passed_on.get(frame.name, {}).values(), default=0.0)
        < _HANDED_ON * frame.total * all_samples
    ]
    return tuple(sorted(telling, key=lambda each: (-each.total, each.name)))[:most]


def _frames(stacks: Sequence[Stack]) -> Iterator[Frame]:
    """Yield each function with its shares; one that calls itself counts once for each sample."""
    all_samples = sum(stack.weight for stack in stacks)
    own: dict[str, float] = {}
    total: dict[str, float] = {}
    for stack in stacks:
        for name in set(stack.frames):
            total[name] = total.get(name, 0.0) + stack.weight
        for name in stack.frames[-1:]:
            own[name] = own.get(name, 0.0) + stack.weight
    for name, weight in total.items():
        share = own.get(name, 0.0) / all_samples
        yield Frame(name=name, total=weight / all_samples, own=share)


def plain_name(name: str) -> str:
    """Return the name of a function without the hashes that Rust's compiler appends."""
    return _HASH.sub("", name).strip()


def _without_profiler(frames: Sequence[str]) -> tuple[str, ...]:
    """Leave out the profiler's own frames: its signal's handler, and how it was entered."""
    handler = next((i for i, name in enumerate(frames) if _HANDLER in name), len(frames))
    kept = list(frames[:handler])
    if len(kept) > 1 and handler < len(frames) and kept[-1].startswith("0x"):
        kept.pop()  # the kernel's way back from a signal, which has no name
    return tuple(kept)


def _unescaped(names: str) -> Iterator[str]:
    for match in _PIECE.finditer(names):
        yield plain_name(re.sub(r"\\(.)", r"\1", match[1]))
