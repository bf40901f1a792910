"""parkcos/net/discovery.py: several processes' worth of discovery in one loop, on loopback only."""

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
from parkcos.net import discovery as module
from parkcos.net.addresses import Interface, OwnAddress
from parkcos.net.datagram import Announce, DatagramGate, Leaving, encode
from parkcos.net.discovery import ANNOUNCE_INTERVAL_S, ANNOUNCE_JITTER, Discovery
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


def test_intervals(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> list[float]:
        waits: list[float] = []
        one = Process(2, port)
        await one.discovery.start()
        for _ in range(200):
            assert one.discovery._timer is not None
            waits.append(one.discovery._timer.when() - asyncio.get_running_loop().time())
            one.discovery._timer.cancel()
            one.discovery._tick()
        one.discovery.close()
        return waits

    waits = asyncio.run(test())
    assert [round(w, 1) for w in waits[:4]] == [0.1, 0.2, 0.7, 1.0]
    assert all(abs(w - ANNOUNCE_INTERVAL_S) <= ANNOUNCE_INTERVAL_S * ANNOUNCE_JITTER + 0.1 for w in waits[4:])
    assert max(waits[4:]) - min(waits[4:]) > 1


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


def test_garbage_is_counted_and_logged_once(
    run: Callable[..., None], port: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        monkeypatch.setattr(module, "_COMPLAINTS_MAX", 3)
        one = Process(2, port)
        await one.discovery.start()
        for sender in range(50, 60):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind((f"127.0.0.{sender}", 0))
                for _ in range(3):
                    sock.sendto(b"hello", ("127.0.0.2", one.discovery.private_port))
        while one.gate.counts["magic"] < 30:
            await asyncio.sleep(0)
        one.discovery.close()

    run(test())
    logged = [r for r in caplog.records if "is not a parkcos datagram" in r.getMessage()]
    assert len(logged) == 3


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


def test_what_does_not_fit_is_said_at_the_start(run: Callable[..., None], port: int) -> None:
    async def test() -> None:
        one = Process(2, port)
        one.discovery._announce = lambda: Announce("127.0.0.2", 9000, 2, "x" * 200, (), 1, False)
        with pytest.raises(ConfigError, match="too long"):
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


def test_what_goes_to_the_group_leaves_by_the_own_interface_and_stays_in_its_network() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        module.send_to_group(sock, OwnAddress("127.0.0.1", (Interface("lo", "127.0.0.1"),), "", True))
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, 4) == socket.inet_aton("127.0.0.1")
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 1
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        module.send_to_group(sock, OwnAddress("::1", (Interface("lo", "::1"),), "", True))
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF) == socket.if_nametoindex("lo")
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS) == 1


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


class FakeSocket:
    """A private socket that sends nothing: it remembers, or fails."""

    def __init__(self, error: OSError | None = None) -> None:
        self.sent: list[tuple[str, int]] = []
        self.said: list[bytes] = []
        self.error = error

    def sendto(self, data: bytes, target: tuple[str, int]) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append(target)
        self.said.append(data)

    def asks(self) -> list[bool]:
        """Whether each of the announcements since the last call asks for an answer."""
        said, self.said = self.said, []
        messages = [DatagramGate(KEY).open(data, NOW) for data in said]
        return [message.reply for message in messages if isinstance(message, Announce)]

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.2", 1


def fake(own: OwnAddress, heard: list[int], error: OSError | None = None) -> tuple[Discovery, FakeSocket]:
    """A discovery that was never started, with a fake socket: what it would send is seen, and not sent."""
    discovery = Discovery(
        DatagramGate(KEY), own, 9705, [9705, 9706], lambda: Announce(own.addr, 9000, 2, "", (), 1, False),
        lambda message, _: heard.append(message.incarnation), lambda message: heard.append(-message.incarnation),
        KEY, clock=lambda: NOW,
    )  # fmt: skip
    sock = FakeSocket(error)
    discovery._incarnation = 2
    discovery._private = sock  # type: ignore[assignment]
    return discovery, sock


ETH0 = Interface("eth0", "10.0.0.5", "10.0.0.255")


@pytest.mark.parametrize(
    "own", [OwnAddress("127.0.0.1", (ETH0,), "", True), OwnAddress("127.0.0.2", (ETH0,), "", False)]
)
def test_loopback_never_sends_outside(own: OwnAddress) -> None:
    heard: list[int] = []
    discovery, sock = fake(own, heard)
    discovery.probe()
    for reply in (True, False):
        data = encode(Announce("10.0.0.7", 9000, 7, "", (), 1, reply), KEY, NOW)
        discovery._receive(data, ("10.0.0.7", 5000))
    discovery._receive(b"garbage", ("10.0.0.7", 5000))
    discovery.close()
    assert all(addr.startswith("127.") for addr, _ in sock.sent)
    assert heard == []


def test_targets_and_answers_outside() -> None:
    heard: list[int] = []
    discovery, sock = fake(OwnAddress("10.0.0.5", (ETH0,), "", False), heard)
    discovery.probe()
    assert sock.sent == [("10.0.0.255", 9705), ("10.0.0.255", 9706)]
    sock.sent.clear()
    for incarnation, reply in ((7, True), (8, False), (2, True)):  # the last is this process
        data = encode(Announce("10.0.0.7", 9000, incarnation, "", (), 1, reply), KEY, NOW)
        discovery._receive(data, ("10.0.0.7", 5000))
    lie = Announce("127.0.0.1", 9000, 9, "", (), 1, True)
    discovery._receive(encode(lie, KEY, NOW), ("10.0.0.7", 5000))
    discovery._receive(encode(Leaving("10.0.0.7", 9000, 7), KEY, NOW), ("10.0.0.7", 5000))
    assert heard == [7, 8, -7]
    assert sock.sent == [("10.0.0.7", 5000)]


def test_who_asks_for_answers(run: Callable[..., None]) -> None:
    discovery, sock = fake(OwnAddress("10.0.0.5", (ETH0,), "", False), [])
    own = Announce("10.0.0.5", 9000, 2, "", (), 1, True)
    discovery._announce = lambda: own  # whatever it says of answers

    async def ticks() -> None:
        for _ in range(len(module.ANNOUNCE_FIRST_S) + 2):
            discovery._tick()
            assert discovery._timer is not None
            discovery._timer.cancel()

    discovery.probe()
    assert sock.asks() == [True, True]
    discovery._receive(encode(Announce("10.0.0.7", 9000, 7, "", (), 1, True), KEY, NOW), ("10.0.0.7", 5000))
    assert sock.asks() == [False]
    sock.sent.clear()
    discovery.greet("10.0.0.9")
    discovery.greet("10.0.0.9", 77)
    discovery.greet("fd00::9")
    assert sock.sent == [("10.0.0.9", 9705), ("10.0.0.9", 9706), ("10.0.0.9", 77)]
    assert sock.asks() == [True, True, True]
    run(ticks())
    assert sock.asks() == [True, True] * len(module.ANNOUNCE_FIRST_S) + [False, False] * 2
    discovery.paused = True
    run(ticks())
    discovery.probe()
    assert sock.said == []


def test_while_a_secret_is_replaced_everything_is_sealed_with_both() -> None:
    discovery, sock = fake(OwnAddress("10.0.0.5", (ETH0,), "", False), [])
    discovery._old_mac_key = b"old" * 8
    discovery.greet("10.0.0.9", 77)
    for data, key in zip(sock.said, (KEY, b"old" * 8), strict=True):
        assert DatagramGate(key).open(data, NOW).incarnation == 2


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


@pytest.mark.parametrize(
    ("addr", "multicast", "used"),
    [("127.0.0.2", False, False), ("127.0.0.2", True, True), ("::1", False, False), ("::1", True, False)],
)
def test_groups_are_joined_by_those_who_use_them(port: int, addr: str, multicast: bool, used: bool) -> None:
    """On the IPv6 loopback there are none."""
    assert Process(2, port, addr=addr, multicast=multicast).discovery._multicast == used


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("shared", [False, True])
def test_options_of_the_sockets(family: socket.AddressFamily, shared: bool, port: int) -> None:
    with module.bound_socket(family, "", port, shared=shared) as sock:
        assert sock.getsockname()[1] == port
        assert not sock.getblocking()
        assert bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)) == shared
        assert bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)) == shared
        assert bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)) == (family == socket.AF_INET)
        if family == socket.AF_INET6:
            assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        if shared:
            module.bound_socket(family, "", port, shared=True).close()
        else:
            with pytest.raises(OSError, match="in use"):
                module.bound_socket(family, "", port, shared=True)


@pytest.mark.parametrize(
    "error", [PermissionError(1, "Operation not permitted"), OSError(101, "Network is unreachable")]
)
def test_sending_fails(error: OSError, caplog: pytest.LogCaptureFixture) -> None:
    discovery, _ = fake(OwnAddress("10.0.0.5", (ETH0,), "", False), [], error)
    for _ in range(3):
        discovery.probe()
    discovery.close()
    assert len([r for r in caplog.records if str(error.strerror) in r.getMessage()]) == 1


def test_a_full_buffer_is_a_lost_datagram(caplog: pytest.LogCaptureFixture) -> None:
    discovery, _ = fake(OwnAddress("10.0.0.5", (ETH0,), "", False), [], BlockingIOError(11, "would block"))
    discovery.probe()
    assert not caplog.records


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
