"""AsyncSocket as pycos has it."""

from __future__ import annotations

import os
import socket
from typing import Any, ClassVar

import parkcos


def _mutable(data: bytes) -> bytes | bytearray:
    """What pycos gives for what was received: a bytearray, but b"" at the end."""
    return bytearray(data) if data else data


class AsyncSocket(parkcos.AsyncSocket):
    """A socket for tasks; see :class:`parkcos.AsyncSocket`.

    ssl_version: taken and not used: connections are TLS 1.2 or newer.
    """

    _default_timeout: ClassVar[float | None] = None
    _ssl_version: ClassVar[Any] = None

    def __init__(
        self,
        sock: socket.socket,
        blocking: bool = False,
        keyfile: str | os.PathLike[str] | None = None,
        certfile: str | os.PathLike[str] | None = None,
        ssl_version: Any = None,
    ) -> None:
        super().__init__(sock, blocking, keyfile, certfile)
        if self._default_timeout is not None:
            self.settimeout(self._default_timeout)

    def _take_all(self, bufsize: int) -> Any:
        return _mutable(super()._take_all(bufsize))

    def _take_message(self) -> Any:
        return _mutable(super()._take_message())

    def settimeout(self, timeout: float | None) -> None:
        """Seconds; 0 or None: no limit."""
        super().settimeout(timeout or None)

    def gettimeout(self) -> float:
        """The limit in seconds, 0 without one."""
        return super().gettimeout() or 0

    @classmethod
    def setdefaulttimeout(cls, timeout: float | None) -> None:
        """The limit of sockets that are made from now on."""
        cls._default_timeout = timeout or None

    @classmethod
    def getdefaulttimeout(cls) -> float:
        """That limit, 0 without one."""
        return cls._default_timeout or 0

    @classmethod
    def set_ssl_version(cls, ssl_version: Any) -> None:
        """Noted, and not used."""
        cls._ssl_version = ssl_version

    @classmethod
    def get_ssl_version(cls) -> Any:
        """What `set_ssl_version` was given."""
        return cls._ssl_version
