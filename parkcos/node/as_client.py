"""What is done as the user that clients' tasks run as, where the interpreter is suid.

Also a script of its own, which the node starts with that interpreter.  It imports nothing but the standard library, so
that nothing of its user's environment has a say in it.  Source: chapter 6.12.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import stat
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

FAMILY = "PARKCOS_FAMILY"
"""The variable by which the processes of a client are known, whatever group or session they are in.  Its value is the
mark of their zygote, and behind it that of their server, if they have one.  Each mark ends with a colon."""
END_S = 2.0
"""What is killed has ended after this time, unless it waits for a device."""
_POLL_S = 0.002


def become(uid: int, gid: int) -> None:
    """Be this user and group for good: of the user that has started this process, no right is left.

    For a process that a suid interpreter has just begun, before it does anything else.

    Raises: PermissionError if the interpreter does not make its processes that user's.
    """
    own = os.getuid(), os.getgid()
    if (os.geteuid(), os.getegid()) != (uid, gid):
        raise PermissionError(
            f"{sys.executable} does not run as user {uid}, group {gid} (any more): "
            "its owner, its group or its mode (ug+s) has been changed, or its file system is mounted with nosuid"
        )
    if own[0] == 0:  # the only user that may
        os.seteuid(0)
        os.setgroups([])
    os.setregid(gid, gid)  # these set the saved ids, too
    os.setreuid(uid, uid)
    for what, call, was, now in (("user", os.seteuid, own[0], uid), ("group", os.setegid, own[1], gid)):
        if was != now:
            try:
                call(was)
            except PermissionError:
                continue
            raise PermissionError(f"this system lets a process go back to the {what} {was} that it has given up")


def kill(number: int, pids: Iterable[int]) -> list[int]:
    """Send a signal to those of these processes that are there; returns those that are not this user's."""
    refused = []
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            refused.append(pid)
    return refused


def end_family(marks: Sequence[str], node: int = 0) -> bool:
    """Kill the processes that have one of these marks, but for this one, and wait until they have ended.

    node: the process id of the node.  If it has the mark itself, of a zygote that was forked from it, it is spared, and
        so are its children: one that is about to become the next zygote has the node's environment until then.

    Returns: whether they have, as far as can be seen; not if this process has too many files open to look.

    Only where the system shows the environments of processes, in /proc.  It shows that with which a program was begun:
    so a process that was forked from a server, and runs no program of its own, has the mark of the zygote only.
    """
    deadline = time.monotonic() + END_S
    while True:  # what they start meanwhile is found the next time
        try:
            found = _of_family(marks)
            if node in found:
                found = [pid for pid in found if node not in (pid, _parent_of(pid))]
            found = [pid for pid in found if pid != os.getpid()]
            if not found:
                return True
            kill(signal.SIGKILL, found)
        except OSError:
            pass  # it can be tried again
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)


def _of_family(marks: Sequence[str]) -> list[int]:
    """Raises: OSError if this process has too many files open."""
    wanted = [f"\0{FAMILY}={mark}".encode() for mark in marks]
    found = []
    for name in os.listdir("/proc") if wanted and os.path.isdir("/proc") else ():
        if name.isdigit():
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    variables = b"\0" + file.read()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    raise
                continue  # another user's, or it has just ended
            if any(mark in variables for mark in wanted):
                found.append(int(name))
    return found


def _parent_of(pid: int) -> int:
    """0: it has just ended.  Raises: OSError if this process has too many files open."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])  # the program's name, in front, may hold anything
    except (FileNotFoundError, ProcessLookupError):
        return 0


def size_of(folder: str | Path) -> int:
    """The bytes on the disk that all below a folder takes up, as far as it can be seen; no link is followed."""
    total, folders = 0, [os.fspath(folder)]
    several: set[tuple[int, int]] = set()
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):  # it has just been removed
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        folders.append(entry.path)
                    elif status.st_nlink > 1:
                        if (status.st_dev, status.st_ino) in several:
                            continue
                        several.add((status.st_dev, status.st_ino))
                    total += status.st_blocks * 512
    return total


def unfit(folder: Path) -> tuple[str, Path] | None:
    """What keeps this folder, which must be absolute, from being one of the node's own.

    Returns: "closed" and a folder that this user cannot pass, or "open" and one in which this user could replace what
    belongs to the node; None if there is nothing.
    """
    for path in (*reversed(folder.parents), folder):
        if not os.access(path, os.X_OK):
            return "closed", path
        status = path.stat()
        sticky = status.st_mode & stat.S_ISVTX and path != folder
        if status.st_uid == os.geteuid() or (os.access(path, os.W_OK) and not sticky):
            return "open", path
    return None


def main(argv: list[str]) -> int:
    """``UID GID kill NUMBER PID...``, ``... end MARK...``, ``... remove FOLDER``, ``... unfit FOLDER`` or
    ``... size FOLDER``.

    The answer is printed.
    """
    try:
        become(int(argv[0]), int(argv[1]))
    except PermissionError as error:
        print(error, file=sys.stderr)
        return 1
    command, args = argv[2], argv[3:]
    if command == "kill":
        print(*kill(int(args[0]), map(int, args[1:])))
    elif command == "end":
        print("ended" if end_family(args) else "")
    elif command == "remove":
        shutil.rmtree(args[0], ignore_errors=True)
    elif command == "size":
        print(size_of(args[0]))
    elif command == "unfit":
        found = unfit(Path(args[0]))
        print(*(found or ()), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
