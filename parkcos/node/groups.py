"""Control groups (Linux, version 2), in which the system bounds what a client's processes use together.

    PLACE/parkcos-4711-5f3a                        the node with this process id
    PLACE/parkcos-4711-5f3a/client-1               all processes of a client: --max_processes
    PLACE/parkcos-4711-5f3a/client-1/zygote-4720   a process from which servers start, with node_setup: --max_memory
    PLACE/parkcos-4711-5f3a/client-1/server-4733   a server, with what its tasks start: --max_memory

A process that a task starts is in its group wherever it hides, so that at the end none is missed.  The bounds of
limits.py hold beside these, and alone where no groups can be made.

The client's code runs in these processes, and says what their numbers are: what is not in the zygote's group already
is never moved, nor killed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from parkcos.cluster.control_groups import own_groups, read_text
from parkcos.cluster.shared import size_in_words
from parkcos.errors import ConfigError
from parkcos.node.limits import Limits

logger = logging.getLogger("parkcos")

NONE = "none"
"""As --cgroup: make none."""
EMPTY_S = 2.0
"""What is killed has left its group after this time."""
START_BYTES = 32 << 20
"""What a server takes while it starts; it counts for its zygote as long as it lives."""
_PREFIX = "parkcos-"
_PROCESSES = "cgroup.procs"
_CONTROLLERS = "cgroup.subtree_control"


class Groups:
    """Those of one node.

    Args:
        place: a group in which others may be made.
        limits: of what a client may use.
        controllers: of those that these limits need, the ones that are there: "memory", "pids".
    """

    def __init__(self, place: Path, limits: Limits, controllers: Sequence[str]) -> None:
        self.limits = limits
        self._controllers = controllers
        self.folder = place / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        self._clients = 0

    @property
    def _client(self) -> Path:
        return self.folder / f"client-{self._clients}"

    def begin(self, zygote: int, space: int = 0) -> Group:
        """For a process from which servers will start, before it runs code of a client; space: 0 for a new client."""
        self._clients += not space
        return Group(self, zygote)

    def enter(self, name: str, pid: int) -> Path:
        """Put a process in a group of its own among those of the present client.  Raises: OSError."""
        folder = self._client / name
        if not self._client.is_dir():
            self._make_client()
        folder.mkdir()
        try:
            if "memory" in self._controllers:
                self.set_memory(folder, self.limits.memory)
                if (folder / "memory.swap.max").exists():
                    _write(folder / "memory.swap.max", 0)  # else there would be so much again
                _write(folder / "memory.oom.group", 1)
            _write(folder / _PROCESSES, pid)
        except OSError:
            _removed(folder)
            raise
        return folder

    def _make_client(self) -> None:
        self.folder.mkdir(exist_ok=True)  # somebody may have removed it, while nobody was in it
        _enable(self.folder, self._controllers)
        self._client.mkdir()
        if "pids" in self._controllers:
            _write(self._client / "pids.max", self.limits.processes)
        _enable(self._client, [name for name in self._controllers if name == "memory"])

    def set_memory(self, folder: Path, most: int) -> None:
        """Bound the memory of what is in a group.  Raises: OSError."""
        if "memory" in self._controllers:
            _write(folder / "memory.max", most)

    def why_ended(self, folder: Path) -> str:
        """Why the system ended what was in a group; "" if it did not, or for want of memory elsewhere."""
        events = dict(line.split() for line in read_text(folder / "memory.events").splitlines())
        if "0" in (events.get("oom", "0"), events.get("oom_kill", "0")):
            return ""
        most = size_in_words(self.limits.memory)
        return f"the system killed its processes: they have used {most} of memory and may not use more (--max_memory)"

    def check(self) -> None:
        """Try whether a process can be moved there.  Raises: OSError."""
        with subprocess.Popen(
            [sys.executable, "-ISc", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as it:
            try:
                folder = self.enter("trial", it.pid)
                if not (folder / "cgroup.kill").exists():
                    raise OSError("they cannot be killed as a whole, before Linux 5.14")
            finally:
                it.kill()
        remove([folder, self._client])

    def close(self) -> None:
        """The node has ended."""
        kill(self.folder)
        remove(_from_within(self.folder))


class Group:
    """That of one zygote and its servers."""

    def __init__(self, groups: Groups, zygote: int) -> None:
        self._groups = groups
        self._zygote: Path | None = None
        self._starting: set[int] = set()
        self._servers: dict[int, Path] = {}
        self._left: list[Path] = []
        """Of servers that have ended, while the last of what they have started is on its way out."""
        with _warned("the process from which servers start is"):
            self._zygote = groups.enter(f"zygote-{zygote}", zygote)

    def starts(self, index: int) -> None:
        """A server is about to be forked."""
        self._starting.add(index)
        self._make_room()

    def _make_room(self) -> None:
        if self._zygote is not None:
            with contextlib.suppress(OSError):
                servers = len(self._starting) + len(self._servers)
                self._groups.set_memory(self._zygote, self._groups.limits.memory + servers * START_BYTES)

    def take(self, index: int, pid: int) -> None:
        """A server has begun, and has no task yet.  pid: as it says itself, so it is believed only if it is there."""
        if self._zygote is None or index not in self._starting:
            return
        self._starting.discard(index)
        self._left = [folder for folder in self._left if not _removed(folder)]
        with _warned("a server is"), _held(pid) as process:
            if str(pid) in read_text(self._zygote / _PROCESSES).split():
                folder = self._groups.enter(f"server-{pid}", pid)
                if select.select([process], [], [], 0)[0]:  # it has ended: that may have been somebody else by now
                    self._left.append(folder)
                else:
                    self._servers[index] = folder

    def ended(self, index: int) -> str:
        """A server has ended: so does all that it has started.  Returns: why, if that was for its bounds."""
        self._starting.discard(index)
        folder = self._servers.pop(index, None)
        self._make_room()
        if folder is None:
            return ""
        why = self._groups.why_ended(folder)
        kill(folder)
        self._left.append(folder)
        return why

    def end(self) -> str:
        """The zygote has ended; kill whatever is left.  It may take `EMPTY_S`.  Returns: as `ended`."""
        if self._zygote is None:
            return ""
        why = self._groups.why_ended(self._zygote)
        folders = [*self._servers.values(), *self._left, self._zygote]
        for folder in folders:
            kill(folder)
        remove(folders)
        _removed(self._zygote.parent)  # unless a space of the client is left
        return why


def find_groups(place: str | None, limits: Limits) -> Groups | None:
    """Where a node makes its groups.

    Args:
        place: as --cgroup; None: in the node's own group, if that can be.

    Returns: None if it needs none, or there are none for it to have.
    Raises: ConfigError if there are none at the given place, or not all that it needs.
    """
    wanted = [name for name, bound in (("memory", limits.memory), ("pids", limits.processes)) if bound]
    if place == NONE or (not wanted and place is None):
        return None
    try:
        folder, moves = _own_group() if place is None else (Path(place), False)
        there = [name for name in wanted if name in (folder / "cgroup.controllers").read_text().split()]
        lacking = [name for name in wanted if name not in there]
        if lacking and (place is not None or not there):
            raise OSError(f"it has no controller for {' and '.join(lacking)} (cgroup.controllers)")
        groups = Groups(folder, limits, there)
        _clean(folder)
        with _out_of(folder) if moves else contextlib.nullcontext():
            try:
                _enable(folder, there)
                groups.check()
            except OSError:
                groups.close()
                raise
    except OSError as error:
        why = error.strerror or str(error)
        if place is not None:
            raise ConfigError(f"--cgroup {place}: no control groups can be made there: {why}") from error
        logger.info("what a client uses is bounded by looking at it, not by control groups: %s", why)
        return None
    logger.info("what a client uses is bounded by the control group %s (%s)", groups.folder, ", ".join(there))
    return groups


def _own_group() -> tuple[Path, bool]:
    """The node's group, and whether it must leave that before others can be made there.  Raises: OSError."""
    for kind, folder, _ in own_groups(""):
        if kind == "cgroup2":
            if str(os.getpid()) not in (folder / _PROCESSES).read_text().split():
                raise OSError("this node's own group is not seen from here")
            return folder, (folder / "cgroup.type").exists()  # the topmost of all has no type, and may have both
    raise OSError("this system has none of version 2")


@contextlib.contextmanager
def _out_of(place: Path) -> Iterator[None]:
    """Move this process and its children to a group of their own, for good if the block succeeds."""
    home = place / f"{_PREFIX}{os.getpid()}-node"
    home.mkdir(exist_ok=True)
    here = str(os.getpid())
    moved = [pid for pid in read_text(place / _PROCESSES).split() if pid == here or _parent(pid) == here]
    try:
        for pid in moved:
            _write(home / _PROCESSES, pid)
        yield
    except OSError:
        for name in ("memory", "pids"):  # else they could not be moved back
            with contextlib.suppress(OSError):
                _write(place / _CONTROLLERS, f"-{name}")
        for pid in moved:
            with contextlib.suppress(OSError):
                _write(place / _PROCESSES, pid)
        remove([home])
        raise


def _parent(pid: str) -> str:
    fields = read_text(Path("/proc", pid, "stat")).rpartition(")")[2].split()  # a name may hold anything
    return fields[1] if fields else ""


@contextlib.contextmanager
def _held(pid: int) -> Iterator[int]:
    """A descriptor of a process, which says whether it has ended, whoever has its number then.  Raises: OSError."""
    if pid <= 0:
        raise OSError(f"no process has the number {pid}")
    fd = os.pidfd_open(pid)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _warned(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        logger.warning("%s in no control group: %s", what, error)


def _clean(place: Path) -> None:
    """Remove what nodes have left that are no more."""
    for folder in _folders(place):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if folder.name.startswith(_PREFIX) and pid.isdecimal() and not Path("/proc", pid).exists():
            for each in _from_within(folder):
                _removed(each)


def _folders(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    return []


def _from_within(folder: Path) -> list[Path]:
    """A group and those within, the innermost first."""
    return [*(each for inner in _folders(folder) for each in _from_within(inner)), folder]


def _enable(folder: Path, controllers: Iterable[str]) -> None:
    """For the groups in this one."""
    for name in controllers:
        _write(folder / _CONTROLLERS, f"+{name}")


def kill(folder: Path) -> None:
    """All that is in a group, and in those within."""
    with contextlib.suppress(OSError):  # it is gone
        _write(folder / "cgroup.kill", 1)


def remove(folders: Iterable[Path]) -> None:
    """These groups, in this order, when what was killed there has ended."""
    until = time.monotonic() + EMPTY_S
    for folder in folders:
        while not _removed(folder) and time.monotonic() < until:
            time.sleep(0.01)


def _removed(folder: Path) -> bool:
    with contextlib.suppress(OSError):  # somebody is in it, or it is gone
        folder.rmdir()
    return not folder.exists()


def _write(path: Path, value: object) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)
