"""How much may be asked for: what flags and settings refuse to go beyond."""

from __future__ import annotations

MOST_TABLES = 100_000
"""Published tables of an upstream."""

MOST_STATEMENTS = 5_000
"""Statements in one transaction."""

MOST_REPETITIONS = 100
"""How often a size is tried."""
