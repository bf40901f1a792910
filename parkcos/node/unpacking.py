"""The files of a client's components, written into its directory, whatever the client sends."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from parkcos.cluster.bundle import File, Folder, Link
from parkcos.net.files.rules import Refused, check_size


def unpack(entries: Sequence[File | Folder | Link], directory: Path, max_file_size: int | None) -> None:
    """Write what a client brings.

    Nothing comes to lie outside of the directory, and no link leads out of it: links are made when all the files
    have been written, so none is written through a link, and each is followed to its end when all are there.

    Raises: Refused, OSError, ValueError; what was written until then remains.
    """
    links = [entry for entry in entries if isinstance(entry, Link)]
    for entry in entries:
        if isinstance(entry, Folder):
            _place(entry.path, directory).mkdir(parents=True, exist_ok=True)
        elif isinstance(entry, File):
            try:
                check_size(len(entry.data), max_file_size)
            except Refused as refused:
                raise Refused(f"the file {entry.path} of the client's components is not taken: {refused}") from None
            path = _place(entry.path, directory)
            try:
                path.write_bytes(entry.data)
                path.chmod(entry.mode & 0o755 | 0o600)
            except OSError as error:  # an error of writing does not name the file
                raise OSError(error.errno, error.strerror, entry.path) from None
    for link in links:
        path = _place(link.path, directory)
        path.unlink(missing_ok=True)
        path.symlink_to(link.to)
        _check_end(link, directory)
    for link in links:
        _check_end(link, directory)  # again, since a later link may lie on the way of an earlier one


def _place(remote: str, directory: Path) -> Path:
    """Where an entry lies, in a folder that is there.  Raises: ValueError if that is not below the directory."""
    name = os.path.basename(remote)
    folder = Path(os.path.realpath(directory / os.path.dirname(remote)))
    if name in ("", ".", "..") or not folder.is_relative_to(os.path.realpath(directory)):
        raise ValueError(f"the file {remote} would lie outside of the client's directory")
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def _check_end(link: Link, directory: Path) -> None:
    """Raises: ValueError for a link that leads out; then it is there no more."""
    path = directory / link.path
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(directory)):
        path.unlink()
        raise ValueError(f"the link {link.path} would lead out of the client's directory, to {link.to}")
