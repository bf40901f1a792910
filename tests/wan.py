"""A network whose switch is a thread of the test: delay, jitter (and with it reordering), loss and doubles per link.

The kernel's own means for that (netem) are not on every machine.  Every host has a TAP device, whose other end is a
file of this process; a frame that is to be late waits in a heap.
"""

from __future__ import annotations

import fcntl
import heapq
import itertools
import os
import random
import select
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from tests.lab import Box, Host

TUNSETIFF = 0x400454CA
IFF_TAP_NO_PI = 0x1002
FRAME_BYTES = 65536


@dataclass
class Path:
    """What happens to frames on the way from one host to another."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    """The delay varies by so much either way, so that frames overtake each other."""
    loss: float = 0.0
    """This share is lost."""
    twice: float = 0.0
    """This share comes twice."""


class Wan:
    """Hosts that are far from each other; ``paths[source, target]`` says how far, and may be changed at any time."""

    def __init__(self, names: Sequence[str], *, seed: int = 0) -> None:
        self.paths: dict[tuple[str, str], Path] = {}
        self.lost = 0
        self._names = list(names)
        self._chance = random.Random(seed)
        self.hosts: dict[str, Host] = {}
        self._files: dict[str, int] = {}
        self._late: list[tuple[float, int, str, bytes]] = []
        self._counter = itertools.count()

    def set_all(self, path: Path) -> None:
        """The same for all paths."""
        self.paths = {(a, b): path for a in self._names for b in self._names if a != b}

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def __enter__(self) -> Self:
        self._wake_read, self._wake_write = os.pipe()
        try:
            nobody: Box = None  # type: ignore[assignment]  # these hosts have no switch to pull plugs from
            for name in self._names:
                self.hosts[name] = Host(name, nobody)
            for number, (name, host) in enumerate(self.hosts.items(), 1):
                host.wait_ready()
                self._files[name] = host.call(_open_tap)
                address = f"10.78.0.{number}"
                host.interfaces["wan"] = ("eth0", address)
                setup = [f"link set dev eth0 address {_mac(number)}", f"addr add {address}/24 brd + dev eth0"]
                host.net("ip", "-batch", "-", stdin="\n".join([*setup, "link set dev eth0 up", ""]))
        except BaseException:
            self._close()
            raise
        self._thread = threading.Thread(target=self._run, name="switch")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._wake_write, b"x")
        self._thread.join()
        self._close()

    def _close(self) -> None:
        for host in self.hosts.values():
            host.close()
        for fd in (*self._files.values(), self._wake_read, self._wake_write):
            os.close(fd)

    def _run(self) -> None:
        names = {fd: name for name, fd in self._files.items()}
        by_mac = {bytes.fromhex(_mac(n).replace(":", "")): name for n, name in enumerate(self._names, 1)}
        with select.epoll() as epoll:
            for fd in (*names, self._wake_read):
                epoll.register(fd, select.EPOLLIN)
            while True:
                wait_s = max(0.0, self._late[0][0] - time.monotonic()) if self._late else -1
                for fd, _ in epoll.poll(wait_s):
                    if fd == self._wake_read:
                        return
                    self._take(fd, names[fd], by_mac)
                while self._late and self._late[0][0] <= time.monotonic():
                    _, _, target, frame = heapq.heappop(self._late)
                    self._deliver(target, frame)

    def _take(self, fd: int, source: str, by_mac: dict[bytes, str]) -> None:
        while True:
            try:
                frame = os.read(fd, FRAME_BYTES)
            except OSError:
                return
            one = by_mac.get(frame[:6])
            for target in [one] if one else [name for name in self._names if name != source]:
                path = self.paths.get((source, target)) or Path()
                if self._chance.random() < path.loss:
                    self.lost += 1
                    continue
                for _ in range(2 if self._chance.random() < path.twice else 1):
                    late_s = path.delay_s + self._chance.uniform(-1, 1) * path.jitter_s
                    if late_s <= 0:
                        self._deliver(target, frame)
                    else:
                        heapq.heappush(self._late, (time.monotonic() + late_s, next(self._counter), target, frame))

    def _deliver(self, target: str, frame: bytes) -> None:
        try:
            os.write(self._files[target], frame)
        except OSError:  # its queue is full, or its device is down
            self.lost += 1


def _open_tap() -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"eth0", IFF_TAP_NO_PI))
    return fd


def _mac(number: int) -> str:
    return f"02:78:00:00:00:{number:02x}"
