"""Figures as people read them: three significant digits, and the unit said once."""

from __future__ import annotations

import math
from collections.abc import Sequence

MISSING = "–"
_NS_PER_MS = 1e6


def significant(value: float, digits: int = 3) -> str:
    """Return ``value`` with ``digits`` significant digits: ``1,091``, ``69.3``, ``0.0456``."""
    if not math.isfinite(value):
        return MISSING
    # Rounded first: 9.996 has one digit before its point, and is shown as 10.0.
    rounded = float(f"{value:.{digits - 1}e}")
    if rounded == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{value:,.{decimals}f}"


def ms(ns: float | None) -> str:
    """Return nanoseconds as milliseconds, without the unit; a dash for None."""
    return MISSING if ns is None else significant(ns / _NS_PER_MS)


def ms_range(low_ns: float | None, high_ns: float | None) -> str:
    """Return an interval in milliseconds, without the unit; a dash where a side is missing."""
    if low_ns is None or high_ns is None:
        return MISSING
    return f"{ms(low_ns)} to {ms(high_ns)}"


def percent(share: float, digits: int = 2) -> str:
    """Return a share as a percentage: 0.0312 is ``3.1%``, 0.03 is ``3%``; whole from 10% on."""
    if abs(share) < 0.0005:
        return "0%"
    return f"{significant(share * 100, digits).removesuffix('.0')}%"


def signed_percent(share: float) -> str:
    """Return a change as a percentage with its sign: ``+4.2%``, ``−13%``."""
    sign = "+" if share >= 0 else "−"
    return f"{sign}{percent(abs(share))}"


def ratio(value: float) -> str:
    """Return a ratio with three digits after the point: ``0.871``."""
    return f"{value:.3f}" if math.isfinite(value) else MISSING


def amount(value: float, unit: str) -> str:
    """Return an amount with its unit: ``8.21 kB``, ``1.34 MB``; a count of 12 is ``12``."""
    if unit == "count":
        return (
            f"{value:,.0f}"
            if abs(value - round(value)) < 0.005
            else significant(value).removesuffix(".0")
        )
    if unit != "bytes":
        return f"{significant(value)} {unit}"
    for limit, name in ((1e6, "MB"), (1e3, "kB")):
        if abs(value) >= limit:
            return f"{significant(value / limit)} {name}"
    return f"{significant(value)} B"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return ``1 sample``, ``30 samples``, ``1,000 objects``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def code(text: str) -> str:
    """Return ``text`` as inline code on one line."""
    text = " ".join(text.split())
    fence = "``" if "`" in text else "`"
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def named(subject: str) -> str:
    """Return what a figure is of: a kind of statement as code, what is in words as it is."""
    return subject if " " in subject else code(subject)


def statements(named: Sequence[str], known: Sequence[str]) -> str:
    """Return kinds of statement as code, joined; where ``named`` are all ``known``, in short."""
    if len(known) > 1 and set(named) == set(known):
        return "all statements"
    return joined([code(each) for each in named])


def cell(text: str) -> str:
    """Return ``text`` fit for a cell of a Markdown table."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int = 1) -> str:
    """Return a Markdown table; columns after the first ``text_columns`` are aligned to the right.

    Cells are formatted before they come here; ``|`` is escaped here.
    """
    from tabulate import tabulate

    align = ["left" if i < text_columns else "right" for i in range(len(headers))]
    # "pipe" is "github" with the colons that make a renderer align the figures.
    return tabulate(
        [[cell(value) for value in row] for row in rows],
        headers=[cell(header) for header in headers],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=align if rows else None,
    )


def joined(parts: Sequence[str]) -> str:
    """Return ``a``, ``a and b``, ``a, b and c``."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
