"""The shared scheduler's queue, in a file: killed and started again, it takes up where it was.

What a node does, it says itself; so only the queue is kept, and where nodes were, to look for them there.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec

from parkcos.cluster.folders import OwnFolders
from parkcos.errors import ConfigError
from parkcos.net.files.disk import Folder
from parkcos.net.location import Location
from parkcos.scheduler.state import ClientRecord

logger = logging.getLogger("parkcos")

FILE = "journal.json"


class Entries(msgspec.Struct):
    """clients: in their order, the first is the one that has its turn; nodes: as "address:port"."""

    clients: list[ClientRecord] = []
    nodes: list[str] = []

    def locations(self) -> list[Location]:
        """Of the nodes; what is none is left out, which is logged."""
        found = []
        for text in self.nodes:
            try:
                found.append(Location.parse(text))
            except ConfigError as error:
                logger.warning("the journal names a node that cannot be looked for: %s", error)
        return found


class _File(Entries):
    """made: the folders that schedulers have made, and not their user; one that ends in order removes them."""

    made: list[str] = []


class Journal:
    """Kept in `folder`, which is made, for this user alone.

    dest_path: as the user names it, if so; see OwnFolders.

    Raises: ConfigError if it cannot be.
    """

    def __init__(self, folder: Path, dest_path: Path | None = None) -> None:
        self.path = folder / FILE
        self._written = b""
        self._failing = ""
        """Why it cannot be written at present."""
        self._folders = OwnFolders(folder, dest_path)
        self._folders.make()

    def read(self) -> Entries:
        """What an earlier run has left; nothing if there is none, or if it cannot be understood, which is logged."""
        try:
            with Folder(self.path.parent, (), make=False) as folder:
                file = open(folder.open(FILE, os.O_RDONLY), "rb")  # noqa: SIM115
            with file:
                found = msgspec.json.decode(file.read(), type=_File)
        except FileNotFoundError:
            pass
        except (OSError, msgspec.MsgspecError) as error:
            logger.warning("the journal %s cannot be read, and a new one is begun: %s", self.path, error)
        else:
            self._folders.adopt(found.made)
            return Entries(found.clients, found.nodes)
        return Entries()

    def write(self, entries: Entries) -> bool:
        """If it has changed.  The file is always whole: it is written beside, and renamed.

        Returns: False if that has failed, which the log says once for each reason: it is to be tried again.
        """
        data = msgspec.json.encode(_File(entries.clients, entries.nodes, sorted(map(str, self._folders.made))))
        if data == self._written:
            return True
        try:
            self._folders.make()  # somebody may have removed it
            with Folder(self.path.parent, (), make=False) as folder:
                folder.write_whole(FILE, data)
        except (OSError, ConfigError) as error:
            why = getattr(error, "strerror", None) or str(error)
            if why != self._failing:
                self._failing = why
                logger.warning("the journal %s cannot be written, which is tried again: %s", self.path, why)
            return False
        self._written = data
        if self._failing:
            self._failing = ""
            logger.info("the journal %s is written again", self.path)
        return True

    def remove(self) -> None:
        """Nothing is left of it."""
        self.path.unlink(missing_ok=True)
        self._written = b""

    def end(self) -> None:
        """The scheduler has ended in order: if nobody was in its queue, its files go with it."""
        if self.read().clients:
            return
        self.remove()
        self._folders.remove()
