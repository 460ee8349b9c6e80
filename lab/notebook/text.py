"""Text of others, made fit to stand in an entry."""

from __future__ import annotations


def plain(text: str) -> str:
    """Return ``text`` as one line that begins no comment."""
    return " ".join(text.split()).replace("<!--", "&lt;!--")


def capital(text: str) -> str:
    """Return ``text`` as the beginning of a sentence."""
    return text[:1].upper() + text[1:]
