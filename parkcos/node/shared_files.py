"""The files of objects that a client shares with its tasks: they come while it is served, and go with its folder.

The node takes them as they are, and opens none.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from parkcos.cluster.shared import FOLDER
from parkcos.net.files.disk import Folder
from parkcos.net.files.rules import Refused
from parkcos.net.files.service import Files
from parkcos.net.session.peer import Peer

logger = logging.getLogger("parkcos")


class SharedFiles:
    """I/O thread only.

    Args:
        folder_of: gives the folder of the client that this process is; None if it is no client that is served now.
    """

    def __init__(self, files: Files, folder_of: Callable[[int], Path | None]) -> None:
        self._files = files
        self._folder_of = folder_of
        files.places[FOLDER] = self._place

    def _place(self, peer: Peer) -> Path:
        folder = self._folder_of(peer.incarnation)
        if folder is None:
            raise Refused("the node does not serve that client, or not any more")
        return folder

    def drop(self, process: int, digests: Iterable[str]) -> None:
        """A client does not need these any more.  They have no name when this returns, so that one may come again."""
        base = self._folder_of(process)
        if base is None:
            return
        try:
            folder = Folder(base, (FOLDER,), make=False)
        except (OSError, Refused) as error:  # a task has moved it
            logger.warning("shared objects cannot be removed: %s", error)
            return
        try:
            for digest in digests:
                try:
                    file = folder.open(digest, os.O_RDONLY)
                    folder.remove(digest)
                except OSError as error:
                    logger.warning("the shared object %s cannot be removed: %s", digest, error.strerror)
                else:  # which makes the disk work
                    self._files.workers.run(os.close, (file,), lambda *_: None)
        finally:
            folder.close()

    def end(self) -> None:
        """The client is being closed."""
        self._files.end_incoming(FOLDER, "the node closes that client")
