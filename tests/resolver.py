"""A resolver that gives no answer until it is told to, in the place of this machine's."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

WAIT_S = 20.0
HOST = "host-of-the-tests"
NOBODY = "nobody-of-the-tests"


class Resolver:
    """While it is dead, whoever asks for a name waits.

    HOST is 127.0.0.1 and NOBODY is unknown; other names are looked up as ever.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = threading.Event()
        self.answers = threading.Event()
        self._look_up = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._getaddrinfo)

    def _getaddrinfo(self, host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host not in (HOST, NOBODY):
            return self._look_up(host, port, *args, **options)
        self.asked.set()
        assert self.answers.wait(WAIT_S), "the task that tells the resolver to answer has not run"
        if host == NOBODY:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self._look_up("127.0.0.1", port, *args, **options)
