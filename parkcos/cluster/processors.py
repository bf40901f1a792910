"""How many processors this process may use: those of the machine that it may run on, and no more than its share allows.

A container, a batch job or a systemd unit is given its share as a quota of time, of which the number of processors says
nothing.  What must not live here: how many servers that makes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from parkcos.cluster.control_groups import own_groups, read_text

_ROOT = Path("/")


def usable_processors(root: Path = _ROOT) -> int:
    """One at least.  root: where ``/proc`` and the control groups are looked for."""
    return max(1, math.ceil(min(_processors(), processor_share(root))))


def _processors() -> int:
    if hasattr(os, "process_cpu_count"):  # from Python 3.13 on; PYTHON_CPU_COUNT counts there, too
        return os.process_cpu_count() or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_share(root: Path = _ROOT) -> float:
    """The processors' time that the control groups of this process allow, in processors; infinite without a quota."""
    return min((_quota(folder) for folder in _groups(root)), default=math.inf)


def _groups(root: Path) -> Iterator[Path]:
    """The folders of this process's control groups that may have a quota, of both versions, and of those above them."""
    for _, folder, top in own_groups("cpu", root):
        yield folder
        while folder != top:
            folder = folder.parent
            yield folder


def _quota(group: Path) -> float:
    """In processors; infinite without one."""
    quota, period = [*read_text(group / "cpu.max").split(), "", ""][:2]  # of version 2, else of version 1
    quota = quota or read_text(group / "cpu.cfs_quota_us")
    period = period or read_text(group / "cpu.cfs_period_us")
    try:
        amount = float(quota) / float(period)
    except (ValueError, ZeroDivisionError):  # "max", or nothing is said
        return math.inf
    return amount if amount > 0 else math.inf
