"""Files that are sent to a node with ``send_file(info.location, ...)``: set up there, their client finds them by name.

They lie below dest_path, as all that is received, until the node is set up, or set up again, for the client that sent
them; then they are moved into the client's folder, where its code runs, and are gone with it.  So a client's program
can send data to a node before node_setup there (``disable_nodes``).  Source: chapter 6.1, dispycos_client9_node.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path, PurePosixPath

from parkcos.net.files.service import Files
from parkcos.net.session.peer import Peer

logger = logging.getLogger("parkcos")

SENT = "sent"
"""Where the files wait, in the folder of an isolated client, for its own processes to take them."""


class SentFiles:
    """Which files came from which process.  I/O thread only."""

    def __init__(self, files: Files) -> None:
        self._dest_path = files.dest_path
        self._of: dict[int, dict[PurePosixPath, None]] = {}
        files.on_received = self._received

    def move(self, process: int, directory: Path, *, readable: bool) -> None:
        """All that this process sent goes to `directory`, to which nobody else has access yet."""
        for relative in self._of.pop(process, ()):
            source, target = self._dest_path / relative, directory / relative
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(source, target)
                if readable:
                    target.chmod(target.stat().st_mode | 0o444)
            except OSError as error:
                logger.warning("the file %s cannot be moved to the client's folder: %s", source, error)

    def gone(self, process: int) -> None:
        """What it has sent stays where received files are."""
        self._of.pop(process, None)

    def _received(self, peer: Peer, relative: PurePosixPath) -> None:
        self._of.setdefault(peer.incarnation, {})[relative] = None
