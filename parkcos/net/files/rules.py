"""Where a file that another process sends may lie, and whether it may be written.  Pure: no disk, no clock.

Every text here may come from a hostile process.  Links are not known here: file_disk.py opens folder by folder and
follows none.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from parkcos.errors import ConfigError, ParkcosError

PARTIAL_PREFIX = ".parkcos-part-"
"""Of the temporary names in the target's folder.  No file may be sent to, or deleted by, such a name."""
NAME_BYTES_MAX = 255
"""What the file systems in use take for one name."""
FOLDERS_MAX = 64
TEXT_MAX = 4096
"""Characters of a folder's path, a name or a reason on the wire."""
STALE_S = 24 * 3600.0
"""A partial file that nobody has written to for so long will not be resumed."""
MODE_BITS = 0o777
"""What is kept of a file's mode: no set-user-id, set-group-id or sticky bit."""


class Refused(ParkcosError):
    """A file may not be sent, written or deleted; the text says why.  keep: the partial file may serve again."""

    def __init__(self, reason: str, keep: bool = True) -> None:
        super().__init__(reason)
        self.keep = keep


@dataclass(frozen=True)
class Existing:
    """What stands under the target's name.  size: bytes."""

    size: int
    regular: bool


def check_name(name: str, windows: bool = os.name == "nt") -> str:
    """`name` itself, if a file of that name may be written or deleted.  Raises: Refused."""
    _check_component(name, "file name", windows)
    if is_partial(name):
        raise Refused(f"names that begin with {PARTIAL_PREFIX} are kept for files that are being sent")
    return name


def folders_of(folder: str, windows: bool = os.name == "nt") -> tuple[str, ...]:
    """The components of a relative folder, "" for none.  Raises: Refused if it is absolute or could lead outside."""
    if not folder:
        return ()
    if folder.startswith("/"):
        raise Refused(f"the folder {folder!r} is absolute: give one below the receiver's dest_path")
    components = tuple(folder.split("/"))
    if len(components) > FOLDERS_MAX:
        raise Refused(f"the folder has more than {FOLDERS_MAX} levels")
    for component in components:
        _check_component(component, "folder", windows)
        if is_partial(component):
            raise Refused(f"names that begin with {PARTIAL_PREFIX} are kept for files that are being sent")
    return components


def _check_component(text: str, what: str, windows: bool) -> None:
    if text in ("", ".", ".."):
        raise Refused(f"{text!r} is no {what}: folders are given below the receiver's dest_path, without '.' and '..'")
    if "/" in text or "\0" in text:
        raise Refused(f"a {what} cannot contain a slash or a NUL: {text!r}")
    if windows and (re.search(r'[\\:<>"|?*\x01-\x1f]', text) or text.endswith((" ", "."))):
        raise Refused(f"the receiver's system has no {what} like {text!r}")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise Refused(f"the {what} {text!r} is not UTF-8") from None
    if size > NAME_BYTES_MAX:
        raise Refused(f"the {what} {text[:40]!r}... is too long: {size} bytes, {NAME_BYTES_MAX} are possible")


def check_size(size: int, max_file_size: int | None) -> None:
    """Whether a file of `size` bytes is taken; None or 0 is no bound.  Raises: Refused."""
    if max_file_size and size > max_file_size:
        raise Refused(f"it has {size} bytes, and max_file_size there is {max_file_size}")


def must_compare(existing: Existing | None, size: int, overwrite: bool) -> bool:
    """Whether the file that is there must be compared with the one that is offered before anything is decided.

    Returns: False if it is to be written at once.  Raises: Refused.
    """
    if existing is None:
        return False
    if not existing.regular:
        raise Refused("something that is no regular file (a link, a folder) has that name there")
    if existing.size == size:
        return True
    if not overwrite:
        raise Refused(f"another file, of {existing.size} bytes, is there, and overwrite was not asked for")
    return False


def is_partial(name: str) -> bool:
    """Whether this is the name of a file that is being sent.  Some file systems do not tell capitals apart."""
    return name.lower().startswith(PARTIAL_PREFIX)


def partial_name(name: str, size: int, mtime_ns: int) -> str:
    """The temporary name under which a file grows: the same file finds its beginning again, a changed one does not."""
    key = hashlib.sha256(f"{size} {mtime_ns} {name}".encode()).hexdigest()
    return PARTIAL_PREFIX + key[:32]


def stale(files: Iterable[tuple[str, float]], now: float) -> list[str]:
    """Which of these (name, time of last change) are partial files that nobody will resume."""
    return [name for name, changed in files if is_partial(name) and now - changed > STALE_S]


def printable(text: str) -> str:
    """A text of another process as it may stand in the log: in one line."""
    return "".join(c if c.isprintable() else "?" for c in text)


def kept_mode(mode: int) -> int:
    """The mode bits that a sent file has at its receiver."""
    return mode & MODE_BITS


OTHERS_WRITE = 0o022
"""The bits of a mode by which others than its owner can change a folder."""


def check_own_folder(path: str, status: os.stat_result, user: int) -> None:
    """Whether a folder below the shared temp folder is this user's own, and nobody else can write there.

    Raises: Refused.
    """
    if not stat.S_ISDIR(status.st_mode):
        raise Refused(f"{path} is no folder (perhaps a link): remove it, or give dest_path")
    if status.st_uid != user:
        raise Refused(f"{path} belongs to another user: give dest_path")
    if status.st_mode & OTHERS_WRITE:
        raise Refused(f"others can write into {path}: take that right away, or give dest_path")


def check_names_last(path: str, status: os.stat_result, user: int) -> None:
    """Whether nobody else can give what this user makes in a folder to another name.  Raises: Refused."""
    if status.st_uid not in (0, user):
        raise Refused(f"{path} belongs to another user, who could change what is in it: give dest_path, of your own")
    if status.st_mode & OTHERS_WRITE and not status.st_mode & stat.S_ISVTX:
        raise Refused(
            f"others can change all that is in {path}: set its sticky bit (chmod +t), or give dest_path, of your own"
        )


_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_size(text: str) -> int:
    """Bytes from "10M", "512k", "1048576"; K, M, G and T are powers of 1024.  Raises: ConfigError."""
    match = re.fullmatch(r"\s*(\d+)\s*([kmgt]?)\s*", text, re.IGNORECASE | re.ASCII)
    if not match:
        raise ConfigError(f"{text!r} is no size: write bytes, as 1048576, or with K, M, G or T, as 10M")
    return int(match[1]) * _UNITS[match[2].lower()]
