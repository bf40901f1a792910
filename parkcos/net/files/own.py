"""Folders of this user's own: where they lie if nobody says otherwise, and how they are made where others write, too.

Below the folder that all users may share, each one is opened from the one above it, through no link, and looked at when
it is open: whoever changes names there meanwhile changes nothing of what was opened.  All of this blocks.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import stat
import tempfile
from pathlib import Path

from parkcos.net.files import rules
from parkcos.net.files.disk import Folder
from parkcos.net.files.rules import Refused

_LOCAL = frozenset(("bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "reiserfs", "xfs", "zfs"))
"""File systems that are this machine's own, and on a disk."""


def own_folder(*, for_others: bool = False) -> Path:
    """Where all that this user's programs keep for a while lies, if not told otherwise.

    That is the temporary folder, if it is this user's alone, as a job's or macOS's; else the user's folder for caches,
    if there is one on a disk of this machine; else one in the temporary folder that all users share.  ($XDG_RUNTIME_DIR
    is none for files: it lies in memory, is small, and is emptied when its user logs out, which a node outlives.  Nor
    is a home that machines share, where they would take each other's files for their own.)

    for_others: another user must be able to pass to it, as to no user's cache.
    """
    shared = Path(tempfile.gettempdir())
    if not for_others and not _is_private(shared) and (cache := _cache()) is not None:
        return cache / "parkcos"
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.geteuid())
    return shared / f"parkcos-{user}"


def _is_private(folder: Path) -> bool:
    """Whether a folder is this user's, and nobody else can write there."""
    if not hasattr(os, "geteuid"):
        return True  # Windows: each user has a temporary folder
    try:
        status = os.stat(folder)
    except OSError:
        return False
    return status.st_uid == os.geteuid() and not status.st_mode & rules.OTHERS_WRITE


def _cache() -> Path | None:
    """The user's folder for caches, if there is one that can be used."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(configured) if os.path.isabs(configured) else Path(os.path.expanduser("~"), ".cache")
    usable = folder.is_absolute() and _is_private(folder) and os.access(folder, os.W_OK | os.X_OK)
    return folder if usable and _file_system(folder) in _LOCAL else None


def _file_system(folder: Path) -> str:
    """The kind of file system that a folder lies on; "" if the system does not say."""
    with contextlib.suppress(OSError):
        device = os.stat(folder).st_dev
        number = f"{os.major(device)}:{os.minor(device)}"
        for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
            mounted, _, what = line.partition(" - ")
            if mounted.split()[2] == number:
                return what.split()[0]
    return ""


def default_dest_path() -> Path:
    """Where received files go if nothing else was said; made by `make_own`."""
    return own_folder() / "files"


class OwnFolder(Folder):
    """A folder of this user's own, open, and made if it is not there.

    Args:
        base: the folder in which they are made, which others may share.
        folders: below it; each is this user's own, and no link.
        mode: what others may do there at least; nobody else may ever write.

    Raises: Refused if one of them is a link or another user's, if others could write there, or put another one in its
        place; OSError.
    """

    def __init__(self, base: Path, *folders: str, mode: int = 0o700) -> None:
        self._mode = mode
        super().__init__(base, folders, make=True)

    def _enter(self, folder: str, make: bool) -> None:
        if self.fd < 0:  # Windows: it lies in the user's own
            super()._enter(folder, make)
            return
        rules.check_names_last(self.path, os.fstat(self.fd), os.geteuid())
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700, dir_fd=self.fd)
        try:
            super()._enter(folder, make=False)
        except Refused:
            path = os.path.join(self.path, folder)
            raise Refused(f"{path} is no folder (perhaps a link): remove it, or give dest_path") from None
        status = os.fstat(self.fd)
        rules.check_own_folder(self.path, status, os.geteuid())
        if self._mode & ~status.st_mode:
            os.fchmod(self.fd, stat.S_IMODE(status.st_mode) | self._mode)


def make_own(folder: Path, mode: int = 0o700) -> None:
    """Make a folder of this user's own, if it is not there; the one in which it lies must be.

    Args and Raises: as of `OwnFolder`.
    """
    OwnFolder(folder.parent, folder.name, mode=mode).close()
