"""What the host did while something was measured, in words."""

from __future__ import annotations

from collections.abc import Sequence

from lab.measure.host_noise import HostNoise
from lab.notebook.figures import percent

_LEAST_WAIT = 0.01


def noise_text(noises: Sequence[HostNoise]) -> str:
    """Return load, stolen CPU time, and what tasks waited for, over all of ``noises``."""
    loads = [noise.load_1min for noise in noises]
    low, high = f"{min(loads):.1f}", f"{max(loads):.1f}"
    parts = [f"load {low}" if low == high else f"load {low} to {high}"]
    steal = max(noise.steal for noise in noises)
    parts.append(f"up to {percent(steal)} of CPU time stolen" if steal else "no CPU time stolen")
    for resource, name in (("cpu", "a CPU"), ("io", "I/O"), ("memory", "memory")):
        shares = [each.pressure[resource] for each in noises if resource in each.pressure]
        if shares and max(shares) >= _LEAST_WAIT:
            parts.append(f"some task waiting for {name} up to {percent(max(shares))} of the time")
    return ", ".join(parts)
