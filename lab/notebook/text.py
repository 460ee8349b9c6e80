"""Text of others, made fit to stand in an entry."""

from __future__ import annotations

import re

_COMMIT = 9
_UUID = re.compile(r"\b([0-9a-f]{8})(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
# Hashes, and jj's change ids, which are written in letters of their own.
_LONG = re.compile(r"\b([0-9a-f]{9})[0-9a-f]{23,}\b|\b([k-z]{9})[k-z]{23}\b")


def plain(text: str) -> str:
    """Return ``text`` as one line that begins no comment."""
    return " ".join(text.split()).replace("<!--", "&lt;!--")


def capital(text: str) -> str:
    """Return ``text`` as the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def short_ids(text: str) -> str:
    """Return ``text`` with what identifies things by 32 digits or more cut to the first ones."""
    return _LONG.sub(lambda found: f"{found[1] or found[2]}…", _UUID.sub(r"\1…", text))


def commit_text(commit: str, *, dirty: bool) -> str:
    """Return ``commit e7ac38b33``, with an asterisk where the tree held more than that."""
    return f"commit {plain(commit)[:_COMMIT]}{'*' if dirty else ''}"
