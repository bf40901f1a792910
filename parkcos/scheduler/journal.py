"""The shared scheduler's queue, in a file: killed and started again, it takes up where it was.

What a node does, it says itself; so only the queue is kept, and where nodes were, to look for them there.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec

from parkcos.errors import ConfigError
from parkcos.net.file_disk import own_folder
from parkcos.scheduler.state import ClientRecord

logger = logging.getLogger("parkcos")

FILE = "journal.json"


class Entries(msgspec.Struct):
    """clients: in their order, the first is the one that has its turn; nodes: as "address:port"."""

    clients: list[ClientRecord] = []
    nodes: list[str] = []


class _File(Entries):
    """made: the folders that schedulers have made, and not their user; one that ends in order removes them."""

    made: list[str] = []


class Journal:
    """Kept in `folder`, which is made, for this user alone.  Raises: ConfigError if it cannot be."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._written = b""
        self._folders = (folder, folder.parent)
        try:
            default = own_folder()  # of which others than schedulers and nodes know nothing
            self._made = {str(f) for f in self._folders if not f.exists() or default in (f, f.parent)}
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # not with its child: by the umask then
            folder.mkdir(mode=0o700, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(13, "it is not writable")
        except OSError as error:
            raise ConfigError(f"--dest_path: the folder {folder} cannot be used: {error.strerror}") from error

    def read(self) -> Entries:
        """What an earlier run has left; nothing if there is none, or if it cannot be understood, which is logged."""
        try:
            found = msgspec.json.decode(self.path.read_bytes(), type=_File)
        except FileNotFoundError:
            pass
        except (OSError, msgspec.MsgspecError) as error:
            logger.warning("the journal %s cannot be read, and is begun anew: %s", self.path, error)
        else:
            self._made |= {str(folder) for folder in self._folders} & set(found.made)
            return Entries(found.clients, found.nodes)
        return Entries()

    def write(self, entries: Entries) -> None:
        """If it has changed.  The file is always whole: it is written beside, and renamed."""
        data = msgspec.json.encode(_File(entries.clients, entries.nodes, sorted(self._made)))
        if data == self._written:
            return
        self._written = data
        beside = self.path.with_suffix(".new")
        try:
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(data)
            beside.replace(self.path)
        except OSError as error:
            logger.warning("the journal %s cannot be written: %s", self.path, error)

    def remove(self) -> None:
        """Nothing is left of it."""
        self.path.unlink(missing_ok=True)
        self._written = b""

    def end(self) -> None:
        """The scheduler has ended in order: if nobody was in its queue, its files go with it."""
        if self.read().clients:
            return
        self.remove()
        for folder in self._folders:
            if str(folder) not in self._made:
                break
            try:
                folder.rmdir()
            except OSError:  # it holds something else
                break
