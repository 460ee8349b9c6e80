"""Read a page of metrics in Prometheus' text format, and of it only what is wanted.

A page may be many times larger than what is wanted of it, and parsing takes far longer than looking
at how a line begins. So lines are sorted out before prometheus_client's parser sees them, family by
family, and no more than one piece of the page is held at a time.

The text format: the lines of a family stand together, after one that begins with ``# TYPE``, and
nothing stands before the name in a line. Source: Prometheus' documentation, "Exposition formats".
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import msgspec

from lab.core.errors import ExternalError
from lab.metrics.download import NO_END, pieces, truncated
from lab.metrics.reading import Kind, Series

_TYPE = b"# TYPE "
_NAME = re.compile(rb"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LONGEST_LINE = 1024 * 1024
_PARTS = {
    "histogram": ("_sum", "_count", "_bucket"),
    "summary": ("_sum", "_count", ""),
}
_NS_PER_S = 1e9
_NS_PER_MS = 1e6


class Family(msgspec.Struct, frozen=True):
    """A family of which something is wanted: all its series, or those with one of ``values``.

    A histogram's buckets are left out unless they are asked for: they are most of its lines.
    """

    name: str
    label: str = ""
    values: tuple[str, ...] = ()
    buckets: bool = False


class Wanted(msgspec.Struct, frozen=True):
    """The families that are wanted, by exact name."""

    families: tuple[Family, ...]


class Sample(msgspec.Struct, frozen=True):
    """One line of a page.

    ``kind`` is the family's (``histogram``, ``counter``, ``gauge``, …); ``part`` is ``sum``,
    ``count`` or ``bucket``, empty where the family has no parts. ``value`` is as on the page.
    """

    family: str
    kind: str
    part: str
    labels: tuple[tuple[str, str], ...]
    value: float


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What was wanted of a page, and what reading it took.

    ``families`` holds the names of all families that the page has, wanted or not. ``crowded`` are
    families that have more series than were asked for, with their number of lines: none of their
    samples are given. ``taken_ns`` is a monotonic clock.
    """

    samples: tuple[Sample, ...]
    families: frozenset[str]
    crowded: dict[str, int]
    bytes_read: int
    taken_ns: int
    cost_ns: int


def scrape(url: str, wanted: Wanted, *, timeout_s: float) -> Page:
    """Read what is ``wanted`` of the page at ``url``.

    Raises
    ------
    ExternalError
        ``metrics.refused``, ``metrics.unavailable``, ``metrics.truncated``, or
        ``metrics.malformed`` where the answer is no page of metrics.
    LabTimeoutError
        ``metrics.slow``.

    """
    families = {family.name: family for family in wanted.families}
    prefixes = (_TYPE, *(name.encode() for name in families))

    def chosen(family: str, line: bytes) -> bool:
        declared = families.get(family)
        return declared is not None and _may_be_of(declared, line)

    page = _read(
        url,
        timeout_s,
        sift=lambda lines: [line for line in lines if line.startswith(prefixes)],
        chosen=chosen,
    )
    kept = tuple(each for each in page.samples if _is_of(families[each.family], each))
    return msgspec.structs.replace(page, samples=kept)


def browse(url: str, match: str, *, most: int, timeout_s: float) -> Page:
    """Read all series but buckets whose name (see `as_series`) contains ``match``; for people.

    A family with more than ``most`` lines of them is `Page.crowded`. Errors are those of `scrape`.
    """
    # What follows the last dot of a series' name, and how braces follow it, is not on the page.
    needles = [
        needle.encode() for needle in re.split(r"[{}]", re.sub(r"\.\w*$", "", match)) if needle
    ]

    def chosen(family: str, line: bytes) -> bool:
        return not line.startswith(f"{family}_bucket".encode())

    def sift(lines: Sequence[bytes]) -> list[bytes]:
        return [
            line
            for line in lines
            if line.startswith(_TYPE) or all(needle in line for needle in needles)
        ]

    page = _read(url, timeout_s, sift=sift, chosen=chosen, most=most)
    kept = tuple(each for each in page.samples if match in series_name(each))
    return msgspec.structs.replace(page, samples=kept)


def series_name(sample: Sample) -> str:
    """Return ``family{label="value"}.part``: the name that a series has in a reading."""
    labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in sample.labels)
    return (
        sample.family
        + (f"{{{labels}}}" if labels else "")
        + (f".{sample.part}" * bool(sample.part))
    )


def as_series(samples: Iterable[Sample], *, in_seconds: Collection[str] = ()) -> Iterator[Series]:
    """Yield samples as series: seconds and milliseconds as ns, each part of a histogram by itself.

    ``in_seconds`` names families whose names do not tell. What is not a number (NaN, infinity) is
    left out.
    """
    for sample in samples:
        if not math.isfinite(sample.value):
            continue
        unit = unit_of(sample.family, sample.part, in_seconds)
        counter = sample.kind == "counter" or bool(sample.part)
        value = sample.value
        if unit == "ns":
            value = round(value * (_NS_PER_MS if sample.family.endswith("_ms") else _NS_PER_S))
        kind = Kind.COUNTER if counter else Kind.GAUGE
        yield Series(series_name(sample), kind, unit, float(value))


def unit_of(family: str, part: str, in_seconds: Collection[str] = ()) -> str:
    """Return the unit of a series (``ns``, ``bytes``, ``count``), as its family's name tells."""
    if part in ("count", "bucket") or family.endswith("_start_time_seconds"):
        return "count"  # the latter is a date
    if family in in_seconds or family.endswith(("_seconds", "_seconds_total", "_ms")):
        return "ns"
    return "bytes" if "_bytes" in family else "count"


def _may_be_of(family: Family, line: bytes) -> bool:
    """Say whether ``line`` is worth parsing; never no where it is wanted."""
    if not family.buckets and line.startswith(f"{family.name}_bucket".encode()):
        return False
    return not family.values or any(_escaped(value).encode() in line for value in family.values)


def _is_of(family: Family, sample: Sample) -> bool:
    return not family.values or dict(sample.labels).get(family.label) in family.values


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


class _Block:
    """The lines of one family, so far; ``kept`` holds up to ``most`` of them, ``count`` is all."""

    def __init__(self, family: str, kind: str, most: int | None) -> None:
        self.family = family
        self.kind = kind
        self.most = most
        self.kept: list[bytes] = []
        self.count = 0
        self.names = frozenset(family + part for part in _PARTS.get(kind, ("",)))

    @property
    def crowded(self) -> bool:
        return self.count > len(self.kept)

    def add(self, line: bytes) -> None:
        self.count += 1
        if self.most is None or self.count <= self.most:
            self.kept.append(line)


def _read(
    url: str,
    timeout_s: float,
    *,
    sift: Callable[[Sequence[bytes]], Sequence[bytes]],
    chosen: Callable[[str, bytes], bool],
    most: int | None = None,
) -> Page:
    """Read a page; ``sift`` drops lines that cannot be of interest, ``chosen`` looks at the rest.

    ``sift`` has to let the lines pass that begin with ``# TYPE``.
    """
    began_ns = time.monotonic_ns()
    samples: list[Sample] = []
    families: set[str] = set()
    crowded: dict[str, int] = {}
    received = 0
    block = _Block("", "", most)

    def close(block: _Block) -> None:
        if block.crowded:
            crowded[block.family] = block.count
        elif block.kept:
            samples.extend(_parsed(url, block))

    for lines, size in _lines(url, timeout_s):
        received += size
        for line in sift(lines):
            name = _begun(line)
            if line.startswith(_TYPE) or (name and name not in block.names):
                close(block)
                block = _Block(name, _kind(line), most)
                families.add(name)
            if name and not line.startswith(b"#") and chosen(block.family, line):
                block.add(line)
    close(block)
    families.discard("")
    if not families:
        raise _malformed(url, "It names no metric.")
    return Page(
        samples=tuple(samples),
        families=frozenset(families),
        crowded=crowded,
        bytes_read=received,
        taken_ns=began_ns,
        cost_ns=time.monotonic_ns() - began_ns,
    )


def _lines(url: str, timeout_s: float) -> Iterator[tuple[list[bytes], int]]:
    """Yield the page's whole lines, many at a time, and how many bytes of it were read."""
    rest, received = b"", 0
    for piece in pieces(url, timeout_s=timeout_s):
        received += len(piece)
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            raise _malformed(url, f"A line is longer than {_LONGEST_LINE:,} bytes.")
        yield lines, len(piece)
    if rest:
        raise truncated(url, received, NO_END)


def _begun(line: bytes) -> str:
    """Return the name that ``line`` is about, empty where it is a comment or blank."""
    found = _NAME.match(line, len(_TYPE) if line.startswith(_TYPE) else 0)
    return found.group().decode() if found else ""


def _kind(line: bytes) -> str:
    """Return what a ``# TYPE`` line says that its family is; a sample without one is untyped."""
    return line.split()[-1].decode(errors="replace") if line.startswith(_TYPE) else "untyped"


def _parsed(url: str, block: _Block) -> Iterator[Sample]:
    from prometheus_client.parser import text_string_to_metric_families

    parts = block.kind in _PARTS
    try:
        lines = b"\n".join((f"# TYPE {block.family} {block.kind}".encode(), *block.kept, b""))
        for metric in text_string_to_metric_families(lines.decode()):
            for name, labels, value, *_ in metric.samples:
                # The parser puts `_total` behind the names of counters.
                part = name.removeprefix(block.family).removeprefix("_") if parts else ""
                named = tuple(labels.items())
                yield Sample(block.family, block.kind, part, named, float(value))
    except ValueError as error:
        raise _malformed(url, f"A line of {block.family} cannot be read: {error}") from error


def _malformed(url: str, why: str) -> ExternalError:
    return ExternalError(
        f"What {url} answered is no page of metrics.",
        code="metrics.malformed",
        why=why[:300],
        remedy="Is that the port that serves metrics? `env.status` shows the environment's.",
    )
