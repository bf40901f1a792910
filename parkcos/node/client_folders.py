"""A node's folder, with one for each client in it, in which lies all that the client brings."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from pathlib import Path

from parkcos.cluster.folders import OwnFolders
from parkcos.cluster.shared import FOLDER as SHARED
from parkcos.errors import ConfigError
from parkcos.net.files.disk import own_folder
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
        made_again: called when somebody has removed it, and it was made again.

    Raises: ConfigError if it cannot be used.
    """

    def __init__(
        self, port: int, dest_path: Path | None, user: ClientUser | None, made_again: Callable[[], None]
    ) -> None:
        self.path = (dest_path or own_folder()) / f"node-{port}"
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
        """The folder for a client, with its bundle.  Raises: OSError, ConfigError; then it is not there."""
        self.keep()
        folder = self.path / f"{CLIENT_FOLDER}{next(self._numbers)}"
        while folder.exists():  # of a node that was killed
            folder = self.path / f"{CLIENT_FOLDER}{next(self._numbers)}"
        try:
            if self._user is not None:
                self._user.make_folder(folder)
            else:
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

    def remove(self) -> None:
        """It, and the one in which it lies, if they are empty and their user has not made them."""
        self._folders.remove()


def server_folder(directory: Path, index: int) -> Path:
    """The folder of server number `index`, in that of its client."""
    return directory / f"parkcosproc-{index + 1}"
