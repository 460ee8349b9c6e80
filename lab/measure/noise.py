"""Whether the host left a run alone: warnings, and whether verdicts can be drawn from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby

import msgspec

from lab.measure.host_noise import HostNoise
from lab.measure.record import LATENCY, Run


class _Disturbance(msgspec.Struct, frozen=True):
    """Something that the host did: its share of a block's time, and how much of it is too much."""

    what: str
    share: Callable[[HostNoise], float]
    most: float


# Pressure on io is not among them: the flushes that are being measured raise it.
_DISTURBANCES = (
    _Disturbance("the hypervisor took CPU time away", lambda noise: noise.steal, 0.02),
    _Disturbance("tasks waited for a CPU", lambda noise: noise.pressure.get("cpu", 0.0), 0.25),
    _Disturbance("tasks waited for memory", lambda noise: noise.pressure.get("memory", 0.0), 0.01),
)


def was_noisy(run: Run) -> bool:
    """Say whether the host disturbed the latencies of ``run`` too much for a verdict.

    Judged by the average over the blocks that count (transactions, of a batch benchmark), weighted
    by their duration: one disturbed block among many is warned of, and no more.
    """
    weighted = _weighted(run)
    total_ns = sum(duration_ns for _, duration_ns in weighted)
    if not total_ns:
        return False
    return any(
        sum(each.share(noise) * duration_ns for noise, duration_ns in weighted)
        > each.most * total_ns
        for each in _DISTURBANCES
    )


def _weighted(run: Run) -> list[tuple[HostNoise, int]]:
    """Return the noise of each block, or transaction, that counts, and how long it took in ns."""
    if run.batch is not None:
        batches = [each for each in run.batch.batches if each.counts and not each.swept]
        return [(batch.noise, batch.begin_ns + batch.total_ns) for batch in batches]
    blocks = [block for block in run.blocks if block.purpose == LATENCY and not block.void]
    return [(block.noise, block.duration_ns) for block in blocks]


def _noises(run: Run) -> dict[int, HostNoise]:
    parts = run.blocks if run.batch is None else run.batch.batches
    return {each.index: each.noise for each in parts}


def noise_warnings(run: Run) -> Iterator[str]:
    """Yield what disturbed which blocks of ``run``, and whether the host was busy."""
    noises = _noises(run)
    unit = "block" if run.batch is None else "transaction"
    for each in _DISTURBANCES:
        shares = {index: each.share(noise) for index, noise in noises.items()}
        over = [index for index, share in shares.items() if share > each.most]
        if over:
            worst = f"for up to {max(shares.values()):.0%} of the time"
            yield f"{each.what} {worst}, in {_parts(over, len(shares), unit)}"
    busiest = max((noise.load_1min for noise in noises.values()), default=0.0)
    cores = run.passport.alike.get("host.cores", "")
    if cores.isdigit() and busiest > int(cores):
        yield f"the host was busy: load {busiest:.1f} on {cores} cores"


def _parts(indices: list[int], among: int, unit: str) -> str:
    if len(indices) == among > 1:
        return f"every {unit}"
    return f"{unit}{'s' if len(indices) > 1 else ''} {', '.join(_ranges(indices))}"


def _ranges(indices: list[int]) -> Iterator[str]:
    """Yield ascending ``indices`` with three or more in a row as one: ``3–25``."""
    # Numbers in a row have one distance to their place.
    for _, group in groupby(enumerate(indices), key=lambda pair: pair[1] - pair[0]):
        row = [index for _, index in group]
        yield from (f"{row[0]}–{row[-1]}",) if len(row) > 2 else map(str, row)
