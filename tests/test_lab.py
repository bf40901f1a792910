"""The lab itself: what a test on several hosts may rely on."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.lab import Host, Lab

pytestmark = [pytest.mark.netns, pytest.mark.live]

PORT = 9999
SILENCE_S = 0.15  # how long to listen before saying that nothing comes; what comes takes well under 1 ms
PATIENCE_S = 5.0  # how long to wait for what must come; a repeated ARP question alone takes 1 s


class Mailbox:
    """One UDP socket on each host."""

    def __init__(self, lab: Lab) -> None:
        self._count = 0
        self._sockets: dict[str, socket.socket] = {}
        for name, host in lab.hosts.items():
            mailbox = self._sockets[name] = host.socket(kind=socket.SOCK_DGRAM)
            mailbox.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            mailbox.bind(("", PORT))

    def send(self, source: str, address: str) -> bytes:
        """Send a letter that no other equals: one that waited for an ARP answer may come after the healing."""
        self._count += 1
        letter = b"letter %d" % self._count
        self._sockets[source].sendto(letter, (address, PORT))
        return letter

    def comes(self, letter: bytes, target: str, within_s: float) -> bool:
        deadline = time.monotonic() + within_s
        while (left := deadline - time.monotonic()) > 0:
            self._sockets[target].settimeout(left)
            with contextlib.suppress(TimeoutError):
                if self._sockets[target].recv(100) == letter:
                    return True
        return False

    def passes(self, source: str, target: Host) -> bool:
        return self.comes(self.send(source, target.ip), target.name, PATIENCE_S)

    def is_cut(self, source: str, target: Host) -> bool:
        return not self.comes(self.send(source, target.ip), target.name, SILENCE_S)

    def close(self) -> None:
        for mailbox in self._sockets.values():
            mailbox.close()


@pytest.fixture
def mailbox() -> Iterator[Callable[[Lab], Mailbox]]:
    with contextlib.ExitStack() as stack:
        yield lambda net: stack.enter_context(contextlib.closing(Mailbox(net)))


def test_hosts_have_names_addresses_and_processes_of_their_own(lab: Callable[..., Lab]) -> None:
    links = os.listdir("/sys/class/net")
    net = lab({"a": ["h1", "h2"]})
    assert [net[name].ip for name in ("h1", "h2")] == ["10.77.0.1", "10.77.0.2"]
    for name in ("h1", "h2"):
        assert net[name].check_output(["hostname"]).strip() == name
        assert int(net[name].check_output(["sh", "-c", "echo $$"])) < 10
    net["h1"].run(["ping", "-c1", "-W2", net["h2"].ip6], check=True, stdout=subprocess.DEVNULL)
    assert os.listdir("/sys/class/net") == links


def test_broadcast_stays_in_its_lan_and_unicast_crosses_the_router(
    lab: Callable[..., Lab], mailbox: Callable[[Lab], Mailbox]
) -> None:
    net = lab({"a": ["h1", "h2"], "b": ["h3"]}, routers={"r": ["a", "b"]})
    mail = mailbox(net)
    for address in ("255.255.255.255", "10.77.0.255"):
        letter = mail.send("h1", address)
        assert mail.comes(letter, "h2", PATIENCE_S)
        assert not mail.comes(letter, "h3", SILENCE_S)
    assert mail.passes("h1", net["h3"])
    assert mail.passes("h3", net["h2"])


def test_partition_and_mend(lab: Callable[..., Lab], mailbox: Callable[[Lab], Mailbox]) -> None:
    net = lab({"a": ["h1", "h2", "h3"], "b": ["h4"]}, routers={"r": ["a", "b"]})
    mail = mailbox(net)
    net.partition(["h1"], ["h2", "h4"])
    for other in ("h2", "h4"):
        assert mail.is_cut("h1", net[other])
        assert mail.is_cut(other, net["h1"])
    assert mail.passes("h1", net["h3"])
    assert mail.passes("h4", net["h2"])
    net.mend()
    assert mail.passes("h1", net["h2"])
    assert mail.passes("h4", net["h1"])


def test_one_way_cut_and_loss(lab: Callable[..., Lab], mailbox: Callable[[Lab], Mailbox]) -> None:
    net = lab({"a": ["h1", "h2"]})
    mail = mailbox(net)
    assert mail.passes("h1", net["h2"])  # each knows the other's hardware address now
    net.oneway("h1", "h2")
    assert mail.is_cut("h1", net["h2"])
    assert mail.passes("h2", net["h1"])
    net.mend()

    net["h2"].lose(0.5)
    arrived = sum(mail.comes(mail.send("h1", net["h2"].ip), "h2", 0.005) for _ in range(100))
    assert 20 < arrived < 80
    net["h2"].lose(0)
    assert mail.passes("h1", net["h2"])


def test_cable_and_isolation(lab: Callable[..., Lab], mailbox: Callable[[Lab], Mailbox]) -> None:
    net = lab({"a": ["h1", "h2"]})
    mail = mailbox(net)
    for cut, heal in ((net["h1"].unplug, net["h1"].plug), (net["h1"].isolate, net["h1"].rejoin)):
        assert mail.passes("h1", net["h2"])
        cut()
        assert mail.is_cut("h2", net["h1"])
        heal()


ECHO = textwrap.dedent(f"""
    import socket
    listener = socket.create_server(("", {PORT}))
    connection, _ = listener.accept()
    while data := connection.recv(100):
        connection.sendall(data)
""")


def connect(host: Host, address: str) -> socket.socket:
    deadline = time.monotonic() + 10
    while True:
        client = host.socket()
        client.settimeout(5)
        try:
            client.connect((address, PORT))
            return client
        except ConnectionRefusedError:
            client.close()
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_pause_and_crash(lab: Callable[..., Lab]) -> None:
    net = lab({"a": ["h1", "h2"]})
    server = net["h2"].popen([sys.executable, "-c", ECHO])
    with connect(net["h1"], net["h2"].ip) as client:
        client.sendall(b"one")
        assert client.recv(100) == b"one"

        net["h2"].pause()
        client.sendall(b"two")
        client.settimeout(SILENCE_S)
        with pytest.raises(TimeoutError):
            client.recv(100)
        net["h2"].resume()
        client.settimeout(5)
        assert client.recv(100) == b"two"

        net["h2"].crash()  # a dead host says no goodbye: its peer still believes in the connection
        server.wait(5)
        client.settimeout(SILENCE_S)
        with pytest.raises(TimeoutError):
            client.recv(100)


def test_signals_go_to_the_command_and_not_to_nsenter(lab: Callable[..., Lab]) -> None:
    host = lab({"a": ["h1"]})["h1"]
    process = host.popen(["sleep", "100"])
    assert process.real_pid in host.pids()
    process.terminate()
    process.wait(5)
    assert process.real_pid not in host.pids()


def test_nothing_is_left_when_the_test_process_is_killed() -> None:
    program = textwrap.dedent("""
        import sys, time
        from tests.lab import Lab
        with Lab({"a": ["h1", "h2"]}) as lab:
            sleeper = lab["h1"].popen(["sleep", "100"])
            print(lab["h1"].init_pid, lab["h2"].init_pid, sleeper.pid, sleeper.real_pid, flush=True)
            time.sleep(100)
    """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 4
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_S
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
