"""The identity of a client that may return: a file with its key, and with the number of its last run.

One program at a time has it: the file is locked while that lives, however it ends.  A copy of the file on another
machine cannot be noticed here; there the higher run wins, see net/trust/claims.py.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import stat
import sys
from pathlib import Path

import msgspec

from parkcos.client.sent import Sent
from parkcos.errors import ConfigError
from parkcos.net.trust.claims import SEED_BYTES, Claim, ClaimKey

logger = logging.getLogger("parkcos")

RUN_BITS = 32
"""Numbers that a client gives to no other task, setup or process begin with its run: so many bits are left for them."""
_BYTES = 256
"""Of the file, always: it is written in its place, so that the lock stays on it."""


class _Content(msgspec.Struct):
    """seed: as hexadecimal digits; run: of the last program; pid: of that."""

    seed: str
    run: int
    pid: int = 0


class Identity:
    """An open file: this program has it.

    Args:
        path: made on first use, for this user alone (mode 0600).  Beside it, with ``.tasks`` at the end of its name,
            lies what the client has sent and not released.

    Raises: ConfigError if it cannot be used, another program has it, or others may read it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = _open(path)
        try:
            content = self._take()
            self.key = ClaimKey(bytes.fromhex(content.seed))
            self.run = content.run
            self.sent = Sent(path.with_name(f"{path.name}.tasks"))
        except BaseException:
            self._let_go()
            raise

    @property
    def first_number(self) -> int:
        """Below all that this run gives, and above all that earlier ones have given."""
        return self.run << RUN_BITS

    def claim(self, process: int) -> Claim:
        """For this run, in the process of this incarnation."""
        return self.key.claim(self.run, process)

    def close(self, forget: bool) -> None:
        """Another program may have it.  forget: nothing is left of what was sent."""
        self.sent.close(forget)
        self._let_go()

    def _take(self) -> _Content:
        """Lock the file, and begin the next run.  Raises: ConfigError."""
        if not _lock(self._fd):
            pid = _read(self._fd, self.path).pid
            raise ConfigError(
                f"the identity {self.path} is in use by another program of this machine (process {pid}): end that "
                "first, or give this client an identity of its own"
            )
        mode = os.fstat(self._fd).st_mode
        if not stat.S_ISREG(mode):
            raise ConfigError(
                f"the identity {self.path} is no file: give the path of one, or of one that is to be made"
            )
        if os.name == "posix" and mode & 0o077:
            raise ConfigError(
                f"others may read the identity {self.path}, and could take this client's place: chmod 600 {self.path}"
            )
        content = _read(self._fd, self.path) if os.fstat(self._fd).st_size else None
        content = content or _Content(secrets.token_hex(SEED_BYTES), 0)
        content.run, content.pid = content.run + 1, os.getpid()
        data = msgspec.json.encode(content)
        try:
            os.lseek(self._fd, 0, os.SEEK_SET)
            os.write(self._fd, data.ljust(_BYTES - 1) + b"\n")
            os.fsync(self._fd)
        except OSError as error:
            raise ConfigError(f"the identity {self.path} cannot be written: {error.strerror}") from None
        return content

    def _let_go(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


def place_of(path: Path) -> tuple[int, int] | None:
    """Which file that is, by whatever path; None if there is none.

    A program asks before it opens it again: its first lock would end with the second descriptor.
    """
    with contextlib.suppress(OSError):
        status = os.stat(path)
        return status.st_dev, status.st_ino
    return None


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        return os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o600)
    except OSError as error:
        raise ConfigError(f"the identity {path} cannot be opened: {error.strerror}") from None


def _read(fd: int, path: Path) -> _Content:
    os.lseek(fd, 0, os.SEEK_SET)
    data = os.read(fd, _BYTES)
    try:
        content = msgspec.json.decode(data, type=_Content)
        if len(bytes.fromhex(content.seed)) != SEED_BYTES or not 0 <= content.run < 2**30:
            raise ValueError("its key is no key")
    except ValueError as error:  # msgspec's own are ValueErrors
        raise ConfigError(
            f"the file {path} is no identity of a client ({error}): give the path of one, or of one that is to be made"
        ) from None
    return content


def _lock(fd: int) -> bool:
    """Until the descriptor is closed, or this process has ended; children do not have it.  Returns: whether it is."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(fd, _BYTES, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
