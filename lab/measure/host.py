"""The machine that a run is made on: what it is, and what else it does meanwhile.

Facts come from the files of a Linux kernel; where they are missing (another system, a container
that hides them), there are fewer facts, never a failure.
"""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from lab.measure.host_noise import HostNoise
from lab.measure.passport import UNKNOWN

PRESSURES = ("cpu", "io", "memory")
_ROOT = Path("/")
_CPU_TIMES = 8  # user, nice, system, idle, iowait, irq, softirq, steal; guests are inside user
_STEAL = 7


def host_facts(directory: Path | None, root: Path = _ROOT) -> dict[str, str]:
    """Return what the host is, under ``host.…`` keys; a fact that cannot be found has no key.

    But for ``host.id``, which is ``unknown`` then: two hosts of one make are not one host, so runs
    from a host that cannot be told from others are not compared.

    Parameters
    ----------
    directory:
        Where the state lies, whose file system is a fact; None where that is not known.
    root:
        Where ``proc`` and ``sys`` are looked for.

    """
    found = {
        "id": _machine_id(root),
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": _cpu_field(root, "model name"),
        "cores": str(usable_cores()),
        "memory": _memory(),
        "cpu-limit": _cpu_limit(root),
        "governor": _text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "filesystem": file_system(directory) if directory else "",
        "virtualisation": virtualisation(root),
        "container": container(root),
    }
    return {f"host.{name}": value for name, value in found.items() if value}


def usable_cores() -> int:
    """Return how many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def file_system(directory: Path) -> str:
    """Return the type of the file system that ``directory`` lies on; empty where not known."""
    import psutil

    place = directory.resolve()
    mounted = {
        Path(partition.mountpoint): partition.fstype
        for partition in psutil.disk_partitions(all=True)
        if place.is_relative_to(partition.mountpoint)
    }
    return mounted[max(mounted, key=lambda point: len(point.parts))] if mounted else ""


def virtualisation(root: Path = _ROOT) -> str:
    """Return the hypervisor below this system, ``none`` on bare metal, empty where not known."""
    kind = _text(root / "sys/hypervisor/type")
    if kind:
        return kind
    flags = _cpu_field(root, "flags").split()
    if not flags:
        return ""
    if "hypervisor" not in flags:
        return "none"
    names = (_text(root / f"sys/class/dmi/id/{file}") for file in ("sys_vendor", "product_name"))
    return " ".join(name for name in names if name) or "unnamed hypervisor"


def container(root: Path = _ROOT) -> str:
    """Return the kind of container around this process, ``none``, or empty where not known."""
    if not (root / "proc").is_dir():
        return ""
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    named = _text(root / "run/systemd/container")
    if named:
        return named
    groups = _text(root / "proc/1/cgroup")
    return next((name for name in ("kubepods", "docker", "lxc") if name in groups), "none")


class NoiseProbe(msgspec.Struct, frozen=True):
    """The host's counters at one moment; `noise_since` turns two moments into a judgement.

    ``cpu`` are the clock ticks of ``/proc/stat``; ``stalled_us`` the microseconds that some task
    has waited, by resource, of ``/proc/pressure``.
    """

    taken_ns: int
    cpu: tuple[int, ...]
    stalled_us: Mapping[str, int]


def probe_noise(root: Path = _ROOT) -> NoiseProbe:
    """Read the host's counters now; takes well under a millisecond."""
    stalled = {name: _stalled_us(root / "proc/pressure" / name) for name in PRESSURES}
    return NoiseProbe(
        time.monotonic_ns(),
        _cpu_ticks(root),
        {name: value for name, value in stalled.items() if value is not None},
    )


def noise_since(start: NoiseProbe, root: Path = _ROOT) -> HostNoise:
    """Return what the host did between ``start`` and now; shares lie between 0 and 1.

    A share is of all processors' time for ``steal``, of the time passed for ``pressure``.
    """
    end = probe_noise(root)
    elapsed_us = max(1, (end.taken_ns - start.taken_ns) // 1000)
    return HostNoise(
        load_1min=round(os.getloadavg()[0], 2),
        steal=_share_of_steal(start.cpu, end.cpu),
        pressure={
            name: round(_clamped((end.stalled_us[name] - before) / elapsed_us), 4)
            for name, before in start.stalled_us.items()
            if name in end.stalled_us
        },
    )


def _share_of_steal(before: tuple[int, ...], after: tuple[int, ...]) -> float:
    if len(before) <= _STEAL or len(after) <= _STEAL:
        return 0.0
    total = sum(after) - sum(before)
    return round(_clamped((after[_STEAL] - before[_STEAL]) / total), 4) if total > 0 else 0.0


def _clamped(share: float) -> float:
    # The kernel brings its counters up to date at moments of its own, so a short block can be
    # told slightly more waiting than it lasted; and iowait, hence the total, may fall.
    return min(1.0, max(0.0, share))


def _cpu_ticks(root: Path) -> tuple[int, ...]:
    first, _, _ = _text(root / "proc/stat").partition("\n")
    name, *ticks = first.split() or [""]
    return tuple(int(tick) for tick in ticks[:_CPU_TIMES]) if name == "cpu" else ()


def _stalled_us(path: Path) -> int | None:
    for line in _text(path).splitlines():
        kind, *fields = line.split()
        for field in fields:
            name, _, value = field.partition("=")
            if kind == "some" and name == "total" and value.isdigit():
                return int(value)
    return None


def _cpu_field(root: Path, wanted: str) -> str:
    for line in _text(root / "proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == wanted:
            return value.strip()
    return ""


def _memory() -> str:
    import psutil

    # In tenths of a GiB: what a kernel keeps for itself varies by some kilobytes from boot to boot.
    return f"{psutil.virtual_memory().total / 2**30:.1f} GiB"


def _cpu_limit(root: Path) -> str:
    quota, _, period = _text(root / "sys/fs/cgroup/cpu.max").partition(" ")
    if not (quota.isdigit() and period.isdigit()):
        return ""
    return f"{int(quota) / int(period):g} cores"


def _machine_id(root: Path) -> str:
    """Return what tells this host from others.

    The hash of its machine id; where it has none (a container image often has not), that of the
    kernel's present boot, which no other host shares, and which is another after a reboot.
    """
    for prefix, name in (("", "etc/machine-id"), ("boot ", "proc/sys/kernel/random/boot_id")):
        identifier = _text(root / name)
        # systemd writes this before the first boot is complete (machine-id(5)).
        if identifier and identifier != "uninitialized":
            # The id itself is meant to stay on its machine; its hash tells hosts apart.
            hashed = hashlib.sha256(f"ddl-lab {identifier}".encode()).hexdigest()
            return f"{prefix}{hashed[:12]}"
    return UNKNOWN


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
