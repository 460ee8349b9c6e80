from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lab.measure.host import (
    container,
    file_system,
    host_facts,
    noise_since,
    probe_noise,
    virtualisation,
)


def put(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_facts_of_this_host(tmp_path: Path) -> None:
    facts = host_facts(tmp_path)
    assert int(facts["host.cores"]) == len(os.sched_getaffinity(0))
    assert os.uname().release in facts["host.kernel"]
    assert facts["host.machine"] == os.uname().machine
    assert facts["host.filesystem"]
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    assert float(facts["host.memory"].removesuffix(" GiB")) == pytest.approx(total, abs=0.1)
    assert all(facts.values())


def test_file_systems_are_told_apart(tmp_path: Path) -> None:
    assert file_system(Path("/proc/self")) == "proc"
    assert file_system(tmp_path) not in ("", "proc")


def test_where_the_kernel_tells_nothing_there_are_fewer_facts(tmp_path: Path) -> None:
    facts = host_facts(None, tmp_path)
    assert {"host.cores", "host.kernel", "host.memory"} <= facts.keys()
    assert not {"host.cpu", "host.filesystem", "host.virtualisation"} & facts.keys()
    assert facts["host.id"] == "unknown"
    noise = noise_since(probe_noise(tmp_path), tmp_path)
    assert noise.pressure == {}
    assert noise.steal == 0.0


def test_what_the_kernel_tells_of_a_host(tmp_path: Path) -> None:
    put(tmp_path, "proc/cpuinfo", "model name\t: Fast CPU\nflags\t\t: fpu hypervisor sse\n")
    put(tmp_path, "sys/class/dmi/id/sys_vendor", "QEMU\n")
    put(tmp_path, "sys/class/dmi/id/product_name", "Standard PC\n")
    put(tmp_path, "sys/fs/cgroup/cpu.max", "150000 100000\n")
    put(tmp_path, "proc/1/cgroup", "0::/kubepods/pod1\n")
    put(tmp_path, "etc/machine-id", "0123456789abcdef\n")
    facts = host_facts(None, tmp_path)
    assert facts["host.cpu"] == "Fast CPU"
    assert facts["host.virtualisation"] == "QEMU Standard PC"
    assert facts["host.cpu-limit"] == "1.5 cores"
    assert facts["host.container"] == "kubepods"
    assert "0123456789abcdef" not in facts["host.id"]


def host_id(root: Path) -> str:
    return host_facts(None, root)["host.id"]


@pytest.mark.parametrize("machine_id", [None, "", "uninitialized\n"])
def test_without_a_machine_id_the_kernels_boot_tells_hosts_apart(
    tmp_path: Path, machine_id: str | None
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for root, boot in ((one, "5a1e"), (other, "77fc")):
        put(root, "proc/sys/kernel/random/boot_id", f"{boot}\n")
        if machine_id is not None:
            put(root, "etc/machine-id", machine_id)
    assert host_id(one) == host_id(one)
    assert host_id(one) != host_id(other)
    assert host_id(one).startswith("boot ")
    put(one, "etc/machine-id", "0123456789abcdef\n")
    known = host_id(one)
    assert not known.startswith("boot ")
    # The boot is another one after a restart; the machine is the same.
    put(one, "proc/sys/kernel/random/boot_id", "9999\n")
    assert host_id(one) == known


def test_a_machine_of_its_own_has_no_hypervisor_and_no_limit(tmp_path: Path) -> None:
    put(tmp_path, "proc/cpuinfo", "flags\t: fpu sse\n")
    put(tmp_path, "sys/fs/cgroup/cpu.max", "max 100000\n")
    assert virtualisation(tmp_path) == "none"
    assert container(tmp_path) == "none"
    assert "host.cpu-limit" not in host_facts(None, tmp_path)


def test_noise_of_this_host_is_in_range() -> None:
    probe = probe_noise()
    time.sleep(0.05)
    noise = noise_since(probe)
    assert noise.load_1min >= 0
    assert 0 <= noise.steal <= 1
    assert all(0 <= share <= 1 for share in noise.pressure.values())


def test_shares_are_of_the_time_that_passed(tmp_path: Path) -> None:
    put(tmp_path, "proc/stat", "cpu  100 0 100 700 0 0 0 0 50 0\ncpu0 1 1 1 1\n")
    line = "full avg10=0.00 total=999999999\nsome avg10=0.00 avg60=0.00 avg300=0.00 total={}\n"
    put(tmp_path, "proc/pressure/cpu", line.format(1000))
    put(tmp_path, "proc/pressure/io", line.format(5000))
    probe = probe_noise(tmp_path)
    put(tmp_path, "proc/stat", "cpu  130 0 110 740 0 0 0 20 90 0\n")
    put(tmp_path, "proc/pressure/cpu", line.format(1000 + 50_000))
    time.sleep(0.2)
    noise = noise_since(probe, tmp_path)
    assert noise.steal == pytest.approx(20 / 100)
    assert noise.pressure["cpu"] == pytest.approx(0.25, abs=0.1)
    assert noise.pressure["io"] == 0.0
    assert "memory" not in noise.pressure
