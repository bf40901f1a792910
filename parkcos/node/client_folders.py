"""A node's folder, with one for each client in it, in which lies all that the client brings."""

from __future__ import annotations

import errno
import itertools
import logging
import os
from collections.abc import Callable
from pathlib import Path

from parkcos.cluster.folders import OwnFolders
from parkcos.cluster.shared import FOLDER as SHARED
from parkcos.errors import ConfigError
from parkcos.net.files.disk import free_bytes
from parkcos.net.files.own import own_folder
from parkcos.net.payload import Buffer
from parkcos.node.identity import ClientUser, remove_folder
from parkcos.node.processes import CLIENT_FOLDER, folder_mode

logger = logging.getLogger("parkcos")

BUNDLE = ".bundle"
"""Where the node leaves the client's bundle for the zygote, in the client's folder."""


class ClientFolders:
    """The folder of the node at this port.

    Args:
        dest_path: in which it lies, if its user names one.
        user: as whom clients' tasks run; None: as this process.
        disk_reserve: bytes that stay free on the disk; see `free_bytes`.
        made_again: called when somebody has removed it, and it was made again.

    Raises: ConfigError if it cannot be used.
    """

    def __init__(
        self,
        port: int,
        dest_path: Path | None,
        user: ClientUser | None,
        made_again: Callable[[], None],
        disk_reserve: int | None = None,
    ) -> None:
        self._disk_reserve = disk_reserve
        self.path = (dest_path or own_folder(for_others=user is not None)) / f"node-{port}"
        self._folders = OwnFolders(self.path, dest_path, folder_mode(user))
        self._user = user
        self._made_again = made_again
        self._numbers = itertools.count(1)
        self._folders.make()
        if user is not None:
            self._check(user)

    def _check(self, user: ClientUser) -> None:
        """Clients' tasks pass through the node's folders, and no more.  Raises: ConfigError if they could not."""
        try:
            user.check_folder(self.path)
        except ConfigError:
            self.remove()
            raise
        logger.info("clients' tasks run as %s (suid interpreter)", user)
        if user.same_user:
            logger.warning("that is this node's own user, whose files are not safe from them: set the suid bit, too")

    def keep(self) -> None:
        """Make it again if somebody, who cleans /tmp, has removed it.  Raises: ConfigError."""
        if not self.path.is_dir():
            logger.warning("the folder %s was removed while this node uses it: it is made again", self.path)
            self._folders.make()
            self._made_again()

    def make(self, bundle: Buffer) -> Path:
        """The folder for a client, with its bundle, and still closed to all others.

        Raises: OSError, ConfigError; then it is not there.
        """
        self.keep()
        free = free_bytes(self.path, self._disk_reserve)
        if free is not None and len(bundle) > free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        folder = self.path / f"{CLIENT_FOLDER}{next(self._numbers)}"
        while folder.exists():  # of a node that was killed
            folder = self.path / f"{CLIENT_FOLDER}{next(self._numbers)}"
        try:
            folder.mkdir(mode=0o700)
            path = folder / BUNDLE
            path.write_bytes(bundle)
            (folder / SHARED).mkdir()  # now, while nobody else can put something in its place
            if self._user is not None:  # nobody else comes into the folder
                path.chmod(0o644)
                (folder / SHARED).chmod(0o755)
        except OSError:
            remove_folder(folder, self._user)
            raise
        return folder

    def hand_over(self, folder: Path) -> None:
        """The node has put there what it has to: from now on the client's processes may write there.

        Not before: what an earlier client has left running, as the same user, could put links there.

        Raises: OSError.
        """
        try:
            if self._user is not None:
                self._user.let_in(folder)
        except OSError:
            remove_folder(folder, self._user)
            raise

    def remove(self) -> None:
        """It, and the one in which it lies, if they are empty and their user has not made them."""
        self._folders.remove()


def server_folder(directory: Path, index: int) -> Path:
    """The folder of server number `index`, in that of its client."""
    return directory / f"parkcosproc-{index + 1}"
