"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]], *, headers: Sequence[str] = ()) -> str:
    """Lay ``rows`` of text out in columns, under ``headers`` where there are any."""
    from tabulate import tabulate

    style = "simple" if headers else "plain"
    return tabulate(rows, headers=headers, tablefmt=style, disable_numparse=True)
