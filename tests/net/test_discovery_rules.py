"""parkcos/net/finding/discovery.py: what one process says and to whom, what it lets pass, its sockets' options."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from parkcos.errors import ConfigError
from parkcos.net.finding import discovery as module
from parkcos.net.finding.addresses import GROUP_V4, GROUP_V6, Interface, OwnAddress
from parkcos.net.finding.datagram import Announce, DatagramGate, Leaving, encode
from parkcos.net.finding.discovery import ANNOUNCE_FIRST_S, ANNOUNCE_INTERVAL_S, ANNOUNCE_JITTER, Discovery
from parkcos.net.location import is_loopback
from tests.ports import free_ports

KEY = b"k" * 32
OLD_KEY = b"old" * 8
NOW = 1_800_000_000.0


class FakeSocket:
    """A private socket that sends nothing: it remembers, or fails."""

    family = socket.AF_INET

    def __init__(self, error: OSError | None = None) -> None:
        self.sent: list[tuple[str, int]] = []
        self.said: list[bytes] = []
        self.options: dict[int, Any] = {}
        self.error = error

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        assert level == socket.IPPROTO_IP
        self.options[option] = value

    def sendto(self, data: bytes, target: tuple[str, int]) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append(target)
        self.said.append(data)

    def messages(self) -> list[Announce | Leaving]:
        """What was said since the last call."""
        said, self.said = self.said, []
        return [DatagramGate(KEY).open(data, NOW) for data in said]

    def asks(self) -> list[bool]:
        """Whether each of the announcements since the last call asks for an answer."""
        return [message.reply for message in self.messages() if isinstance(message, Announce)]

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.2", 1


ETH0 = Interface("eth0", "10.0.0.5", "10.0.0.255")
OUTSIDE = OwnAddress("10.0.0.5", (ETH0,), "", False)


def fake(
    own: OwnAddress = OUTSIDE, heard: list[int] | None = None, error: OSError | None = None, **options: Any
) -> tuple[Discovery, FakeSocket]:
    """A discovery that was never started, with a fake socket: what it would send is seen, and not sent."""
    heard = [] if heard is None else heard
    discovery = Discovery(
        DatagramGate(KEY), own, 9705, [9705, 9706], lambda: Announce(own.addr, 9000, 2, "", (), 1, False),
        lambda message, _: heard.append(message.incarnation), lambda message: heard.append(-message.incarnation),
        KEY, clock=lambda: NOW, **options,
    )  # fmt: skip
    sock = FakeSocket(error)
    discovery._incarnation = 2
    discovery._private = sock  # type: ignore[assignment]
    return discovery, sock


class Endpoints(asyncio.SelectorEventLoop):
    """A loop that reads nothing from the sockets that it is given, but notes which of them are in use."""

    def __init__(self) -> None:
        super().__init__()
        self.used: list[Any] = []
        self.ears: list[Any] = []
        self.meanwhile: Callable[[], None] = lambda: None

    async def create_datagram_endpoint(self, factory: Any, *, sock: Any) -> Any:  # type: ignore[override]
        self.used.append(sock)
        self.meanwhile()

        class Transport:
            def close(_) -> None:
                self.used.remove(sock)

        self.ears.append(factory())
        return Transport(), self.ears[-1]


class Started:
    """Runs tests in a loop that has no sockets but fake ones."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = Endpoints()
        self.bound: list[Any] = []
        """Which sockets were asked for since it was last emptied."""
        self.port_held = False
        """Another program holds the well-known port."""
        monkeypatch.setattr(module, "bound_socket", self._bound_socket)

    def _bound_socket(self, *where: Any, shared: bool) -> FakeSocket:
        self.bound.append((*where, shared))
        if shared and self.port_held:
            raise OSError(98, "Address already in use")
        return FakeSocket()

    def run(self, test: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(test)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    return Started(monkeypatch)


def stopped(**options: Any) -> Discovery:
    """One that may be started, and ran before."""
    discovery, _ = fake(**options)
    discovery._private, discovery._rounds, discovery._incarnation = None, 99, 98
    return discovery


# what it sends


def test_from_the_start_to_the_farewell(started: Started) -> None:
    loop, bound = started.loop, started.bound

    async def test() -> None:
        heard: list[int] = []
        discovery = stopped(heard=heard)
        await discovery.start()
        assert bound == [(socket.AF_INET, "10.0.0.5", 0, False), (socket.AF_INET, "", 9705, True)]
        private, shared = loop.used
        assert discovery.private_port == 1
        for ear, incarnation in zip(loop.ears, (7, 8), strict=True):
            for data in private.said:
                ear.datagram_received(data, ("10.0.0.5", 1))
            data = encode(Announce("10.0.0.7", 9000, incarnation, "", (), 1, False), KEY, NOW)
            ear.datagram_received(data, ("10.0.0.7", 1))
        assert heard == [7, 8], "its own words are no news"
        assert private.asks() == [True, True], "one to each port, at once"
        assert discovery._timer is not None and discovery._rounds == 1
        await discovery.start()
        assert loop.used == [private, shared], "it runs already"
        before, bound[:] = discovery._timer, []
        await discovery.move(OwnAddress("10.9.0.5", (Interface("eth1", "10.9.0.5", "10.9.0.255"),), "", False))
        assert before.cancelled()
        assert bound == [(socket.AF_INET, "10.9.0.5", 0, False), (socket.AF_INET, "", 9705, True)]
        assert private not in loop.used and shared not in loop.used and private.said == []
        private, shared = loop.used
        assert private.sent == [("10.9.0.255", 9705), ("10.9.0.255", 9706)]
        assert private.asks() == [True, True]
        discovery.close()
        discovery.close()
        assert private.messages() == [Leaving("10.0.0.5", 9000, 2)] * 2
        assert loop.used == [] and shared.said == []
        assert discovery.private_port == 0 and discovery._timer is None
        discovery._announce = lambda: pytest.fail("there is nothing to announce any more")
        discovery.probe()

    started.run(test())


@pytest.mark.parametrize("multicast", [False, True])
def test_who_announces_itself_by_multicast_hears_the_group(started: Started, multicast: bool) -> None:
    async def test() -> None:
        discovery = stopped(multicast=multicast)
        await discovery.start()
        private, shared = started.loop.used
        own = socket.inet_aton("10.0.0.5")
        sends = {socket.IP_MULTICAST_IF: own, socket.IP_MULTICAST_TTL: 1}
        assert private.options == (sends if multicast else {})
        hears = {socket.IP_ADD_MEMBERSHIP: socket.inet_aton(GROUP_V4) + own}
        assert shared.options == (hears if multicast else {})
        discovery.close()

    started.run(test())


@pytest.mark.parametrize("multicast", [False, True])
def test_who_cannot_have_the_port_greets_others(
    started: Started, multicast: bool, caplog: pytest.LogCaptureFixture
) -> None:
    started.port_held = True

    async def test() -> None:
        discovery = stopped(multicast=multicast)
        await discovery.start()
        (private,) = started.loop.used
        assert private.asks() == [True, True]
        discovery.close()

    started.run(test())
    (text,) = caplog.messages
    assert "UDP port 9705 cannot be used for discovery" in text and "(Address already in use)" in text
    assert (" by multicast" in text) == multicast


def test_who_is_closed_while_it_starts_says_and_keeps_nothing(started: Started) -> None:
    async def test() -> None:
        discovery = stopped()
        started.loop.meanwhile = discovery._shut
        await discovery.start()
        assert started.loop.used == [] and discovery._timer is None

    started.run(test())


@pytest.mark.parametrize(("addr", "family"), [("10.0.0.5", socket.AF_INET), ("fd00::5", socket.AF_INET6)])
def test_an_address_that_is_no_more_this_machines(
    addr: str, family: socket.AddressFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bound_socket(*where: Any, shared: bool) -> None:
        assert where == (family, addr, 0)
        raise OSError(99, "Cannot assign requested address")

    monkeypatch.setattr(module, "bound_socket", bound_socket)
    discovery = stopped(own=OwnAddress(addr, (Interface("eth0", addr),), "", False))
    with pytest.raises(ConfigError, match=f"bound to {addr} .*: is it still this machine's address"):
        asyncio.run(discovery.start())
    assert discovery.private_port == 0


def test_who_is_not_enabled_does_not_start(started: Started) -> None:
    discovery = stopped(enabled=False)
    started.run(discovery.start())
    assert started.bound == [] and discovery.private_port == 0


def test_what_does_not_fit_is_said_at_the_start() -> None:
    discovery = stopped()
    discovery._announce = lambda: Announce("10.0.0.5", 9000, 2, "x" * 200, (), 1, False)
    with pytest.raises(ConfigError, match="too long"):
        asyncio.run(discovery.start())
    assert discovery.private_port == 0


@pytest.mark.parametrize(
    ("own", "multicast", "targets"),
    [
        (OUTSIDE, False, ["10.0.0.255"]),
        (OUTSIDE, True, [GROUP_V4]),
        (OwnAddress("127.0.0.1", (ETH0,), "", True), False, ["127.255.255.255"]),
        (OwnAddress("127.0.0.1", (ETH0,), "", True), True, [GROUP_V4]),
        (OwnAddress("127.0.0.2", (ETH0,), "", False), False, []),
        (OwnAddress("fd00::5", (Interface("eth0", "fd00::5"),), "", False), False, [GROUP_V6]),
        (OwnAddress("::1", (Interface("lo", "::1"),), "", True), False, []),
    ],
)
def test_whom_it_announces_itself_to(own: OwnAddress, multicast: bool, targets: list[str]) -> None:
    """Of whom is on the loopback nothing leaves this machine."""
    discovery, sock = fake(own, multicast=multicast)
    discovery.probe()
    assert sock.sent == [(target, port) for port in (9705, 9706) for target in targets]


@pytest.mark.parametrize(
    ("addr", "multicast", "used"),
    [
        ("127.0.0.2", False, False),
        ("127.0.0.2", True, True),
        ("::1", False, False),
        ("::1", True, False),
        ("10.0.0.5", False, False),
        ("10.0.0.5", True, True),
        ("fd00::5", False, True),
        ("fd00::5", True, True),
    ],
)
def test_groups_are_joined_by_those_who_use_them(addr: str, multicast: bool, used: bool) -> None:
    """On the IPv6 loopback there are none."""
    discovery, _ = fake(OwnAddress(addr, (Interface("if0", addr),), "", is_loopback(addr)), multicast=multicast)
    assert discovery._multicast == used


def test_intervals() -> None:
    class Latest(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    async def test(**options: Any) -> list[float]:
        waits: list[float] = []
        discovery, _ = fake(**options)
        loop = asyncio.get_running_loop()
        for _ in range(200):
            began = loop.time()
            discovery._tick()
            assert discovery._timer is not None
            waits.append(discovery._timer.when() - began)
            discovery._timer.cancel()
        return waits

    longest = ANNOUNCE_INTERVAL_S * (1 + ANNOUNCE_JITTER)
    assert all(abs(w - longest) < 0.1 for w in asyncio.run(test(chance=Latest()))[4:])
    waits = asyncio.run(test())
    assert [round(w, 1) for w in waits[:4]] == [0.1, 0.2, 0.7, 1.0]
    assert all(abs(w - ANNOUNCE_INTERVAL_S) <= ANNOUNCE_INTERVAL_S * ANNOUNCE_JITTER + 0.1 for w in waits[4:])
    assert max(waits[4:]) - min(waits[4:]) > 1


@pytest.mark.parametrize("said", [False, True])
def test_who_asks_for_answers(said: bool) -> None:
    """Whatever is said of answers in what is to be announced."""
    discovery, sock = fake()
    discovery._announce = lambda: Announce("10.0.0.5", 9000, 2, "", (), 1, said)

    async def ticks() -> None:
        for _ in range(len(ANNOUNCE_FIRST_S) + 2):
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
    asyncio.run(ticks())
    assert sock.asks() == [True, True] * len(ANNOUNCE_FIRST_S) + [False, False] * 2
    discovery.paused = True
    asyncio.run(ticks())
    discovery.probe()
    assert sock.said == []


def test_while_a_secret_is_replaced_everything_is_sealed_with_both() -> None:
    discovery, sock = fake(old_mac_key=OLD_KEY)
    discovery.greet("10.0.0.9", 77)
    for data, key in zip(sock.said, (KEY, OLD_KEY), strict=True):
        assert DatagramGate(key).open(data, NOW).incarnation == 2


@pytest.mark.parametrize(
    "error", [PermissionError(1, "Operation not permitted"), OSError(101, "Network is unreachable"), OSError("gone")]
)
def test_sending_fails(error: OSError, caplog: pytest.LogCaptureFixture) -> None:
    words = error.strerror or "gone"
    discovery, sock = fake(error=error)
    for _ in range(3):
        discovery.probe()
    assert [words in r.getMessage() for r in caplog.records] == [True]
    sock.error = OSError("something else")
    discovery.close()
    assert "something else" in caplog.text


def test_a_full_buffer_is_a_lost_datagram(caplog: pytest.LogCaptureFixture) -> None:
    discovery, _ = fake(error=BlockingIOError(11, "would block"))
    discovery.probe()
    assert not caplog.records


# what it hears


@pytest.mark.parametrize(
    "own",
    [
        OwnAddress("127.0.0.1", (ETH0,), "", True),
        OwnAddress("127.0.0.2", (ETH0,), "", False),
        OwnAddress("10.0.0.5", (ETH0,), "", True),
    ],
)
def test_the_loopback_hears_and_answers_nobody_outside(own: OwnAddress) -> None:
    heard: list[int] = []
    discovery, sock = fake(own, heard)
    for reply in (True, False):
        data = encode(Announce("10.0.0.7", 9000, 7, "", (), 1, reply), KEY, NOW)
        discovery._receive(data, ("10.0.0.7", 5000))
    discovery._receive(b"garbage", ("10.0.0.7", 5000))
    assert (heard, sock.sent, discovery._gate.counts["magic"]) == ([], [], 0)
    discovery._receive(encode(Announce("127.0.0.7", 9000, 7, "", (), 1, True), KEY, NOW), ("127.0.0.7", 5000))
    assert (heard, sock.sent) == ([7], [("127.0.0.7", 5000)])


def test_whom_it_hears_and_answers_outside() -> None:
    heard: list[int] = []
    discovery, sock = fake(heard=heard)
    for incarnation, reply in ((7, True), (8, False), (2, True)):  # the last is this process
        data = encode(Announce("10.0.0.7", 9000, incarnation, "", (), 1, reply), KEY, NOW)
        discovery._receive(data, ("10.0.0.7", 5000))
    lie = Announce("127.0.0.1", 9000, 9, "", (), 1, True)
    discovery._receive(encode(lie, KEY, NOW), ("10.0.0.7", 5000))
    discovery._receive(encode(Leaving("10.0.0.7", 9000, 7), KEY, NOW), ("10.0.0.7", 5000))
    assert heard == [7, 8, -7]
    assert sock.sent == [("10.0.0.7", 5000)]


@pytest.mark.parametrize("silent", ["paused", "closed"])
def test_who_is_paused_or_closed_hears_nothing(silent: str) -> None:
    heard: list[int] = []
    discovery, sock = fake(heard=heard)
    if silent == "paused":
        discovery.paused = True
    else:
        discovery._private = None  # a datagram was on its way
    discovery._receive(encode(Announce("10.0.0.7", 9000, 7, "", (), 1, True), KEY, NOW), ("10.0.0.7", 5000))
    discovery._receive(b"garbage", ("10.0.0.7", 5000))
    assert (heard, sock.sent, discovery._gate.counts["magic"]) == ([], [], 0)


def test_garbage_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COMPLAINTS_MAX", 3)
    heard: list[int] = []
    discovery, sock = fake(heard=heard)
    for sender in range(50, 60):
        for _ in range(3):
            discovery._receive(b"hello", (f"10.0.0.{sender}", 5000))
    assert discovery._gate.counts["magic"] == 30
    logged = [r for r in caplog.records if "is not a parkcos datagram" in r.getMessage()]
    assert len(logged) == 3 and {r.levelno for r in logged} == {logging.WARNING}
    assert heard == [] and sock.sent == []


# its sockets


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("shared", [False, True])
def test_options_of_the_sockets(family: socket.AddressFamily, shared: bool) -> None:
    port = free_ports(1)[0]  # that nobody uses now
    with module.bound_socket(family, "", port, shared=shared) as sock, socket.socket(family, sock.type) as plain:
        buffers = [each.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) for each in (sock, plain)]
        assert buffers[0] > buffers[1]
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


def test_what_goes_to_the_group_leaves_by_the_own_interface_and_stays_in_its_network() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        module.send_to_group(sock, OwnAddress("127.0.0.1", (Interface("lo", "127.0.0.1"),), "", True))
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, 4) == socket.inet_aton("127.0.0.1")
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 1
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        module.send_to_group(sock, OwnAddress("::1", (Interface("lo", "::1"),), "", True))
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF) == socket.if_nametoindex("lo")
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS) == 1


def test_who_has_joined_a_group_can_leave_it() -> None:
    """The system lets nobody leave a group that it is not in."""
    group_v4 = socket.inet_aton(GROUP_V4) + socket.inet_aton("127.0.0.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        module.join_group(sock, OwnAddress("127.0.0.1", (Interface("lo", "127.0.0.1"),), "", True))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, group_v4)
    group_v6 = socket.inet_pton(socket.AF_INET6, GROUP_V6) + struct.pack("@I", socket.if_nametoindex("lo"))
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        module.join_group(sock, OwnAddress("::1", (Interface("lo", "::1"),), "", True))
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, group_v6)
