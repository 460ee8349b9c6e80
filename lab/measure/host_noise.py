"""What else the host did while something was measured."""

from __future__ import annotations

import msgspec


class HostNoise(msgspec.Struct, frozen=True, kw_only=True):
    """What else the host did during a block.

    ``load_1min`` at its end; ``steal`` is the share (0 to 1) of CPU time that the hypervisor took;
    ``pressure`` is the share of the block's time in which some task waited for ``cpu``, ``io`` or
    ``memory``, where the kernel tells.
    """

    load_1min: float
    steal: float
    pressure: dict[str, float]
