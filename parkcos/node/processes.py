"""The processes of a node, in a file in its folder: a second node there does not start beside the first one.

The running node holds a lock on the file.  A process is known by its id and by when it started, on this boot of the
system and in this pid namespace, so that no other process is taken for it.  Source: chapter 6.2, `--clean`.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from parkcos.cluster.folders import OwnFolders
from parkcos.errors import ConfigError
from parkcos.net.files.disk import Folder
from parkcos.node.as_client import kill
from parkcos.node.identity import ClientUser, remove_folder

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger("parkcos")

FILE = "node.processes"
CLIENT_FOLDER = "client-"
"""What a client's folder begins with."""
END_S = 10.0
"""A node that is told to end has so long for it."""
FADE_S = 3.0
"""What a node has started ends with it, or soon after."""
_POLL_S = 0.02


class Process(msgspec.Struct, frozen=True):
    """started: as the system counts it; what: "node", "zygote" or "server"."""

    pid: int
    started: str
    what: str


class Processes(msgspec.Struct):
    """What stands in the file.

    folder: the name of the one in which the clients' folders are.
    made: the folders that nodes have made, and not their user; the last one that ends in order removes them.
    """

    system: str
    folder: str
    processes: list[Process]
    made: list[str] = []


def this_system() -> str:
    """This boot of the system, and the pid namespace of this process: where its pids mean something."""
    boot = namespace = ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    if not boot:
        import psutil

        boot = str(int(psutil.boot_time()))
    return f"{boot} {namespace}".strip()


def started_at(pid: int) -> str:
    """When the process started, as the system counts it; "" if there is none of this id, or it has ended.

    Raises: OSError if this process has too many files open.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return ""
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        return ""
    else:
        fields = stat.rpartition(")")[2].split()  # a name may hold anything
        return "" if fields[0] in "ZX" else fields[19]
    import psutil

    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.Error:
        return ""


def waits_for_device(pid: int) -> bool:
    """Whether the process cannot be ended now, not even by SIGKILL, as one that reads from a disk that is gone."""
    import psutil

    with contextlib.suppress(psutil.Error):
        return bool(psutil.Process(pid).status() == psutil.STATUS_DISK_SLEEP)
    return False


class ProcessFile:
    """The file of the node that this process is.

    Args:
        folder: where it lies; made, with mode 0700.
        node_folder: the name of the folder in which the clients' folders are: `folder` itself, or one in it.
        client_user: as whom clients' tasks run; None: as this process.
        dest_path: as the user names it, if so; see OwnFolders.
        beside: gives the command that starts this node beside an earlier one.
    """

    def __init__(
        self,
        folder: Path,
        node_folder: str,
        client_user: ClientUser | None = None,
        dest_path: Path | None = None,
        beside: Callable[[], str] = lambda: "parkcosnode.py --dest_path FOLDER",
    ) -> None:
        self.folder = folder
        self.path = folder / FILE
        self._node_folder = node_folder
        self._user = client_user
        self._beside = beside
        self._fd = -1
        self._taken = False
        self._started: dict[int, str] = {}
        self._system = this_system()
        self._folders = OwnFolders(folder, dest_path, folder_mode(client_user))

    def take(self, clean: bool) -> None:
        """Become the node of this folder, and remove what one that has died has left there.

        Args:
            clean: end an earlier node and its processes that are still there.

        Raises: ConfigError if there are some, or the folder cannot be used.
        """
        locked = self._open()
        earlier = self._read()
        if not locked:
            self._remove_earlier(_alive(earlier), clean)
            deadline = time.monotonic() + FADE_S
            while not self._open():  # its end, as it gave up the lock
                if time.monotonic() > deadline:
                    raise ConfigError(f"the earlier node of {self.folder} has ended, but {self.path} is still locked")
                time.sleep(_POLL_S)
            earlier = self._read()
        if earlier is not None:
            self._folders.adopt(earlier.made)
            alive = _alive(earlier)
            if not _all_ended(alive, FADE_S):
                self._remove_earlier(alive, clean)
            self._remove_clients(earlier.folder)
        self._taken = True
        self.write({os.getpid(): "node"})

    def _open(self) -> bool:
        """Open and lock the file; returns whether it is this process's now."""
        while True:
            self._close()
            self._folders.make()
            try:
                with Folder(self.folder, (), make=False) as folder:
                    self._fd = folder.open(FILE, os.O_RDWR | os.O_CREAT)
                owner = os.fstat(self._fd).st_uid
            except FileNotFoundError:  # an earlier node has just removed the folder
                continue
            except OSError as error:
                raise ConfigError(f"cannot use {self.path}: {error.strerror}") from None
            if hasattr(os, "geteuid") and owner != os.geteuid():
                self._close()
                raise ConfigError(f"{self.path} belongs to another user: give a folder of your own with --dest_path")
            if fcntl is not None:
                try:
                    fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
                except OSError:  # a file system without locks: the ids must do
                    return True
            if self._is_there():
                return True
            # Another node removed it meanwhile.

    def _is_there(self) -> bool:
        """The open file is the one that has the name."""
        try:
            return os.path.samestat(os.fstat(self._fd), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _read(self) -> Processes | None:
        try:
            return msgspec.json.decode(os.pread(self._fd, 1 << 20, 0), type=Processes)
        except msgspec.MsgspecError:  # new, or not written whole
            return None

    def _remove_earlier(self, alive: list[Process], clean: bool) -> None:
        who = ", ".join(f"{process.what} {process.pid}" for process in alive)
        if not alive:
            self._close()
            raise ConfigError(
                f"another node uses {self.folder}, in another container or on another machine, or it is just starting: "
                "end it there, or give this one a folder of its own with --dest_path"
            )
        if not clean:
            self._close()
            raise ConfigError(
                f"an earlier node of {self.folder} is still there (process ids: {who}): end it, "
                "or start with --clean, which ends it and its servers\n"
                f"  or, for a second node beside it on this machine, write: {self._beside()}"
            )
        logger.warning("--clean: ending the earlier node of %s (process ids: %s)", self.folder, who)
        _end(alive, self._user)

    def _remove_clients(self, name: str) -> None:
        folder = self.folder if name == self.folder.name else self.folder / name
        if re.fullmatch(r"node-\d+", name) or folder == self.folder:
            for path in folder.glob(f"{CLIENT_FOLDER}*"):
                if left := remove_folder(path, self._user):
                    logger.warning("an earlier client's files are left behind: %s", left)
            if folder != self.folder:
                with contextlib.suppress(OSError):  # there is none, or something else is in it
                    folder.rmdir()

    def write(self, processes: Mapping[int, str]) -> None:
        """These are the node's processes now: what they are, by id.  One that has ended is left out.

        If somebody has removed the file, as those do who clean /tmp, it is made again.

        Raises: OSError, ConfigError if this cannot be done now.
        """
        if not self._taken:
            return
        if not (self._fd >= 0 and self._is_there()) and not self._open():
            self._close()
            raise ConfigError(f"another node uses {self.folder} by now")
        started = {pid: self._started.get(pid) or started_at(pid) for pid in processes}
        self._started = started
        found = [Process(pid, started[pid], what) for pid, what in processes.items() if started[pid]]
        made = [str(folder) for folder in self._folders.made]
        data = msgspec.json.encode(Processes(self._system, self._node_folder, found, made))
        os.pwrite(self._fd, data, 0)
        os.ftruncate(self._fd, len(data))

    def release(self) -> None:
        """The node has ended, and all its processes."""
        self._taken = False
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                self.path.unlink()
            self._close()
            self._folders.remove()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def folder_mode(client_user: ClientUser | None) -> int:
    """Of the node's folders.  client_user: comes through them, but does not see what is there, nor writes."""
    return 0o700 if client_user is None else 0o711


def _alive(earlier: Processes | None) -> list[Process]:
    """Those that are still there; none if they were elsewhere, for nothing is known of those."""
    if earlier is None or earlier.system != this_system():
        return []
    return [p for p in earlier.processes if p.pid != os.getpid() and p.started and started_at(p.pid) == p.started]


def _all_ended(processes: list[Process], wait_s: float) -> bool:
    deadline = time.monotonic() + wait_s
    while any(started_at(p.pid) == p.started for p in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _signal(processes: list[Process], number: int, client_user: ClientUser | None) -> None:
    """Raises: ConfigError if one belongs to somebody else."""
    theirs = [p.pid for p in processes if client_user is not None and p.what != "node"]
    refused = kill(number, [p.pid for p in processes if p.pid not in theirs])
    if client_user is not None and theirs:  # their ids come from clients' processes: no right but theirs is used
        refused += client_user.kill(number, theirs)
    if refused:
        raise ConfigError(f"--clean: process {refused[0]} belongs to another user, who must end it")


def _end(processes: list[Process], client_user: ClientUser | None) -> None:
    """The node first, which ends the others in order; then whatever is left, without a further word."""
    for group, number, wait_s in (
        ([p for p in processes if p.what == "node"], signal.SIGTERM, END_S),
        (processes, signal.SIGTERM, FADE_S),
        (processes, signal.SIGKILL, FADE_S),
    ):
        _signal([p for p in group if started_at(p.pid) == p.started], number, client_user)
        if not group or not _all_ended(group, wait_s):
            continue
        _all_ended(processes, FADE_S)
    if left := [p.pid for p in processes if started_at(p.pid) == p.started]:
        raise ConfigError(f"--clean: the processes {', '.join(map(str, left))} do not end")
