"""The folder in which a node or scheduler keeps what is its own, and the one around it.

They may lie in a folder that all users share, where a stranger may have made others of those names first.  So those
that the program names itself must be this user's, no links, and closed to others; what the user names may be anything
but a folder in which everybody can change everything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from parkcos.errors import ConfigError
from parkcos.net.files.own import make_own, own_folder
from parkcos.net.files.rules import Refused


class OwnFolders:
    """A folder and the one around it: made, and removed at the end by whoever has made them.

    Args:
        folder: the inner one.
        dest_path: as the user names it, if so: this one and those around it are the user's own affair.
        mode: of folders that are made.
    """

    def __init__(self, folder: Path, dest_path: Path | None = None, mode: int = 0o700) -> None:
        self.folder = folder
        self._chain = (folder.parent, folder)
        self._given = () if dest_path is None else (dest_path, *dest_path.parents)
        self._mode = mode
        self.made: set[Path] = set()
        """Which of them programs have made, and not their user."""

    def make(self) -> None:
        """Make those that are not there.  Raises: ConfigError if they cannot be used."""
        default = own_folder(), own_folder(for_others=True)  # of which others than nodes and schedulers know nothing
        try:
            for folder in self._chain:
                if not folder.exists() or folder in default or folder.parent in default:
                    self.made.add(folder)
                if folder not in self._given:
                    make_own(folder, self._mode)
                elif not folder.exists():
                    folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # parents get their mode by the umask
                    folder.chmod(self._mode)
            if hasattr(os, "geteuid") and self.folder.stat().st_uid != os.geteuid():
                raise Refused("it belongs to another user")
            if not os.access(self.folder, os.W_OK | os.X_OK):
                raise Refused("it is not writable")
        except (OSError, Refused) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(f"--dest_path: the folder {self.folder} cannot be used: {reason}") from error

    def adopt(self, made: Iterable[str]) -> None:
        """These were made by a program that has not ended in order."""
        self.made |= {folder for folder in self._chain if str(folder) in set(made)}

    def remove(self) -> None:
        """Those that programs have made, and that are empty."""
        for folder in reversed(self._chain):
            if folder not in self.made:
                break
            try:
                folder.rmdir()
            except OSError:  # something else is in it, of another program or of the user
                break
