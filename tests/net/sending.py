"""What the tests of files share: places that send, disks that get stuck, and a peer that says what it likes."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parkcos.net.files import messages as m
from parkcos.net.files import sending as sendings
from parkcos.net.files.disk import Target
from parkcos.net.location import Location
from tests.net.cluster_of_networks import WAIT_S, Changes, Place

MIB = 1 << 20


def made_file(path: Path, size: int, seed: int = 1) -> Path:
    block = hashlib.shake_256(bytes([seed])).digest(MIB)
    path.write_bytes((block * (size // MIB + 1))[:size])
    return path


def sparse_file(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(size // 2)
        file.write(b"in the middle")
    return path


def send(
    a: Place, b: Place | Location, file: Any, folder: Any = None, overwrite: bool = False, timeout: Any = None
) -> Any:
    """A task of `a` that sends a file to `b`."""
    location = b.location if isinstance(b, Place) else b

    def sending(task: Any = None) -> Any:
        return (yield a.network.files.send(location, file, folder, overwrite, timeout))

    return a.spawn(sending)


def result(task: Any) -> Any:
    return task.future().result(WAIT_S)


def deleted(a: Place, b: Place | Location, file: Any, folder: Any = None) -> int:
    location = b.location if isinstance(b, Place) else b

    def deleting(task: Any = None) -> Any:
        return (yield a.network.files.delete(location, file, folder, None))

    value: int = a.run(deleting)
    return value


def all_files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def idle(place: Place) -> bool:
    """Whether nothing of any file is open."""
    return place.io.run(_idle(place)).result(WAIT_S)


async def _idle(place: Place) -> bool:
    there = place.network.files
    of_transfers = there.outgoing, there.incoming, there.targets, there._active, there._queued
    return not (any(of_transfers) or there.workers._unfinished)


def wait_until(condition: Callable[[], bool], what: Any = "") -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        os.sched_yield()


def wait_until_idle(*places: Place) -> None:
    wait_until(lambda: all(idle(place) for place in places), [place.network.files.__dict__ for place in places])


class Counter:
    """Counts the bytes of files that a place sends, and how many were on their way at once."""

    def __init__(self, place: Place) -> None:
        self.bytes = 0
        self.in_flight_max = 0
        self.network_bytes_max = 0
        post = place.network.files.post
        self.news = Changes()

        def counting(peer: Any, message: m.FileMessage, data: Any = b"") -> bool:
            self.bytes += len(data)
            posted = post(peer, message, data)
            for outgoing in place.network.files.outgoing.values():
                if isinstance(outgoing, sendings.Outgoing) and outgoing.machine is not None:
                    machine = outgoing.machine
                    self.in_flight_max = max(self.in_flight_max, machine.read_to - machine.written_to)
            waiting = peer.session.unacked_bytes + peer._queue_bytes
            self.network_bytes_max = max(self.network_bytes_max, waiting)
            if type(message) is not m.Chunk:
                self.news.add(message)
            return posted

        place.network.files.post = counting  # type: ignore[method-assign]


class StuckDisk:
    """Writing blocks until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = threading.Event()
        self.go_on = threading.Event()
        write = Target.write

        def stuck(target: Target, data: Any) -> int:
            self.reached.set()
            assert self.go_on.wait(WAIT_S)
            return write(target, data)

        monkeypatch.setattr(Target, "write", stuck)

    def wait(self) -> None:
        assert self.reached.wait(WAIT_S)


class Hostile:
    """A place that sends messages about files as it likes, and collects the answers."""

    def __init__(self, a: Place, b: Place) -> None:
        a.connect(b)
        peer = a.peer_of(b)
        assert peer is not None
        self.place, self.peer = a, peer
        self.answers = Changes()
        a.network.services[m.SERVICE] = lambda _, service: self.answers.add(m.decode(service.body))

    def say(self, message: m.FileMessage, data: bytes = b"") -> None:
        self.place.io.run(self._say(message, data)).result(WAIT_S)

    async def _say(self, message: m.FileMessage, data: bytes) -> None:
        self.place.network.files.post(self.peer, message, data)

    def answer(self, number: int, kind: type = m.FileMessage) -> Any:
        def these(items: list[Any]) -> list[Any]:
            return [item for item in items if item.transfer == number and isinstance(item, kind)]

        return these(self.answers.wait(these))[0]
