"""What is done as the user that clients' tasks run as, where the interpreter is suid.

Also a script of its own, which the node starts with that interpreter.  It imports nothing but the standard library, so
that nothing of its user's environment has a say in it.  Source: chapter 6.12.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterable
from pathlib import Path


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
    """``UID GID kill NUMBER PID...``, ``UID GID remove FOLDER`` or ``UID GID unfit FOLDER``; the answer is printed."""
    try:
        become(int(argv[0]), int(argv[1]))
    except PermissionError as error:
        print(error, file=sys.stderr)
        return 1
    command, args = argv[2], argv[3:]
    if command == "kill":
        print(*kill(int(args[0]), map(int, args[1:])))
    elif command == "remove":
        shutil.rmtree(args[0], ignore_errors=True)
    elif command == "unfit":
        found = unfit(Path(args[0]))
        print(*(found or ()), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
