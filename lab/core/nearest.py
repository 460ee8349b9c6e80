"""The known word that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable

_LIKENESS = 0.5


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the one of ``known`` that is most like ``word``; empty where none is like it."""
    from difflib import get_close_matches

    near = get_close_matches(word, list(known), n=1, cutoff=_LIKENESS)
    return near[0] if near else ""


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """Return a remedy that names the nearest of ``known``, or ``otherwise`` where none is near."""
    near = nearest(word, known)
    return f"Did you mean `{near}`?" if near else otherwise
