"""Who a node is, and who its clients' tasks are, when it runs under a suid interpreter.

Such an interpreter begins every process with the rights of its own user, the clients'.  The node gives them up at once
and for good, since a process can send signals to whatever has its user id, also as the saved one.  Where the node has
to act as the clients' user (to end processes, to remove files), it starts the interpreter again: `as_client.py`.
Source: chapter 6.12.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from parkcos.errors import ConfigError
from parkcos.node import as_client

_SCRIPT = str(Path(as_client.__file__).resolve())
_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class ClientUser:
    """As whom clients' tasks run.

    uid, gid: theirs.
    node_gid: the group of the node itself.
    same_user: the interpreter is sgid only, so that tasks are the node's user all the same.
    """

    uid: int
    gid: int
    node_gid: int
    same_user: bool = False

    def __str__(self) -> str:
        user, group = str(self.uid), str(self.gid)
        with contextlib.suppress(ImportError, KeyError):
            import pwd

            user = pwd.getpwuid(self.uid).pw_name
        with contextlib.suppress(ImportError, KeyError):
            import grp

            group = grp.getgrgid(self.gid).gr_name
        return f"user {user}, group {group}"

    def let_in(self, path: Path) -> None:
        """In this folder of the node's user, the clients' group may make what it likes, and nobody else."""
        os.setegid(self.gid)  # which is still the saved one: a file's owner may give it to a group of the process
        try:
            os.chown(path, -1, self.gid)
        finally:
            os.setegid(self.node_gid)
        path.chmod(0o770)

    def kill(self, number: int, pids: Iterable[int]) -> list[int]:
        """Send a signal to these processes; returns those that are not the clients' user's.

        Raises: ConfigError if the interpreter is not suid any more.
        """
        return [int(pid) for pid in self._act("kill", number, *pids).split()]

    def end_family(self, mark: str) -> bool:
        """As that of `as_client.py`, which see.  Raises: ConfigError as `kill`."""
        return bool(self._act("end", mark).strip())

    def check_folder(self, folder: Path) -> None:
        """Whether tasks can reach the folders in this one, and cannot replace them.

        Raises: ConfigError if they cannot, or could; or if processes do not begin as the clients' user.
        """
        found = self._act("unfit", folder.absolute())
        if not found or self.same_user:
            return
        what, _, path = found.partition(" ")
        if what == "closed":
            raise ConfigError(
                f"clients' tasks, which run as {self}, cannot reach {folder.absolute()}: "
                f"let them through with chmod o+x {path}, or give another folder with --dest_path"
            )
        raise ConfigError(
            f"clients' tasks, which run as {self}, could change what is in {path}, so the files of a node are not safe "
            f"in {folder.absolute()}: give a folder with --dest_path that only you can write to (chmod go-w), "
            "and of which this is true all the way up"
        )

    def size_of(self, folder: Path) -> int:
        """As that of `as_client.py`.  Raises: ConfigError as `kill`."""
        return int(self._act("size", folder))

    def remove(self, folder: Path) -> None:
        """Remove what the clients' user has left in this folder.  Raises: ConfigError as `kill`."""
        self._act("remove", folder)

    def _act(self, *words: object) -> str:
        command = [sys.executable, "-I", "-S", _SCRIPT, str(self.uid), str(self.gid), *map(str, words)]
        try:
            done = subprocess.run(
                command, cwd="/", env={}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_WAIT_S
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigError(f"cannot act as the clients' {self}: {error}") from None
        if done.returncode != 0:
            raise ConfigError(f"cannot act as the clients' {self}: {done.stderr.strip()}")
        return done.stdout


def choose(real: tuple[int, int], effective: tuple[int, int], bits: int = 0, owner: int = -1) -> ClientUser | None:
    """As whom clients' tasks run; None: as the node itself.

    Args:
        real, effective: user and group ids of a process that has just begun.
        bits: the mode of its interpreter.
        owner: the interpreter's user id.

    Raises: ConfigError if that is root, or the interpreter is suid and the system has not heeded it.
    """
    if real == effective:
        if bits & stat.S_ISUID and owner != real[0]:
            raise ConfigError(
                "the interpreter is suid, but the system starts it without the rights of its owner, "
                "so clients' tasks would run as you: its file system is mounted with nosuid, or processes may gain no "
                "rights here (no_new_privs). Use another one, or remove the bits with chmod ug-s"
            )
        return None
    if any(now == 0 != was for was, now in zip(real, effective, strict=True)):
        raise ConfigError(
            "the interpreter is suid or sgid root, so clients' tasks would run as root: "
            "give it to a user and a group of their own (chown), and then set the bits again (chmod ug+s)"
        )
    return ClientUser(*effective, node_gid=real[1], same_user=real[0] == effective[0])


def settle() -> ClientUser | None:
    """For a node that has just begun: go on as the user that has started it.  Returns: as whom clients' tasks run.

    None where there is nothing to decide: without suid, and where there is no such thing.  Raises: ConfigError.
    """
    if not hasattr(os, "geteuid"):
        return None
    status = os.stat(sys.executable) if sys.executable else None
    bits, owner = (status.st_mode, status.st_uid) if status is not None else (0, -1)
    real = os.getuid(), os.getgid()
    user = choose(real, (os.geteuid(), os.getegid()), bits, owner)
    if user is not None:
        os.setegid(user.node_gid)  # the saved one stays: see `let_in`
        os.setreuid(real[0], real[0])
        set_dumpable()
    return user


def set_dumpable() -> None:
    """Let this process be looked at by its own user again, after a change of ids (Linux; elsewhere nothing)."""
    if sys.platform == "linux":
        import ctypes

        pr_set_dumpable = 4
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_dumpable, 1, 0, 0, 0)


def remove_folder(folder: Path, user: ClientUser | None) -> str:
    """Remove a client's folder.  user: of the client's tasks.  Returns: why something of it is still there."""
    shutil.rmtree(folder, ignore_errors=True)
    if user is not None and folder.exists():
        try:
            user.remove(folder)
        except ConfigError as error:
            return str(error)
        shutil.rmtree(folder, ignore_errors=True)
    return "" if not folder.exists() else f"{folder} cannot be removed"
