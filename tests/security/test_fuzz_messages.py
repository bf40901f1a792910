"""Whatever a member of the cluster says to scheduler, node, server and client: when it has left, all serve as before.

For a longer run: ``make fuzz SECONDS=600``.
"""

from __future__ import annotations

import random
import threading
import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from parkcos import Location, Parkcos
from parkcos.cluster import messages as m
from parkcos.cluster import schemas
from parkcos.cluster.bundle import Bundle, encode_bundle
from parkcos.cluster.postbox import Postbox
from parkcos.net import wire
from parkcos.net.network import Network
from parkcos.net.session.frames import BIG, DATA, PART
from parkcos.net.session.peer import Peer
from parkcos.net.trust.secret import ClusterKeys
from tests.live.any_message import Strange
from tests.live.lib import LIMIT_S, Ports, Program
from tests.live.test_any_message import SERVICES as SERVICES_THERE
from tests.live.test_any_message import answers, connected, member
from tests.security.fuzzing import SECONDS, seeds

pytestmark = [pytest.mark.live, pytest.mark.timeout(0 if SECONDS else 240)]

__all__ = ["member"]

SERVICES = SERVICES_THERE | {"nobody": m.ToNode}
TROUBLE = r"Traceback|Exception in callback|cannot be handled|could not be handled|never retrieved"

PROGRAM = """
def square(n, task=None):
    yield task.sleep(0.01)
    return n * n

def where():
    yield
    return cur_task().location

def rounds(task=None):
    client = Client([square, where], name="squares")
    assert (yield client.schedule(timeout=20)) == 0
    print("server at", (yield (yield client.rtask(where)).finish()), flush=True)
    print("client at", Parkcos.instance().location, flush=True)
    keys = client._shell.circle._keys
    print("keys", keys.name, keys.ca_seed.hex(), flush=True)
    while True:
        rtasks = []
        for n in range(10):
            rtasks.append((yield client.rtask(square, n)))
        total = 0
        for rtask in rtasks:
            total += yield rtask.finish()
        print(f"total {total}", flush=True)
        line = yield io(read())
        if line != "again":
            break
    yield client.close()
    print("closed", flush=True)

async def read():
    import asyncio
    return (await asyncio.to_thread(sys.stdin.readline)).strip()

Task(rounds)
"""


class Attacker:
    """Says strange things to one process.  port: its TCP port."""

    def __init__(self, network: Network, port: int, known: list[int]) -> None:
        self.network = network
        self.port = port
        self.known = known
        self.said = 0

    def peer(self) -> Peer:
        """That process, dialled again if it has ended the session."""
        return connected(self.network, self.port)

    def attack(self, seed: int) -> None:
        """One message of each kind, well-formed or not; then frames that make no sense, which end the session."""
        strange = Strange(seed, [self.peer().incarnation, self.network.incarnation, *self.known, 1, 2])
        draw = random.Random(seed)
        for service, kinds in SERVICES.items():
            for kind in typing.get_args(kinds):
                body = msgspec.msgpack.encode(strange.message(kind, valid=draw.random() < 0.7))
                payload = draw.choice([b"", b"nonsense", draw.randbytes(200), b"z" * 100_000])
                self.said += self.network.post_service(
                    self.peer(), service, body, draw.choice([0, 1, 2, 255]), [payload] if payload else ()
                )
        for kind in typing.get_args(wire.AnyMessage):
            if kind is not wire.Service:
                self.frame(DATA, msgspec.msgpack.encode([strange.message(kind, valid=True)]))
        answers(self.network, self.port)
        self.frame(
            draw.choice([DATA, BIG, PART, 99]),
            draw.choice([b"", draw.randbytes(8), draw.randbytes(50), msgspec.msgpack.encode([[99, 1]])]),
        )
        answers(self.network, self.port)

    def frame(self, kind: int, body: bytes) -> None:
        peer = self.peer()
        with peer.lock:
            peer.session.queue(kind, [body])
        self.said += peer.post(wire.WhoIs("", 1 << 40))


def works(client: Program) -> None:
    """It does another round of real work."""
    times = len(client.find("total 285"))
    client.say("again\n")
    client.wait_for("total 285", times=times + 1)


def test_all_serve_while_and_after_a_member_says_strange_things(ports: Ports, member: Network, tmp_path: Path) -> None:
    scheduler, scheduler_port = ports.scheduler()
    node, node_port = ports.node(2)
    with scheduler, node:
        node.wait_for("belongs to the shared scheduler")
        with ports.client(tmp_path, PROGRAM) as client:
            client.wait_for("total 285")
            places = {
                "scheduler": scheduler_port,
                "node": node_port,
                "server": int(client.wait_for(r"server at .*:(\d+)$")[1]),
                "client": int(client.wait_for(r"client at .*:(\d+)$")[1]),
            }
            name, ca_seed = client.wait_for(r"keys (\S+) (\S+)").groups()
            keys = ClusterKeys(bytes.fromhex(ca_seed), b"", name=name)  # those that a client has made for its servers
            member.hub.guests.welcome(keys)
            member.hub.guests.live_at([Location("127.0.0.1", places["server"])], keys.name)
            attackers = [Attacker(member, port, []) for port in places.values()]
            known = [attacker.peer().incarnation for attacker in attackers]
            for attacker in attackers:
                attacker.known = known
            assert [attacker.peer().max_payload for attacker in attackers] == [1 << 20, *[2 << 30] * 3]
            for seed in seeds(1, 4):
                print("seed", seed)
                for attacker in attackers:
                    attacker.attack(seed)
                works(client)
            assert all(attacker.said >= 100 for attacker in attackers)
            client.say("close\n")
            client.wait_for("closed")
            assert client.wait() == 0, client.text
        Parkcos.instance().terminate()
        with ports.client(tmp_path, PROGRAM, "second.py") as second:
            second.wait_for("using the shared scheduler")
            second.wait_for("total 285")
            second.say("close\n")
            assert second.wait() == 0, second.text
    for program in (scheduler, node, client, second):
        assert not program.find(TROUBLE), program.text
        assert len(program.lines) < 2000 + 20 * seed, "it fills the log: a few lines for each session are enough"


def test_a_client_that_has_lost_its_mind(ports: Ports, member: Network, tmp_path: Path) -> None:
    """It has its turn and a node, and so says all this in its own name; then it is gone, and the next one is served."""
    scheduler, scheduler_port = ports.scheduler()
    node, node_port = ports.node(2)
    with scheduler, node:
        node.wait_for("belongs to the shared scheduler")
        box = Postbox.of(member)
        granted = threading.Event()
        number = member.incarnation + 1
        at_scheduler = Attacker(member, scheduler_port, [])
        at_node = Attacker(member, node_port, [])

        def heard(process: int, message: Any, form: int, payload: Any) -> None:
            if isinstance(message, m.NodeOffer):
                box.send(process, "scheduler", m.WantNode(number, message.info.incarnation, 2))
            elif isinstance(message, m.NodeGranted):
                granted.set()

        box.serve("client", heard)
        python = member.hub.own.python
        for seed in seeds(1, 6):
            print("seed", seed)
            granted.clear()
            box.send(at_scheduler.peer().incarnation, "scheduler", m.Enqueue(number, "mad", python))
            assert granted.wait(LIMIT_S), "it gets no node"
            known = [number] * 3 + [at_node.peer().incarnation]
            at_node.known, at_scheduler.known = known, known
            if seed % 2:
                setup = schemas.encode(m.SetupNode(number, 2, setup_id=seed))
                member.post_service(at_node.peer(), "node", setup, 0, [encode_bundle(Bundle([], []))])
            at_node.attack(seed)
            at_scheduler.attack(1000 + seed)
            box.send(at_scheduler.peer().incarnation, "scheduler", m.ClientLeaves(number))
            number += 1
        Parkcos.instance().terminate()
        with ports.client(tmp_path, PROGRAM) as client:
            client.wait_for("total 285")
            client.say("close\n")
            assert client.wait() == 0, client.text
    for program in (scheduler, node):
        assert not program.find(TROUBLE), program.text
