"""A node that is cut off becomes a zombie: its tasks are neither lost nor run twice, also if it is given up."""

from __future__ import annotations

import textwrap
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab import HostProcess, Lab
from tests.netns.conftest import PATIENCE_S, Site

pytestmark = [pytest.mark.netns, pytest.mark.slow]

JOB = textwrap.dedent("""
    import logging, platform, sys
    from parkcos import Client, MonitorStatus, Parkcos, Scheduler, Status, Task, TaskAbandoned, logger

    secret, ledger, zombie, abandon = sys.argv[1:5]
    logging.basicConfig(level=logging.INFO)
    NAMES = {number: name for kind in Scheduler.__mro__ for name, number in vars(kind).items() if type(number) is int}

    def say(*words):  # in one piece: what is logged comes in between
        sys.stdout.write(" ".join(map(str, words)) + "\\n")

    def work(number, seconds, ledger, task=None):
        note(ledger, "begins", number)
        yield task.sleep(seconds)
        note(ledger, "ends", number)
        return platform.node()

    def note(ledger, what, number):
        with open(ledger, "a") as file:
            file.write(f"{what} {number}\\n")

    def statuses(main, task=None):
        task.set_daemon()
        while True:
            message = yield task.receive()
            if isinstance(message, MonitorStatus):
                say("MONITOR", message.info.name, message.type.__name__)
            elif isinstance(message, Status) and not NAMES[message.status].startswith("Task"):
                where = getattr(message.info, "location", message.info)
                if where is not None and where.addr == zombie:
                    say("STATUS", NAMES[message.status], where.port)
                    main.send(NAMES[message.status])

    def until(task, *names):  # in whatever order
        missing = list(names)
        while missing:
            name = yield task.receive()
            if name in missing:
                missing.remove(name)

    def one(client, number, seconds, where=None, task=None):
        run = client.options(name=f"number{number}")
        try:
            if where is None:
                rtask = yield run.rtask(work, number, seconds, ledger)
            else:
                rtask = yield run.rtask_at(where, work, number, seconds, ledger)
            say("RESULT", number, (yield rtask.result()))
        except TaskAbandoned as error:
            say("ABANDONED", number, error)

    def main(task=None):
        client = Client([work, note], status_task=Task(statuses, task), pulse_interval=0.2,
                        abandon_zombie_nodes=abandon == "at once")
        yield client.schedule(timeout=15)
        while len((yield client.servers())) < 4:
            yield task.sleep(0.05)
        for result in [Task(one, client, 1000 + n, 0) for n in range(60)]:  # some may be sent ahead
            yield result.finish()
        tasks = [Task(one, client, number, 3.0, zombie) for number in (1, 2)]
        yield task.sleep(0.2)
        tasks += [Task(one, client, number, 0, zombie) for number in range(3, 9)]
        say("RUNNING")
        yield until(task, "NodeDisconnected")
        if abandon == "later":
            client.abandon_zombie(zombie)
        for other in [Task(one, client, number, 0) for number in range(11, 17)]:
            yield other.finish()
        say("OTHERS DONE")
        for each in tasks:
            yield each.finish()
        say("ALL ENDED")
        back = "Resumed" if abandon == "never" else "Initialized"
        yield until(task, f"Node{back}", f"Server{back}", f"Server{back}")
        yield Task(one, client, 20, 0, zombie).finish()
        yield client.close()
        say("CLOSED")

    Parkcos(secret_file=secret)
    Task(main)
""")
"""1 and 2 run at the zombie when it is cut off, 3 to 8 must run there, 11 to 16 may anywhere; all note what they do."""


class Zombie:
    """Two nodes of two servers each, and a client of both, at one of which tasks run."""

    def __init__(self, lab: Callable[..., Lab], site: Site, abandon: str) -> None:
        self.site = site
        self.net = lab({"a": ["client", "zombie", "other"]})
        self.nodes = [site.node(self.net[name], "--min_pulse_interval", "0.2") for name in ("zombie", "other")]
        self.ledger = site.folder / "ledger"
        self.host = self.net["zombie"]
        self.client: HostProcess = site.client(self.net["client"], JOB, str(self.ledger), self.host.ip, abandon)
        site.wait_for(self.client, "RUNNING")
        self.until_noted("begins 1", "begins 2")

    def until_noted(self, *notes: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not set(notes) <= set(noted(self.ledger)):
            assert time.monotonic() < deadline, noted(self.ledger)
            time.sleep(0.02)

    def finish(self) -> list[str]:
        """What the client has said when it has ended, line by line."""
        said = self.site.finish(self.client).splitlines()
        self.site.end(*self.nodes)
        return said

    def check_ledger(self) -> None:
        """No task was begun twice."""
        for note, times in Counter(noted(self.ledger)).items():
            assert times == 1, f"{note!r}: {times} times"


def noted(ledger: Path) -> list[str]:
    return ledger.read_text().splitlines() if ledger.exists() else []


def of(said: list[str], *words: str) -> list[str]:
    """The lines that begin with one of these words."""
    return [line for line in said if line.split(" ")[0] in words]


def test_a_zombie_that_comes_back(lab: Callable[..., Lab], site: Site) -> None:
    zombie = Zombie(lab, site, "never")
    zombie.host.isolate()
    said = site.wait_for(zombie.client, "OTHERS DONE")
    results = {line for line in of(said.splitlines(), "RESULT") if int(line.split()[1]) < 1000}
    assert results == {f"RESULT {number} other" for number in range(11, 17)}, "there is another node"
    zombie.until_noted("ends 1", "ends 2")
    zombie.host.rejoin()
    lines = zombie.finish()
    assert not of(lines, "ABANDONED")
    assert {f"RESULT {number} zombie" for number in (*range(1, 9), 20)} <= set(lines)
    zombie.check_ledger()
    statuses = [line.split(" ")[1:] for line in of(lines, "STATUS")]
    ports = sorted({port for _, port in statuses})
    assert len(ports) == 3, "of the node and its two servers"
    told = {port: [name for name, at in statuses if at == port] for port in ports}
    kinds = {"Node": 1, "Server": 2}
    for kind, times in kinds.items():
        names = ["Discovered", "Initialized", "Disconnected", "Resumed", "Closed"]
        assert list(told.values()).count([kind + name for name in names]) == times, told


@pytest.mark.parametrize("when", ["at once", "later"])
def test_a_zombie_that_is_given_up_and_comes_back(lab: Callable[..., Lab], site: Site, when: str) -> None:
    zombie = Zombie(lab, site, when)
    zombie.host.isolate()
    site.wait_for(zombie.client, "ALL ENDED")
    zombie.until_noted("ends 1", "ends 2")  # it knows nothing of that
    zombie.host.rejoin()
    lines = zombie.finish()
    assert sorted(int(line.split()[1]) for line in of(lines, "ABANDONED")) == list(range(1, 9)), "each once"
    assert sorted(int(line.split()[1]) for line in of(lines, "RESULT")) == [*range(11, 17), 20, *range(1000, 1060)]
    monitored = Counter(of(lines, "MONITOR"))
    assert set(monitored.values()) == {1}
    for number in (1, 2):
        assert monitored[f"MONITOR number{number} TaskAbandoned"] == 1
        assert not any(f"number{number} StopIteration" in line for line in monitored), "that came too late"
    zombie.check_ledger()
    told = [line.split(" ")[1] for line in of(lines, "STATUS")]
    assert [name for name in told if name.startswith("Node")] == [
        "NodeDiscovered", "NodeInitialized", "NodeDisconnected", "NodeAbandoned",
        "NodeDiscovered", "NodeInitialized", "NodeClosed",
    ]  # fmt: skip
    assert told.count("ServerAbandoned") == 2
    assert told.count("ServerClosed") == 2


IMPATIENT_NODE = textwrap.dedent("""
    import logging, sys
    from pathlib import Path
    from parkcos.net.options import NetworkOptions
    from parkcos.net.trust.secret import cluster_keys
    from parkcos.commands.node import run
    from parkcos.node.offer import NodeOptions

    secret, folder = map(Path, sys.argv[1:3])
    logging.basicConfig(level=logging.INFO)
    network = NetworkOptions(tcp_ports=(9706,), udp_port=9706, roles=("node",), dial_roles=set(), pulse_s=0.5)
    network.keys = cluster_keys(None, secret)
    sys.exit(run(network, NodeOptions(1, dest_path=folder, pulse_intervals=(0.2, 10.0))))
""")
"""A node that gives up a process that it has not heard for 7.5 s, while others pulse every 5 s."""

TWO_TASKS = textwrap.dedent("""
    import logging, sys
    from parkcos import Client, Parkcos, Task

    secret, scheduler = sys.argv[1:3]
    logging.basicConfig(level=logging.INFO)

    def work(task=None):
        yield task.sleep(0)
        return "worked"

    def waits(task=None):
        yield task.receive()

    def main(task=None):
        client = Client([work, waits], pulse_interval=0.2)
        yield client.schedule(scheduler, timeout=15)
        print("FIRST", (yield (yield client.rtask(work)).result()))
        yield (yield client.rtask(waits)).finish()  # until its server is lost
        print("LOST")
        print("SECOND", (yield (yield client.rtask(work)).result()))
        yield client.close()
        print("CLOSED")

    Parkcos(secret_file=secret)
    Task(main)
""")


def test_the_only_node_gives_its_client_up_first_and_is_used_again(lab: Callable[..., Lab], site: Site) -> None:
    net = lab({"a": ["client", "node", "scheduler"]})
    site.scheduler(net["scheduler"])
    program = site.folder / "node.py"
    program.write_text(IMPATIENT_NODE)
    node = site.start(net["node"], str(program), str(site.secret), str(site.folder / "dest"))
    client = site.client(net["client"], TWO_TASKS, net["scheduler"].ip)
    site.wait_for(client, "FIRST worked")
    site.wait_for(node, "setup -> serving")
    net.oneway("client", "node")
    site.wait_for(client, "nothing is heard of it")
    site.wait_for(node, "closing -> wiping")
    site.wait_for(node, "free -> reserved")  # its scheduler has offered it again, and the client wants it
    net.mend()
    said = site.finish(client)
    assert "SECOND worked" in said and "CLOSED" in said
    site.end(node)
