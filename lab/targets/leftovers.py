"""Tables that a killed batch benchmark left behind, as a check of the environment."""

from __future__ import annotations

from lab.core.results import Check


def left_over(tables: int, of_sources: int) -> Check:
    """Check that no table made from an upstream is left; its sources alone, too, may stay."""
    return Check(
        name="nothing left by batches",
        passed=not tables,
        found=f"{tables:,} objects in the schemas of batches; {of_sources:,} of sources",
        expected="none; a source may stay",
        remedy="`upstream.clean` drops them; with --keep-source the source stays.",
    )
