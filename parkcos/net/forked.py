"""The sockets of a process that was forked, in the child: it neither uses nor keeps them.

A socket lives until the last process has closed it.  A child that kept a copy would keep a connection open that its
parent has closed, or a port taken; one that closed it as usual would say goodbye in the parent's name.  So in the child
each descriptor is made one of ``/dev/null``, where nothing that is still done with it does any harm.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from socket import socket
from typing import TypeVar
from weakref import WeakSet

S = TypeVar("S", bound=socket)

_own: WeakSet[socket] = WeakSet()


def own(sock: S) -> S:
    """`sock` is this process's alone; returns it."""
    _own.add(sock)
    return sock


def let_go(others: Iterable[int]) -> None:
    """In the child: of all sockets, and of the descriptors `others`."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in [*(sock.fileno() for sock in list(_own)), *others]:
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.dup2(null, fd, inheritable=False)
    os.close(null)
