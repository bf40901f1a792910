"""Who reads: the idle kernel thread, else the I/O thread; in order, and nothing lost when they take turns."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from parkcos.kernel import Kernel
from parkcos.net.iothread import IOThread
from parkcos.net.network import Network
from parkcos.net.options import NetworkOptions
from parkcos.net.session import lookout as lookouts
from parkcos.net.session.lookout import IO, KERNEL, Lookout
from parkcos.net.session.peer import UP

LIMIT_S = 20.0

needs_epoll = pytest.mark.skipif(not lookouts.HAS_EPOLL, reason="the kernel thread reads only where there is an epoll")


def until(condition: Callable[[], object]) -> None:
    """Wait for what another thread does."""
    pause = threading.Event()
    for _ in range(int(LIMIT_S / 0.002)):
        if condition():
            return
        pause.wait(0.002)
    pytest.fail("it did not happen")


class Stand:
    """A lookout between a kernel and an I/O thread, with the hub's tick, and one socket whose bytes it collects."""

    def __init__(self) -> None:
        self.io = IOThread()
        self.io.start()
        self.kernel = Kernel()
        self.lookout = Lookout(self.io, self._left)
        self.got: list[int] = []
        self.readers: list[int] = []
        self.there, self.here = socket.socketpair()
        self.here.setblocking(False)
        self.ticking = False

    def start(self) -> None:
        self.kernel.start()
        self.io.call(self.lookout.add, self.here.fileno(), self._readable)
        self.kernel.post(self.lookout.attach, self.kernel)

    def close(self) -> None:
        self.io.call(self.lookout.remove, self.here.fileno())
        self.io.call(self.lookout.close)
        done = threading.Event()
        self.io.call(done.set)
        assert done.wait(LIMIT_S)
        if self.kernel.ident != -1:
            self.kernel.terminate()
        self.io.close()
        self.there.close()
        self.here.close()

    def block(self) -> threading.Event:
        """Keep the kernel thread busy until the event is set."""
        goes_on, blocked = threading.Event(), threading.Event()
        self.kernel.post(lambda: (blocked.set(), goes_on.wait(LIMIT_S)))
        assert blocked.wait(LIMIT_S)
        return goes_on

    def _left(self) -> None:
        if not self.ticking:
            self.ticking = True
            self.io.call(self._tick)

    def _tick(self) -> None:
        self.ticking = False
        if self.lookout.patrol():
            self.ticking = True
            self.io.loop.call_later(0.001, self._tick)

    def _readable(self) -> None:
        """Passes each byte on to the I/O thread, directly if this is it."""
        for byte in self.here.recv(64):
            self.readers.append(threading.get_ident())
            if self.io.in_thread():
                self.got.append(byte)
            else:
                self.io.call(self.got.append, byte)


@pytest.fixture
def stand() -> Iterator[Stand]:
    stand = Stand()
    yield stand
    stand.close()


@needs_epoll
def test_the_idle_kernel_thread_reads(stand: Stand) -> None:
    stand.start()
    until(lambda: stand.lookout.turn is KERNEL)
    stand.there.send(b"a")
    until(lambda: stand.got)
    assert stand.readers == [stand.kernel.ident]


@needs_epoll
def test_the_io_thread_reads_while_a_task_computes_and_the_kernel_thread_after(stand: Stand) -> None:
    stand.start()
    until(lambda: stand.lookout.turn is KERNEL)
    goes_on = stand.block()
    stand.there.send(b"a")
    until(lambda: stand.got)
    assert stand.lookout.turn is IO
    goes_on.set()
    until(lambda: stand.lookout.turn is KERNEL)
    stand.there.send(b"b")
    until(lambda: len(stand.got) == 2)
    assert stand.readers == [stand.io.thread.ident, stand.kernel.ident]


@needs_epoll
def test_the_order_holds_when_they_take_turns(stand: Stand) -> None:
    stand.start()
    sent = 0
    for round_ in range(60):
        goes_on = stand.block() if round_ % 3 else None
        if round_ % 3 == 0:  # the kernel thread reads
            until(lambda: stand.lookout.turn is KERNEL)
        elif round_ % 3 == 1:  # the I/O thread reads
            until(lambda: stand.lookout.turn is IO)
        for _ in range(round_ % 5 + 1):
            stand.there.send(bytes([sent % 256]))
            sent += 1
        if round_ % 3 < 2:
            until(lambda wanted=sent: len(stand.got) == wanted)
        if goes_on is not None:  # whoever comes first reads, where nobody was waited for
            goes_on.set()
    until(lambda: len(stand.got) == sent)
    assert stand.got == [n % 256 for n in range(sent)]
    assert len(set(stand.readers)) == 2


@needs_epoll
def test_what_is_posted_wakes_the_sleeping_kernel(stand: Stand) -> None:
    stand.start()
    for _ in range(300):
        done = threading.Event()
        stand.kernel.post(done.set)
        assert done.wait(LIMIT_S)


@needs_epoll
def test_a_wake_up_that_the_io_thread_took_is_not_lost(stand: Stand) -> None:
    # The kernel has said that it sleeps and waits for its turn; now something is posted, and the I/O thread, whose
    # turn it is still, takes the wake-up off the eventfd.
    stand.kernel.sleep_in(stand.lookout)
    stand.lookout._kernel = stand.kernel
    stand.kernel._sleeping = True
    stand.kernel.post(lambda: None)
    with stand.lookout.lock:
        stand.lookout._serve([(stand.lookout._wake_fd, 1)])
    sleeper = threading.Thread(target=stand.lookout.sleep, args=(-1.0,), daemon=True)
    sleeper.start()
    sleeper.join(LIMIT_S)
    assert not sleeper.is_alive()


@needs_epoll
def test_timers_run_and_distant_ones_do_not_overflow(stand: Stand) -> None:
    stand.start()
    done = threading.Event()
    stand.kernel.post(lambda: stand.kernel.call_later(1e15, lambda: None))
    until(lambda: stand.lookout.turn is KERNEL)
    stand.kernel.post(lambda: stand.kernel.call_later(0.003, done.set))
    assert done.wait(LIMIT_S)


@needs_epoll
def test_the_kernel_runs_on_when_the_lookout_closes(stand: Stand) -> None:
    stand.start()
    until(lambda: stand.lookout.turn is KERNEL)
    stand.io.call(stand.lookout.remove, stand.here.fileno())
    stand.io.call(stand.lookout.remove, stand.here.fileno())  # a second time does nothing
    stand.io.call(stand.lookout.close)
    until(lambda: stand.kernel._sleeper is None)
    done = threading.Event()
    stand.kernel.post(done.set)
    assert done.wait(LIMIT_S)


def test_without_epoll_the_io_thread_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookouts, "HAS_EPOLL", False)
    stand = Stand()
    try:
        stand.start()
        stand.there.send(b"ab")
        until(lambda: len(stand.got) == 2)
        assert set(stand.readers) == {stand.io.thread.ident}
    finally:
        stand.close()


@needs_epoll
def test_a_kernel_that_ctrl_c_may_interrupt_anywhere_does_not_read(stand: Stand) -> None:
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        stand.lookout.attach(stand.kernel)  # this is the main thread
        assert stand.kernel._sleeper is None
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stand.lookout.attach(stand.kernel)
        assert stand.kernel._sleeper is stand.lookout
    finally:
        signal.signal(signal.SIGINT, old)


class Process:
    """A kernel, an I/O thread and a network, as a process has them; two live in this one."""

    def __init__(self) -> None:
        self.kernel, self.io = Kernel(), IOThread()
        self.kernel.start()
        self.io.start()
        self.network = Network(self.kernel, self.io, NetworkOptions(host="127.0.0.1", discover=False))
        self.got: list[bytes] = []
        self.network.services["test"] = lambda _, message: self.got.append(bytes(message.body))
        self.network.start()

    def close(self) -> None:
        self.network.close()
        self.kernel.terminate()
        self.io.close()


@pytest.fixture
def two() -> Iterator[tuple[Process, Process]]:
    processes = Process(), Process()
    yield processes
    for process in processes:
        process.close()


def test_services_are_called_in_order_whether_or_not_a_task_computes(two: tuple[Process, Process]) -> None:
    here, there = two
    peer: Any = here.network.hub.peer_at(there.network.location)
    until(lambda: peer.state is UP)
    for n in range(40):
        goes_on = threading.Event()
        if n % 8 == 7:
            there.kernel.post(goes_on.wait, LIMIT_S)
        assert here.network.post_service(peer, "test", b"%d" % n)
        until(lambda wanted=n: len(there.got) > wanted)
        goes_on.set()
    assert there.got == [b"%d" % n for n in range(40)]


def test_large_payloads_come_whole_and_are_acknowledged(two: tuple[Process, Process]) -> None:
    here, there = two
    sizes: list[tuple[int, int]] = []
    there.network.services["test"] = lambda _, message: sizes.append((message.payload[0], len(message.payload)))
    peer: Any = here.network.hub.peer_at(there.network.location)
    for n in range(20):
        here.network.post_service(peer, "test", b"", 1, [bytes([n]) * (200_000 + n)])
    until(lambda: len(sizes) == 20)
    assert sizes == [(n, 200_000 + n) for n in range(20)]
    until(lambda: peer.session.unacked_bytes == 0)
