"""What tasks print at the servers, shown where this program prints, if its client asked for that."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from typing import Any, TextIO

from parkcos.cluster import messages as m
from parkcos.net.payload import Buffer

WAITING_BYTES_MAX = 1024 * 1024
"""Lines that come while so much waits for the kernel thread, which computes, are left out."""


class Forwarded:
    """The output of one client's tasks.

    Args:
        post: has a function called in the kernel thread, where the program's own tasks print: what came before the
            client is closed is shown before `close` returns.
    """

    def __init__(self, post: Callable[..., Any]) -> None:
        self._post = post
        self._lock = threading.Lock()
        self._waiting_bytes = 0
        self._left_out = 0

    def received(self, node: str, message: m.Output, payload: Buffer) -> None:
        """Show this soon.  Any thread.  node: its name; "": of no interest, lines are shown as they are."""
        data = bytes(payload)
        with self._lock:
            if self._waiting_bytes > WAITING_BYTES_MAX:
                self._left_out += message.left_out + data.count(b"\n")
                return
            self._waiting_bytes += len(data)
        self._post(self._show, node, message, data)

    def _show(self, node: str, message: m.Output, data: bytes) -> None:
        with self._lock:
            self._waiting_bytes -= len(data)
            left_out, self._left_out = self._left_out, 0
        if message.left_out:
            _print(
                sys.stderr,
                f"[{node or 'tasks'}] {_so_many(message.left_out)}: they came faster than this program took them\n",
            )
        where = f"{node}/{message.server}" if message.server else node
        prefix = f"[{where}] " if node else ""
        lines = data.decode(errors="replace").split("\n")[:-1]
        _print(sys.stderr if message.error else sys.stdout, "".join(f"{prefix}{line}\n" for line in lines))
        if left_out:
            _print(sys.stderr, f"[tasks] {_so_many(left_out)}: they came while this program was busy\n")


def _so_many(lines: int) -> str:
    return f"{lines} line{'s' if lines != 1 else ''} left out"


def _print(stream: TextIO | None, text: str) -> None:
    if stream is None or not text:
        return
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
        try:
            stream.write(text)
        except UnicodeEncodeError:
            stream.write(text.encode("ascii", "backslashreplace").decode())
        stream.flush()
