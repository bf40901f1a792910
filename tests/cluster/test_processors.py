"""parkcos/cluster/processors.py: the share of a container, a batch job or a unit counts."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parkcos.cluster import processors
from parkcos.cluster.processors import processor_share, usable_processors

V1 = "35 31 0:28 / /sys/fs/cgroup/cpu rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
V2 = "35 31 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


class Machine:
    """A root with what the system says of control groups."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "proc" / "self").mkdir(parents=True)

    def says(self, cgroup: str, mountinfo: str) -> None:
        (self.root / "proc/self/cgroup").write_text(cgroup)
        (self.root / "proc/self/mountinfo").write_text("31 23 0:27 / / rw - ext4 /dev/vda rw\n" + mountinfo)

    def quota(self, group: str, **files: str) -> None:
        folder = self.root / group.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / f"cpu.{name}").write_text(f"{text}\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_machine_that_says_nothing(machine: Machine, tmp_path: Path) -> None:
    assert processor_share(tmp_path / "none") == math.inf
    machine.says("", "nonsense\n")
    assert processor_share(machine.root) == math.inf


@pytest.mark.parametrize(("text", "share"), [("150000 100000", 1.5), ("max 100000", math.inf), ("", math.inf)])
def test_a_quota_of_version_2(machine: Machine, text: str, share: float) -> None:
    machine.says("0::/system.slice/lab.service\n", V2)
    machine.quota("/sys/fs/cgroup/system.slice/lab.service", max=text)
    assert processor_share(machine.root) == share


def test_the_least_of_those_above_counts(machine: Machine) -> None:
    machine.says("0::/user.slice/inner/leaf\n", V2)
    machine.quota("/sys/fs/cgroup/user.slice/inner/leaf", max="max 100000")
    machine.quota("/sys/fs/cgroup/user.slice/inner", max="300000 100000")
    machine.quota("/sys/fs/cgroup/user.slice", max="50000 25000")
    machine.quota("/sys/fs/cgroup/other", max="1000 100000")
    assert processor_share(machine.root) == 2.0


def test_a_container_of_version_2_sees_its_group_as_the_first(machine: Machine) -> None:
    for own in "/", "/../elsewhere":
        machine.says(f"0::{own}\n", V2)
        machine.quota("/sys/fs/cgroup", max="250000 100000")
        assert processor_share(machine.root) == 2.5


@pytest.mark.parametrize(("quota", "share"), [("400000", 4.0), ("-1", math.inf)])
def test_a_quota_of_version_1(machine: Machine, quota: str, share: float) -> None:
    machine.says("5:memory:/big\n4:cpu,cpuacct:/job 7\n0::/\n", V1.replace("fs/cgroup/cpu ", "fs/my\\040groups "))
    machine.quota("/sys/fs/my groups/job 7", cfs_quota_us=quota, cfs_period_us="100000")
    assert processor_share(machine.root) == share


def test_a_container_of_version_1_whose_group_is_mounted_as_the_top(machine: Machine) -> None:
    machine.says("4:cpuacct,cpu:/docker/4f65\n", V1.replace(" / /sys", " /docker/4f65 /sys"))
    machine.quota("/sys/fs/cgroup/cpu", cfs_quota_us="50000", cfs_period_us="100000")
    assert processor_share(machine.root) == 0.5


@pytest.mark.parametrize(("share", "count"), [(0.1, 1), (1.0, 1), (1.5, 2), (3.9, 4), (64, 8), (math.inf, 8)])
def test_a_part_of_a_processor_counts_as_one(monkeypatch: pytest.MonkeyPatch, share: float, count: int) -> None:
    monkeypatch.setattr(processors, "_processors", lambda: 8)
    monkeypatch.setattr(processors, "processor_share", lambda _: share)
    assert usable_processors() == count


def test_the_variable_of_python_counts() -> None:
    """To Pythons that know it: from 3.13 on."""
    code = "from parkcos.cluster.processors import usable_processors as u; print(u())"
    env = {**os.environ, "PYTHON_CPU_COUNT": "1"}
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True).stdout == (
        b"1\n" if sys.version_info >= (3, 13) else b"%d\n" % usable_processors()
    )


@contextlib.contextmanager
def real_group() -> Iterator[Path]:
    """A control group of this machine with half a processor, as it is made for a container."""
    for top, quota in (
        ("/sys/fs/cgroup/cpu", {"cpu.cfs_quota_us": "50000"}),
        ("/sys/fs/cgroup", {"cpu.max": "50000 100000"}),
    ):
        group = Path(top, f"parkcos-test-{os.getpid()}")
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            for name, text in quota.items():
                (group / name).write_text(text)
        except OSError:
            group.rmdir()
            continue
        try:
            yield group
        finally:
            group.rmdir()
        return
    pytest.skip("no control group can be made here")


@pytest.mark.root
def test_a_real_group() -> None:
    code = (
        "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid()))\n"
        "from parkcos.cluster.processors import processor_share, usable_processors\n"
        "from parkcos.node.offer import count_cpus\n"
        "print(processor_share(), usable_processors(), count_cpus(0))"
    )
    with real_group() as group:
        command = [sys.executable, "-c", code, str(group / "cgroup.procs")]
        made = subprocess.run(command, capture_output=True, check=True, text=True)
    assert made.stdout == "0.5 1 1\n"
