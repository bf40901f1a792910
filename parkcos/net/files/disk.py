"""What the transfer of files does on the disk.  All of this blocks: it is called in worker threads only.

Below dest_path every folder is opened from the one above it, and no link is followed, so a link that is put there
meanwhile cannot lead outside.  Where the system cannot do that (Windows), the paths are checked before their use.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from parkcos.net.files import rules
from parkcos.net.files.rules import Existing, Refused

if sys.platform != "win32":
    import fcntl

HASH_BYTES = 1024 * 1024
RESERVE_BYTES = 64 * 1024 * 1024
"""Bytes of a disk that stay free when files come, at most: for what programs note of themselves, as their queues."""
_BY_FD = os.open in os.supports_dir_fd and os.listdir in os.supports_fd
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_PLAIN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_SEEKING = threading.Lock()
"""Where there is no pread: descriptors of one open file share their place in it."""


def in_words(error: BaseException) -> str:
    """Why something failed, without the local path."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def leaves_rest(error: BaseException) -> bool:
    """Whether the partial file shall stay after this failure: not if the disk is full of it."""
    if isinstance(error, Refused):
        return error.keep
    return not (isinstance(error, OSError) and error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", -1), errno.EFBIG))


class Stop:
    """Set by another thread to end a long hashing."""

    stopped = False

    def check(self) -> None:
        """Raises: Refused once it is set."""
        if self.stopped:
            raise Refused("given up")


def hash_file(fd: int, length: int, stop: Stop) -> hashlib._Hash:
    """The hash of the first `length` bytes, to go on with.  Raises: Refused if the file is shorter; OSError."""
    digest = hashlib.sha256()
    at = 0
    while at < length:
        stop.check()
        data = _read_at(fd, min(HASH_BYTES, length - at), at)
        if not data:
            raise Refused("it became shorter while it was read", keep=False)
        digest.update(data)
        at += len(data)
    return digest


def _read_at(fd: int, length: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(fd, length, offset)
    with _SEEKING:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, length)


class Source:
    """The file at its sender, a path or an open descriptor.  Raises: OSError, Refused if it is no regular file."""

    def __init__(self, file: Path | int) -> None:
        self.stop = Stop()
        if isinstance(file, int):
            self._fd = os.dup(file)
        else:  # without O_NONBLOCK a named pipe would wait for its writer
            self._fd = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _PLAIN)
        try:
            self._status = os.fstat(self._fd)
            if not stat.S_ISREG(self._status.st_mode):
                raise Refused("it is no regular file")
        except BaseException:
            os.close(self._fd)
            raise
        self.size, self.mtime_ns = self._status.st_size, self._status.st_mtime_ns
        self.mode = self._status.st_mode & 0o7777
        self._digest = hashlib.sha256()
        self._at = 0

    def hash(self, length: int) -> bytes:
        """The digest of the first `length` bytes."""
        self._digest = hash_file(self._fd, length, self.stop)
        self._at = length
        self._check_unchanged()
        return self._digest.digest()

    def read(self, offset: int, length: int) -> bytes:
        """The next bytes; those from 0, or from where `hash` stopped, are the first.  Raises: Refused, OSError."""
        self._begin(offset)
        parts: list[bytes] = []
        while length:
            data = _read_at(self._fd, length, self._at)
            if not data:
                raise Refused("it changed while it was sent", keep=False)
            self._digest.update(data)
            self._at += len(data)
            length -= len(data)
            parts.append(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def finish(self, offset: int) -> bytes:
        """The digest of the whole.  Raises: Refused if the file was changed meanwhile."""
        self._begin(offset)
        self._check_unchanged()
        return self._digest.digest()

    def _begin(self, offset: int) -> None:
        if offset == 0 and self._at:
            self._digest = hashlib.sha256()
            self._at = 0
        assert offset == self._at

    def _check_unchanged(self) -> None:
        now = os.fstat(self._fd)
        if (now.st_size, now.st_mtime_ns) != (self.size, self.mtime_ns):
            raise Refused("it changed while it was sent", keep=False)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Folder:
    """An open folder below dest_path.

    Args:
        base: dest_path; it may be a link, for it is the user's own choice.
        folders: below it, none of them a link.
        make: make those that are missing.
    Raises: OSError; Refused, if one of them is no folder.
    """

    def __init__(self, base: Path, folders: Sequence[str], make: bool) -> None:
        self.fd = -1
        if make:
            base.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = str(base)
        if _BY_FD:
            self.fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | _PLAIN)
        try:
            for folder in folders:
                self._enter(folder, make)
            self.id = self._id()
        except BaseException:
            self.close()
            raise

    def _enter(self, folder: str, make: bool) -> None:
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(self._at(folder), **self._in())
        status = os.lstat(self._at(folder), **self._in())
        if not stat.S_ISDIR(status.st_mode):
            raise Refused(f"{folder!r} is no folder there, but a link or a file")
        path = os.path.join(self.path, folder)
        if self.fd >= 0:
            try:
                below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _NO_LINK | _PLAIN, dir_fd=self.fd)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR):  # it was put there since we looked
                    raise Refused(f"{folder!r} is no folder there, but a link or a file") from None
                raise
            os.close(self.fd)
            self.fd = below
        self.path = path

    def _id(self) -> tuple[int, int]:
        status = os.fstat(self.fd) if self.fd >= 0 else os.stat(self.path)
        return status.st_dev, status.st_ino

    def _at(self, name: str) -> str:
        return name if self.fd >= 0 else os.path.join(self.path, name)

    def _in(self) -> dict[str, Any]:
        return {"dir_fd": self.fd} if self.fd >= 0 else {}

    def status(self, name: str) -> os.stat_result | None:
        """Of a file here, or of the link itself; None if there is none."""
        try:
            return os.lstat(self._at(name), **self._in())
        except FileNotFoundError:
            return None

    def open(self, name: str, flags: int, mode: int = 0o600) -> int:
        """Open a regular file here, never through a link."""
        return os.open(self._at(name), flags | _NO_LINK | getattr(os, "O_NONBLOCK", 0) | _PLAIN, mode, **self._in())

    def remove(self, name: str) -> None:
        """Remove a file."""
        os.unlink(self._at(name), **self._in())

    def rename(self, old: str, new: str, lasting: bool) -> None:
        """Give a file another name, in place of what has that name.  lasting: have the folder remember it."""
        where = {"src_dir_fd": self.fd, "dst_dir_fd": self.fd} if self.fd >= 0 else {}
        os.replace(self._at(old), self._at(new), **where)
        if lasting and self.fd >= 0:
            with contextlib.suppress(OSError):  # not all file systems can
                os.fsync(self.fd)

    def write_whole(self, name: str, data: bytes, *, lasting: bool = False) -> None:
        """Make a file, for this user alone, in place of what has its name; nobody ever sees half of it.

        It grows under a name that nobody can know, so that nothing is there which somebody has put there.

        lasting: it is on the disk when this returns, as far as the system can tell.
        """
        draft = f".{name}.{secrets.token_hex(8)}"
        fd = self.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(fd, "wb") as file:
                file.write(data)
                if lasting:
                    file.flush()
                    os.fsync(fd)
            self.rename(draft, name, lasting)
        except BaseException:
            with contextlib.suppress(OSError):
                self.remove(draft)
            raise

    def files(self) -> Iterator[tuple[str, float]]:
        """Name and time of last change of the partial files here."""
        for name in os.listdir(self.fd if self.fd >= 0 else self.path):
            if rules.is_partial(name):
                status = self.status(name)
                if status is not None and stat.S_ISREG(status.st_mode):
                    yield name, status.st_mtime

    def remove_stale(self) -> None:
        """Remove the partial files that nobody will resume."""
        for name in rules.stale(self.files(), time.time()):
            with contextlib.suppress(OSError):
                fd = self.open(name, os.O_RDONLY)
                try:
                    if lock(fd):
                        self.remove(name)
                finally:
                    os.close(fd)

    def free_bytes(self, reserve: int | None) -> int | None:
        """As that of the module; None if the system does not say."""
        return free_bytes(self.fd, reserve) if self.fd >= 0 else None

    def close(self) -> None:
        """Close it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def free_bytes(place: int | Path, reserve: int | None) -> int | None:
    """How much this user may still write on a disk; None if the system does not say.

    reserve: in bytes, stays free beside that; None: a hundredth of the disk, and at most RESERVE_BYTES.
    """
    if not hasattr(os, "statvfs"):
        return None
    status = os.statvfs(place)
    if not status.f_blocks:
        return None
    kept = min(RESERVE_BYTES, status.f_blocks * status.f_frsize // 100) if reserve is None else reserve
    return max(0, status.f_bavail * status.f_frsize - kept)


def lock(fd: int) -> bool:
    """Lock a partial file against other processes with the same dest_path.  Returns: whether nobody else has it."""
    if sys.platform != "win32":
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)  # a file system without locks
    return True


class Target:
    """The file at its receiver: its folder, what has its name, and the partial file in which it grows.

    Args:
        lasting: its folders are made if need be, and it is on the disk before it has its name.
        reserve: bytes that stay free on the disk; see `free_bytes`.
    Raises: OSError, Refused.
    """

    def __init__(
        self,
        base: Path,
        folders: Sequence[str],
        name: str,
        partial: str,
        *,
        lasting: bool = True,
        reserve: int | None = None,
    ) -> None:
        self.stop = Stop()
        self._reserve = reserve
        self.name, self.partial = name, partial
        self._lasting = lasting
        self._fd = -1
        self._at = 0
        self._digest = hashlib.sha256()
        self._renamed = False
        self.folder = Folder(base, folders, make=lasting)
        try:
            self.existing = self._existing()
            self.partial_bytes = self._find_partial()
        except BaseException:
            self.close(keep=True)
            raise

    def _existing(self) -> Existing | None:
        status = self.folder.status(self.name)
        return None if status is None else Existing(status.st_size, stat.S_ISREG(status.st_mode))

    def _find_partial(self) -> int:
        status = self.folder.status(self.partial)
        if status is None:
            return 0
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:  # not made here
            raise Refused(f"something else than a partial file has the name {self.partial} there")
        try:
            self._take(self.folder.open(self.partial, os.O_RDWR))
        except PermissionError:  # it had got its mode, and then its receiver was killed
            self.folder.remove(self.partial)
            return 0
        return os.fstat(self._fd).st_size

    def _take(self, fd: int) -> None:
        """The partial file is this one, if nobody else writes to it."""
        if not lock(fd):
            os.close(fd)
            raise Refused("the same file is just being received there")
        mine, named = os.fstat(fd), self.folder.status(self.partial)
        if named is None or (named.st_dev, named.st_ino) != (mine.st_dev, mine.st_ino):
            os.close(fd)
            raise Refused("the same file was just being received there: try again")
        self._fd = fd

    def hash_existing(self) -> tuple[int, bytes]:
        """Length and digest of the file that has the name."""
        fd = self.folder.open(self.name, os.O_RDONLY)
        try:
            size = os.fstat(fd).st_size
            return size, hash_file(fd, size, self.stop).digest()
        finally:
            os.close(fd)

    def hash_partial(self, length: int) -> bytes:
        """The digest of what is there of the file."""
        self._digest = hash_file(self._fd, length, self.stop)
        self._at = length
        return self._digest.digest()

    def open(self, offset: int, size: int) -> None:
        """Get ready to write from `offset` on: 0, or where `hash_partial` stopped."""
        if self._fd < 0:
            self._take(self.folder.open(self.partial, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        if not offset:
            self._digest, self._at = hashlib.sha256(), 0
        assert offset == self._at
        os.ftruncate(self._fd, offset)
        free = self.folder.free_bytes(self._reserve)
        if free is not None and size - offset > free:
            raise Refused(
                f"the disk is too full: {size - offset} bytes are needed and {free} are free, beside what is reserved",
                keep=False,
            )
        os.lseek(self._fd, offset, os.SEEK_SET)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write on; returns up to where."""
        view = memoryview(data)
        while view:
            n = os.write(self._fd, view)
            self._digest.update(view[:n])
            self._at += n
            view = view[n:]
        return self._at

    def complete(self, digest: bytes, mode: int, overwrite: bool) -> None:
        """Compare, flush, and give it its mode and its name."""
        if self._digest.digest() != digest:
            raise Refused("what arrived is not what was sent (the digests differ)", keep=False)
        if self._lasting:
            os.fsync(self._fd)
        existing = self._existing()
        if existing is not None and not existing.regular:
            raise Refused("something that is no regular file (a link, a folder) has got that name there")
        if existing is not None and not overwrite:
            raise Refused("another file has got that name there meanwhile, and overwrite was not asked for")
        if hasattr(os, "fchmod"):
            os.fchmod(self._fd, rules.kept_mode(mode))
        if sys.platform == "win32":
            os.close(self._fd)
            self._fd = -1
        self.folder.rename(self.partial, self.name, self._lasting)
        self._renamed = True

    def close(self, keep: bool) -> None:
        """Close all.  keep: leave the partial file, unless it is empty."""
        try:
            if self._fd >= 0 and not self._renamed and not (keep and os.fstat(self._fd).st_size):
                with contextlib.suppress(OSError):
                    self.folder.remove(self.partial)
        finally:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
            self.folder.close()


def delete(base: Path, folders: Sequence[str], name: str) -> None:
    """Remove a regular file.  Raises: OSError, Refused."""
    folder = Folder(base, folders, make=False)
    try:
        status = folder.status(name)
        if status is None:
            raise Refused("there is no such file")
        if not stat.S_ISREG(status.st_mode):
            raise Refused("it is no regular file (a link, a folder)")
        folder.remove(name)
    finally:
        folder.close()
