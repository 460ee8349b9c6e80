"""Tables that a killed batch benchmark left behind, as a check of the environment."""

from __future__ import annotations

from lab.core.results import Check
from lab.targets.base import ObjectCounts


def left_over(counts: ObjectCounts) -> Check:
    """Check that no table made from an upstream is left; its sources alone, too, may stay."""
    return Check(
        name="nothing left by batches",
        passed=not counts.batches,
        found=f"{counts.batches:,} objects in the schemas of batches;"
        f" {counts.upstream - counts.batches:,} of sources",
        expected="none; a source may stay",
        remedy="`upstream.clean` drops them; with --keep-source the source stays.",
    )
