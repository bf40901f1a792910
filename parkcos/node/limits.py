"""What a client may use of its node at most: set where the system enforces it, and seen here where it does not.

The system bounds the memory of each process and the size of each file; a task that wants more gets an error.  What all
processes of a server use together, and how many a client has, is looked up in /proc, and the folders are measured.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from parkcos.cluster.shared import size_in_words
from parkcos.errors import ConfigError

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

MEMORY_BYTES_MIN = 128 << 20
"""The least that a server needs for itself, with the stacks of its threads."""


class Limits(msgspec.Struct, array_like=True, frozen=True):
    """0: no bound.

    memory: of each server with what its tasks have started, in bytes, and of node_setup.
    processes: of a client, and threads.
    disk: what a client's folders may hold, in bytes.
    """

    memory: int = 0
    processes: int = 0
    disk: int = 0


def checked_limits(memory: int, processes: int, disk: int) -> Limits:
    """Raises: ConfigError if no client could be served with these."""
    if memory and memory < MEMORY_BYTES_MIN:
        least = size_in_words(MEMORY_BYTES_MIN)
        raise ConfigError(f"--max_memory {size_in_words(memory)}: a server needs {least} for itself, give more")
    if processes < 0:
        raise ConfigError(f"--max_processes {processes}: give a number of processes and threads, or 0 for no bound")
    return Limits(memory, processes, disk)


# -- in the processes of a client


def bound_zygote(limits: Limits, isolated: bool) -> None:
    """Before any of the client's code runs.  isolated: as a user of its own, of which no one else has processes."""
    if limits.disk:
        _set("RLIMIT_FSIZE", limits.disk, limits.disk)
    if limits.processes and isolated:
        _set("RLIMIT_NPROC", limits.processes, limits.processes)
    if limits.memory:
        _set("RLIMIT_DATA", _own_data_bytes() + limits.memory, None)


def bound_server(limits: Limits) -> None:
    """In a server that was just forked: what it shares with its zygote does not count as its own."""
    if limits.memory:
        most = _own_data_bytes() + limits.memory
        _set("RLIMIT_DATA", most, most)


def _own_data_bytes() -> int:
    """What counts for RLIMIT_DATA in this process now; 0 if the system does not say."""
    return _field(Path("/proc/self/status"), ("VmData",))


def _set(name: str, soft: int, hard: int | None) -> None:
    """hard: None: as it is."""
    if resource is None:
        return
    kind = getattr(resource, name)
    now = resource.getrlimit(kind)[1]
    bound = now if hard is None else hard
    if now != resource.RLIM_INFINITY:
        soft, bound = min(soft, now), min(bound, now) if bound != resource.RLIM_INFINITY else now
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(kind, (soft, bound))


# -- at the node


@dataclass
class Use:
    """processes: and threads; memory: in bytes."""

    processes: int = 0
    memory: int = 0


def look(zygotes: Mapping[int, str], servers: Mapping[int, int]) -> dict[int, Use]:
    """What each server of a client uses now, by its index, and each zygote, by its negative process id.  Any thread.

    A process belongs to the server from which it descends, in whose group it is, or whose mark its environment has; the
    others to their zygote, as those of node_setup, and of servers that just begin.

    Args:
        zygotes: their marks, by process id.
        servers: their indexes, by process id.
    """
    parents, groups, threads = {}, {}, {}
    for pid, fields in _processes():
        parents[pid], groups[pid], threads[pid] = int(fields[1]), int(fields[2]), int(fields[17])
    marks = [(f"PARKCOS_FAMILY={mark}", pid) for pid, mark in zygotes.items()]
    found: defaultdict[int, Use] = defaultdict(Use)
    for pid in parents:
        owner = _owner(pid, parents, groups, zygotes, servers)
        if owner is None:
            owner = _marked(pid, marks, servers)
        if owner is not None:
            use = found[owner]
            use.processes += threads[pid]
            use.memory += _memory_bytes(pid)
    return dict(found)


def _processes() -> Iterable[tuple[int, list[str]]]:
    """Of each process what stands in its `stat`, from its state on."""
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            with contextlib.suppress(OSError):  # it has just ended
                text = Path(f"/proc/{name}/stat").read_text(errors="replace")
                yield int(name), text.rpartition(")")[2].split()  # a name may hold anything


def _owner(
    pid: int,
    parents: Mapping[int, int],
    groups: Mapping[int, int],
    zygotes: Mapping[int, str],
    servers: Mapping[int, int],
) -> int | None:
    """The server, or the zygote, from which a process descends or in whose group it is; None: neither."""
    seen, at = set(), pid
    while at > 1 and at not in seen:
        seen.add(at)
        for each in (at, groups.get(at, 0)):
            if each in servers:
                return servers[each]
        if at in zygotes:
            return -at
        at = parents.get(at, 0)
    return None


def _marked(pid: int, marks: Iterable[tuple[str, int]], servers: Mapping[int, int]) -> int | None:
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # another user's, or it has just ended
        return None
    for mark, zygote in marks:
        for variable in variables:
            if variable.startswith(mark):
                server = variable.removeprefix(mark).rstrip(":")
                return servers.get(int(server) if server.isdecimal() else 0, -zygote)
    return None


def _memory_bytes(pid: int) -> int:
    """Of a process, in memory and swapped out; what it shares counts for each by its part, if the system says so."""
    return _field(Path(f"/proc/{pid}/smaps_rollup"), ("Pss", "SwapPss")) or _field(
        Path(f"/proc/{pid}/status"), ("RssAnon", "VmSwap")
    )


def _field(path: Path, names: Sequence[str]) -> int:
    """The sum of these fields, in bytes, of which the system says kB."""
    total = 0
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name in names:
                total += int(value.split()[0]) * 1024
    return total


def too_much(uses: Mapping[int, Use], limits: Limits) -> dict[int, str]:
    """Which servers and zygotes are to end, and why; their numbers as those of `look`."""
    found = {}
    if limits.memory:
        most = size_in_words(limits.memory)
        for index, use in uses.items():
            if use.memory > limits.memory:
                used = size_in_words(use.memory)
                found[index] = f"its processes use {used} of memory, and may use {most} (--max_memory)"
    count = sum(use.processes for use in uses.values())
    if limits.processes and count > limits.processes:
        index = max(uses, key=lambda each: uses[each].processes)
        found[index] = (
            f"its client has {count} processes and threads at this node, {uses[index].processes} of them there, "
            f"and may have {limits.processes} (--max_processes)"
        )
    return found
