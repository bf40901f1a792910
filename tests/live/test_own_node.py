"""Processes for single tasks, as a node starts them: this process says to it what a client would."""

from __future__ import annotations

import os
import queue
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar

import cloudpickle
import psutil
import pytest

from parkcos import Location, Parkcos
from parkcos.client.circle import Circle
from parkcos.cluster import messages as m
from parkcos.cluster import server_messages as sm
from parkcos.cluster.bundle import Bundle, encode_bundle
from parkcos.cluster.message import Message
from parkcos.cluster.postbox import Postbox
from parkcos.net.payload import PICKLE, Buffer
from parkcos.net.tasks import outcomes
from tests.live.lib import LIMIT_S, SECRET, Ports, gone
from tests.live.test_any_message import connected

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.name != "posix", reason="there are no forks")]

A = 4711
"""The client's number."""
OWN_MAX = 3

Said = TypeVar("Said", bound=Message)


class ByHand:
    """A client of the node at `port`, which it has set up with one server."""

    def __init__(self, port: int) -> None:
        self.network = Parkcos.instance().network
        self.box = Postbox.of(self.network)
        self.said: queue.Queue[tuple[int, Any, int, Buffer]] = queue.Queue()
        self.box.serve("client", lambda *said: self.said.put(said))
        self.box.serve("scheduler", lambda *said: self.said.put(said))
        self.node = connected(self.network, port).incarnation
        at = self.network.location
        self.tell(m.ReserveNode(A, at.addr, at.port, self.network.incarnation))
        assert self.hear(m.NodeAnswer).ok
        self.circle = Circle(self.network.hub)
        setup = m.SetupNode(A, 1, pulse_s=1.0, grant=self.circle.grant_at(self.node))
        self.tell(setup, encode_bundle(Bundle([], [])))
        self.hear(m.NodeReady)
        self.server = self.hear(m.ServerUp)
        assert self.server.own == 0

    def tell(self, message: Message, payload: bytes = b"") -> None:
        assert self.box.send(self.node, "node", message, PICKLE, [payload] if payload else ())

    def hear(self, kind: type[Said]) -> Said:
        """The next message of that kind; others before it are passed over, but for the end of a process."""
        return self._hear(kind)[0]

    def _hear(self, kind: type[Said]) -> tuple[Said, int, Buffer]:
        while True:
            _, message, form, payload = self.said.get(timeout=LIMIT_S)
            if isinstance(message, kind):
                return message, form, payload
            assert not isinstance(message, m.ServerDown | m.OwnRefused | m.NodeFailed), message

    def start(self, own: int, niceness: int = 0) -> m.ServerUp:
        """Have a process started, and open it."""
        self.tell(m.StartOwn(A, own, niceness))
        up = self.hear(m.ServerUp)
        assert up.own == own
        self.open(up)
        return up

    def open(self, up: m.ServerUp) -> None:
        at = Location("127.0.0.1", up.port)
        self.circle.lives_at(up.incarnation, self.node, [at])
        self.network.hub.peer_at(at, up.incarnation)
        self.box.send(up.incarnation, "server", sm.OpenServer(A, False))
        self.hear(sm.ServerReady)

    def run(self, up: m.ServerUp, fn: Callable[..., Any], *args: Any) -> Any:
        """What a task there gives."""
        self.begin(up, fn, *args)
        ended, form, payload = self._hear(sm.TaskEnded)
        return outcomes.unpack(ended.kind, form, payload, "there").value

    def begin(self, up: m.ServerUp, fn: Callable[..., Any], *args: Any) -> None:
        cloudpickle.register_pickle_by_value(sys.modules[__name__])
        call = cloudpickle.dumps((fn, args, {}))
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
        assert self.box.send(up.incarnation, "server", sm.RunTask(A, 1, "task", False), PICKLE, [call])

    def close(self) -> None:
        self.tell(m.CloseNode(A, terminate=True))
        while not isinstance(self.said.get(timeout=LIMIT_S)[1], m.NodeClosed):
            pass


@pytest.fixture
def by_hand(ports: Ports) -> Iterator[ByHand]:
    node, port = ports.node(1, "--own_max", str(OWN_MAX))
    with node:
        node.wait_for("uses address")
        Parkcos(host="127.0.0.1", udp_port=ports.udp - 1, secret=SECRET, discover_peers=False)
        try:
            yield ByHand(port)
        finally:
            Parkcos.instance().terminate()
    assert not node.find("Traceback"), node.text


def whereabouts() -> Generator[Any, Any, tuple[int, int, str]]:
    yield
    open("left behind", "w").close()
    return os.getpid(), os.nice(0), os.getcwd()


def test_from_its_start_to_its_end(by_hand: ByHand) -> None:
    first = by_hand.start(1, niceness=7)
    pid, niceness, folder = by_hand.run(first, whereabouts)
    assert niceness == os.nice(0) + 7
    assert os.listdir(folder) == ["left behind"]
    second = by_hand.start(2)
    other, niceness, elsewhere = by_hand.run(second, whereabouts)
    assert niceness == os.nice(0)
    assert (pid != other, folder != elsewhere) == (True, True)
    process = psutil.Process(pid)
    by_hand.tell(m.EndOwn(A, 1, terminate=False))
    assert by_hand.hear(m.ServerDown) == m.ServerDown(A, first.incarnation, "it ended", False, True)
    assert not gone([process])
    assert not Path(folder).exists(), "its files go with it"
    assert Path(elsewhere).exists()
    by_hand.close()
    assert not Path(elsewhere).exists()


def computes() -> Generator[Any, Any, None]:
    yield
    while True:
        pass


def test_one_that_is_killed_or_ended_dies_alone(by_hand: ByHand) -> None:
    by_hand.open(by_hand.server)
    pid, _, _ = by_hand.run(by_hand.server, whereabouts)
    first, second = by_hand.start(1), by_hand.start(2)
    mine, _, _ = by_hand.run(first, whereabouts)
    os.kill(mine, signal.SIGKILL)
    down = by_hand.hear(m.ServerDown)
    assert (down.incarnation, down.restarts, down.asked) == (first.incarnation, False, False)
    assert "killed by signal 9" in down.reason
    by_hand.begin(second, computes)
    by_hand.hear(sm.TaskStarted)
    by_hand.tell(m.EndOwn(A, 2, terminate=True))
    ended, _, _ = by_hand._hear(sm.TaskEnded)
    assert ended.cut, "what computed is interrupted"
    assert by_hand.hear(m.ServerDown).incarnation == second.incarnation
    assert psutil.pid_exists(pid)
    assert by_hand.run(by_hand.server, whereabouts)[0] == pid, "the server beside them goes on"
    by_hand.close()


def test_not_more_than_the_node_may_have(by_hand: ByHand) -> None:
    for own in range(1, OWN_MAX + 1):
        by_hand.start(own)
    by_hand.tell(m.StartOwn(A, 99))
    refused = by_hand.hear(m.OwnRefused)
    assert (refused.own, refused.reason) == (
        99,
        "the node has 3 processes beside its servers, and may have 3 (--own_max)",
    )
    by_hand.tell(m.EndOwn(A, 1, terminate=False))
    by_hand.hear(m.ServerDown)
    by_hand.start(99)
    by_hand.close()


def test_one_that_is_not_wanted_any_more_before_it_is_up(by_hand: ByHand) -> None:
    """It ends, whatever it was at, and its client hears of it once."""
    kinds: set[type] = set()
    for own in range(1, 41):
        by_hand.tell(m.StartOwn(A, own))
        if own % 3:
            time.sleep(0.002 * own)  # at any moment of its start
        by_hand.tell(m.EndOwn(A, own, terminate=own % 2 == 0))
        while True:
            _, message, _, _ = by_hand.said.get(timeout=LIMIT_S)
            if isinstance(message, m.OwnRefused | m.ServerDown):
                break
        assert not isinstance(message, m.OwnRefused) or message.own == own
        kinds.add(type(message))
    assert kinds == {m.OwnRefused, m.ServerDown}
    by_hand.close()


def test_all_end_with_their_client(by_hand: ByHand) -> None:
    pids = [by_hand.run(by_hand.start(own), whereabouts)[0] for own in (1, 2)]
    processes = [psutil.Process(pid) for pid in pids]
    Parkcos.instance().terminate()
    assert not gone(processes)


def stops_the_zygote() -> Generator[Any, Any, None]:
    yield
    os.kill(os.getppid(), signal.SIGSTOP)


def test_one_that_stops_the_process_it_was_forked_from_is_not_waited_for(by_hand: ByHand) -> None:
    """Nobody hears of its end there: so that process is ended, and its client told."""
    by_hand.run(by_hand.start(1), stops_the_zygote)
    by_hand.tell(m.EndOwn(A, 1, terminate=True))
    kinds = []
    while m.NodeClosed not in kinds:
        kinds.append(type(by_hand.said.get(timeout=LIMIT_S)[1]))
    assert m.NodeFailed in kinds
