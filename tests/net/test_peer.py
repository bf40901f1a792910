"""parkcos/net/session/peer.py: what is posted, taken back and dropped while other threads do the same."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from parkcos.net import wire
from parkcos.net.location import Location
from parkcos.net.session.peer import GONE, UP, Peer
from parkcos.net.session.session import PROTOCOL, Hello, Session

WAIT_S = 20.0
MEANWHILE_S = 0.2
"""Another thread has so long to come in between; it comes later if it has to wait."""


def peer(marked: Callable[[Peer, bool], None] = lambda *_: None) -> Peer:
    own = Hello(PROTOCOL, "0.1.0", "3.11", 1, "own", "127.0.0.1", 1, ("peer",))
    made = Peer(Location("127.0.0.1", 2), 2, Session(own, 3), marked)
    made.state = UP
    return made


class Interrupted(deque[Any]):
    """A queue in whose `at` another thread does something."""

    def __init__(self, at: str, meanwhile: Callable[[], object]) -> None:
        super().__init__()
        self.at = at
        self.thread = threading.Thread(target=meanwhile)

    def _interrupt(self, at: str) -> None:
        if at == self.at:
            self.at = ""
            self.thread.start()
            self.thread.join(MEANWHILE_S)

    def __getitem__(self, index: Any) -> Any:
        item = super().__getitem__(index)
        self._interrupt("look")
        return item

    def append(self, item: Any) -> None:
        self._interrupt("append")
        super().append(item)


def test_what_is_taken_back_is_what_was_meant() -> None:
    there = peer()
    mine, others = wire.End(1), wire.End(2)
    there.queue = queue = Interrupted("look", lambda: there.post(others))
    there.post(mine)
    assert there.retract(mine)
    queue.thread.join(WAIT_S)
    assert list(queue) == [others]
    assert not there.retract(mine)


def test_what_is_posted_to_a_process_that_goes_is_refused_or_counted_as_lost() -> None:
    lost: list[int] = []

    def go() -> None:
        there.state = GONE
        lost.append(there.drop_queue())

    there = peer()
    there.queue = queue = Interrupted("append", go)
    assert there.post(wire.End(1))
    queue.thread.join(WAIT_S)
    assert lost == [1] and not there.queue
    assert not there.post(wire.End(2))


@pytest.mark.parametrize("payload_bytes", [0, 40_000])
def test_threads_that_post_take_back_and_flush_lose_and_double_nothing(
    payload_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[wire.Message] = []
    there = peer()
    monkeypatch.setattr(there, "_queue_batch", sent.extend)
    monkeypatch.setattr(there, "_encode", lambda batch: b"x")
    monkeypatch.setattr(there.session, "queue_big", lambda _: None)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    kept: list[list[int]] = [[] for _ in range(4)]
    done = threading.Event()

    def post(number: int) -> None:
        for i in range(300):
            message = wire.ToTask(wire.EMPTY, 0, False, number * 1000 + i)
            if payload_bytes and i % 5 == 0:
                there.post_payload(message, [bytes(payload_bytes)])
                kept[number].append(message.dst)
                continue
            there.post(message)
            if i % 3 or not there.retract(message):
                kept[number].append(message.dst)

    def flush() -> None:
        while not done.is_set():
            there.flush()

    threads = [threading.Thread(target=post, args=(number,)) for number in range(4)]
    flushing = threading.Thread(target=flush)
    try:
        for thread in (flushing, *threads):
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        done.set()
        flushing.join(WAIT_S)
        there.flush()
    finally:
        sys.setswitchinterval(interval)
    numbers = [message.dst for message in sent]  # type: ignore[attr-defined]
    for number in range(4):
        assert [n for n in numbers if n // 1000 == number] == kept[number]
    assert len(numbers) == sum(map(len, kept))
    assert there._queue_bytes == 0
