"""Prometheus families: counted, and shown as text."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

Labels = tuple[tuple[str, str], ...]


def powers(first: float, last: float) -> tuple[float, ...]:
    """Return buckets that double, as environmentd cuts them: 0.512 is followed by 1."""
    found, value = [], first
    while value <= last:
        found.append(value)
        value = {0.000512: 0.001, 0.512: 1.0}.get(value, round(value * 2, 6))
    return tuple(found)


@dataclass
class Series:
    """One series; ``counts`` are those of a histogram, not cumulated."""

    value: float = 0.0
    count: int = 0
    counts: list[int] = field(default_factory=list)


@dataclass
class Family:
    """A metric with all its series. A histogram has ``buckets``."""

    name: str
    kind: str
    buckets: tuple[float, ...] = ()
    series: dict[Labels, Series] = field(default_factory=dict)

    def at(self, labels: Labels) -> Series:
        """Return the series of these labels, made where it is new."""
        if labels not in self.series:
            self.series[labels] = Series(counts=[0] * (len(self.buckets) + 1))
        return self.series[labels]

    def text(self) -> str:
        """Return the family as Prometheus reads it."""
        lines = [f"# HELP {self.name} Of the stand-in.", f"# TYPE {self.name} {self.kind}"]
        for labels, series in sorted(self.series.items()):
            if self.kind == "histogram":
                lines += self._histogram(labels, series)
            else:
                lines.append(f"{self.name}{_shown(labels)} {number(series.value)}")
        return "\n".join(lines) + "\n"

    def _histogram(self, labels: Labels, series: Series) -> list[str]:
        lines, total = [], 0
        for bound, count in zip((*self.buckets, None), series.counts, strict=True):
            total += count
            le = "+Inf" if bound is None else number(bound)
            lines.append(f"{self.name}_bucket{_shown((*labels, ('le', le)))} {total}")
        lines.append(f"{self.name}_sum{_shown(labels)} {number(series.value)}")
        lines.append(f"{self.name}_count{_shown(labels)} {series.count}")
        return lines


class Registry:
    """All families of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._families: dict[str, Family] = {}

    def define(self, name: str, kind: str, buckets: tuple[float, ...] = ()) -> None:
        """Add a family; one without labels shows at once."""
        self._families[name] = Family(name, kind, buckets)

    def start_at_zero(self, name: str, **labels: str) -> None:
        """Show a series before anything happened."""
        with self._lock:
            self._families[name].at(tuple(labels.items()))

    def add(self, name: str, value: float, **labels: str) -> None:
        """Add to a counter."""
        with self._lock:
            self._families[name].at(tuple(labels.items())).value += value

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        with self._lock:
            self._families[name].at(tuple(labels.items())).value = value

    def observe(self, name: str, seconds: float, times: int = 1, **labels: str) -> None:
        """Count an observation, or several alike."""
        with self._lock:
            family = self._families[name]
            series = family.at(tuple(labels.items()))
            index = next(
                (i for i, bound in enumerate(family.buckets) if seconds <= bound),
                len(family.buckets),
            )
            series.counts[index] += times
            series.count += times
            series.value += seconds * times

    def text(self) -> str:
        """Return the page."""
        with self._lock:
            return "".join(self._families[name].text() for name in sorted(self._families))


def number(value: float) -> str:
    """Return a number as Prometheus' Rust library shows it."""
    return str(int(value)) if value == int(value) else repr(float(value))


def _shown(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels) + "}"
