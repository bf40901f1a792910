"""parkcos/net/finding/discovery.py: several processes' worth of discovery in one loop, on loopback only."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import socket
from collections.abc import Callable
from typing import Any

import pytest

from parkcos.errors import ConfigError
from parkcos.net.finding import discovery as module
from parkcos.net.finding.addresses import Interface, OwnAddress
from parkcos.net.finding.datagram import Announce, DatagramGate, Leaving, encode
from parkcos.net.finding.discovery import Discovery
from tests.ports import free_ports

pytestmark = pytest.mark.live

KEY = b"k" * 32
NOW = 1_800_000_000.0
LOOPBACK = (Interface("lo", "127.0.0.1"),)


def loop_factories() -> list[Any]:
    found: list[Any] = [pytest.param(asyncio.new_event_loop, id="asyncio")]
    try:
        import uvloop
    except ImportError:
        return found
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.sleep(0))  # a pipe comes with the first loop of a process and stays: no leak of a test's
    return [*found, pytest.param(uvloop.new_event_loop, id="uvloop")]


@pytest.fixture(params=loop_factories())
def run(request: pytest.FixtureRequest) -> Callable[[Any], None]:
    def go(test: Any) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(asyncio.wait_for(test, 20))

    return go


@pytest.fixture
def port() -> int:
    """A UDP port that nobody uses now."""
    return free_ports(1)[0]


class Process:
    """What a process has around its discovery: it remembers what it heard."""

    def __init__(
        self,
        number: int,
        port: int,
        *,
        target: int | None = None,
        key: bytes | None = KEY,
        addr: str = "",
        **options: Any,
    ) -> None:
        self.number = number
        self.heard: dict[int, tuple[Announce, tuple[str, int]]] = {}
        self.left: set[int] = set()
        self.changed = asyncio.Event()
        self.gate = DatagramGate(key)
        own = OwnAddress(addr or f"127.0.0.{number}", LOOPBACK, "", True)
        self.discovery = Discovery(
            self.gate,
            own,
            port,
            [port if target is None else target],
            lambda: Announce(own.addr, 9000 + number, number, f"p{number}", ("peer",), 1, False),
            self._heard,
            self._left,
            key,
            chance=random.Random(number),
            **options,
        )

    def _heard(self, message: Announce, source: tuple[str, int]) -> None:
        self.heard[message.incarnation] = message, source
        self.changed.set()

    def _left(self, message: Leaving) -> None:
        self.left.add(message.incarnation)
        self.changed.set()

    async def until(self, true: Callable[[], bool]) -> None:
        while not true():
            self.changed.clear()
            await self.changed.wait()


@pytest.mark.parametrize("order", list(itertools.permutations([2, 3, 4])), ids=str)
def test_everybody_finds_everybody(run: Callable[..., None], port: int, order: tuple[int, ...]) -> None:
    async def test() -> None:
        everybody = [Process(number, port) for number in order]
        for process in everybody:
            await process.discovery.start()
        for process in everybody:
            others = set(order) - {process.number}
            await process.until(lambda process=process, others=others: process.heard.keys() >= others)  # type: ignore[misc]
            assert process.number not in process.heard  # its own datagrams are not news
            message, source = process.heard[min(others)]
            assert message.addr == source[0] == f"127.0.0.{min(others)}"
        first, *rest = everybody
        first.discovery.close()
        for process in rest:
            await process.until(lambda process=process: first.number in process.left)  # type: ignore[misc]
        for process in everybody:
            process.discovery.close()

    run(test())


def test_a_newcomer_is_answered_at_once(run: Callable[..., None], port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        monkeypatch.setattr(module, "ANNOUNCE_FIRST_S", (0.0,))  # and then nothing for five seconds
        old, new = Process(2, port), Process(3, port)
        await old.discovery.start()
        await asyncio.sleep(0)
        await new.discovery.start()
        await new.until(lambda: 2 in new.heard)
        assert new.heard[2][1] == ("127.0.0.2", old.discovery.private_port)
        assert not new.heard[2][0].reply
        for process in (old, new):
            process.discovery.close()

    run(test())


def test_probe(run: Callable[..., None], port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        monkeypatch.setattr(module, "ANNOUNCE_FIRST_S", (0.0,))
        one, two = Process(2, port), Process(3, port)
        await one.discovery.start()
        await two.discovery.start()
        await one.until(lambda: 3 in one.heard)
        await two.until(lambda: 2 in two.heard)
        one.heard.clear()
        one.discovery.probe()
        await one.until(lambda: 3 in one.heard)
        one.discovery.close()
        two.discovery.close()
        one.discovery.probe()  # closed: nothing happens

    run(test())


def test_announced_again_and_again(run: Callable[..., None], port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        monkeypatch.setattr(module, "ANNOUNCE_FIRST_S", (0.0, 0.01, 0.02))
        monkeypatch.setattr(module, "ANNOUNCE_INTERVAL_S", 0.02)
        got: asyncio.Queue[Announce] = asyncio.Queue()
        one = Process(2, port)
        listener = Process(3, port, target=1)  # it sends where nobody listens
        listener.discovery._heard = lambda message, _: got.put_nowait(message)
        await listener.discovery.start()
        await one.discovery.start()
        assert [(await got.get()).reply for _ in range(7)] == [True] * 3 + [False] * 4
        one.discovery.close()
        listener.discovery.close()

    run(test())


def test_another_secret(run: Callable[..., None], port: int, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        ours, friend, stranger = Process(2, port), Process(3, port), Process(4, port, key=b"x" * 32)
        careless = Process(5, port, key=None)
        for process in (stranger, careless, ours, friend):
            await process.discovery.start()
        for process in (stranger, careless):
            process.discovery.probe()
            process.discovery.close()  # three datagrams each, at least
        await ours.until(lambda: 3 in ours.heard)
        ours.discovery.probe()
        await friend.until(lambda: 2 in friend.heard)
        while ours.gate.counts["mac"] < 2 or ours.gate.counts["no_secret"] < 2:
            await asyncio.sleep(0)
        assert ours.heard.keys() == {3}
        assert not ours.left
        assert not stranger.heard
        for process in (ours, friend):
            process.discovery.close()

    run(test())
    messages = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    words = "a datagram from 127.0.0.4 has a wrong MAC: it uses another secret (not logged again for this address)"
    assert 1 <= messages.count(words) <= 2  # by 2 and by 3, each once
    assert any("127.0.0.5 comes from a program without a secret" in m for m in messages)


def test_a_double_is_no_news(run: Callable[..., None], port: int, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        one = Process(2, port, clock=lambda: NOW)
        await one.discovery.start()
        data = encode(Announce("127.0.0.9", 9000, 9, "", (), 1, False), KEY, NOW)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _ in range(2):
                sock.sendto(data, ("127.0.0.2", one.discovery.private_port))
        while not one.gate.counts["replay"]:
            await asyncio.sleep(0)
        assert 9 in one.heard
        one.discovery.close()

    run(test())
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_port_in_use(run: Callable[..., None], port: int, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("", 0))  # selfishly: without SO_REUSEADDR
            one = Process(2, other.getsockname()[1], target=port)
            two = Process(3, port, target=1)
            await two.discovery.start()
            await one.discovery.start()
            await two.until(lambda: 2 in two.heard)
            await one.until(lambda: 3 in one.heard)
            one.discovery.close()
            two.discovery.close()

    run(test())
    assert [
        r for r in caplog.records if r.levelno == logging.ERROR and "cannot be used for discovery" in r.getMessage()
    ]


def test_address_of_another_machine(run: Callable[..., None], port: int) -> None:
    async def test() -> None:
        one = Process(2, port, addr="192.0.2.200")  # TEST-NET-1
        with pytest.raises(ConfigError, match=r"192\.0\.2\.200"):
            await one.discovery.start()
        one.discovery.close()

    run(test())


def test_disabled(run: Callable[..., None], port: int) -> None:
    async def test() -> None:
        one = Process(2, port, enabled=False)
        await one.discovery.start()
        assert one.discovery.private_port == 0
        one.discovery.probe()
        one.discovery.close()

    run(test())


def test_by_multicast_on_loopback(run: Callable[..., None], port: int) -> None:
    async def test() -> None:
        one, two = (Process(number, port, addr="127.0.0.1", multicast=True) for number in (2, 3))
        await one.discovery.start()
        await two.discovery.start()
        await one.until(lambda: 3 in one.heard)
        await two.until(lambda: 2 in two.heard)
        one.discovery.close()
        await two.until(lambda: 2 in two.left)
        two.discovery.close()

    run(test())


def test_answers_over_ipv6(run: Callable[..., None], port: int) -> None:
    async def test() -> None:
        one = Process(2, port, addr="::1")
        await one.discovery.start()
        data = encode(Announce("::1", 9000, 9, "", (), 1, True), KEY, one.discovery._clock())
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
            sock.sendto(data, ("::1", one.discovery.private_port))
            await one.until(lambda: 9 in one.heard)
            sock.settimeout(5)
            answer = DatagramGate(KEY).open(sock.recv(2000), one.discovery._clock())
        assert answer.incarnation == 2
        one.discovery.close()

    run(test())


def test_starting_and_closing_twice(run: Callable[..., None], port: int) -> None:
    async def test() -> None:
        one, two = Process(2, port), Process(3, port)
        await two.discovery.start()
        await one.discovery.start()
        own, sockets = one.discovery.private_port, list(one.discovery._transports)
        assert own > 0 and len(sockets) == 2
        await one.discovery.start()
        assert (one.discovery.private_port, one.discovery._transports) == (own, sockets)
        one.discovery.close()
        one.discovery.close()
        assert one.discovery.private_port == 0 and one.discovery._timer is None
        assert all(sock.is_closing() for sock in sockets)
        await two.until(lambda: 2 in two.left)
        await one.discovery.start()
        assert len(one.discovery._transports) == 2
        for process in (one, two):
            process.discovery.close()

    run(test())


def test_one_host_is_greeted_and_answers(run: Callable[..., None], port: int) -> None:
    async def test() -> None:
        there = Process(2, port, target=port + 1)  # its broadcasts go elsewhere, and so do those of the other
        here = Process(3, port + 1, target=port + 2)
        for process in (there, here):
            await process.discovery.start()
        here.discovery.greet("::1", port)  # of the other family: nobody is there
        here.discovery.greet("127.0.0.2", port)
        await here.until(lambda: 2 in here.heard)
        await there.until(lambda: 3 in there.heard)
        for process in (there, here):
            process.discovery.close()

    run(test())


def test_who_pauses_neither_says_nor_hears_anything(run: Callable[..., None], port: int) -> None:
    async def test() -> None:
        silent, one, other = (Process(number, port) for number in (2, 3, 4))
        silent.discovery.paused = True
        for process in (silent, one, other):
            await process.discovery.start()
        silent.discovery.probe()
        await one.until(lambda: 4 in one.heard)
        await other.until(lambda: 3 in other.heard)
        assert not silent.heard and 2 not in one.heard and 2 not in other.heard
        silent.discovery.paused = False
        silent.discovery.probe()
        await silent.until(lambda: silent.heard.keys() >= {3, 4})
        await one.until(lambda: 2 in one.heard)
        for process in (silent, one, other):
            process.discovery.close()

    run(test())
