"""Programs of dispycos at the servers of a node that knows nothing of this layer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.compat.conftest import BEGINNING, CLUSTER, Programs
from tests.live.lib import Ports, Program
from tests.secret import secret_file

pytestmark = pytest.mark.live


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    """For what a test starts and wants ended."""
    with contextlib.ExitStack() as stack:
        yield stack


def run(cluster: Programs, source: str, *hidden: str) -> list[str]:
    """What the program prints.  hidden: what occurs in lines of the log, which are left out."""
    lines = cluster.run(CLUSTER + f"NODE_PORT = {cluster.node_port}\n" + source)
    return [line for line in lines if not any(text in line for text in hidden)]


def test_results_statuses_and_failures(cluster: Programs) -> None:
    source = """
def compute(n, task=None):
    yield task.sleep(0.01)
    if n == 3:
        raise ValueError("three")
    raise StopIteration(n * n)

def plain(n):
    return n

def status_proc(task=None):
    task.set_daemon()
    while 1:
        msg = yield task.receive()
        if isinstance(msg, DispycosStatus):
            seen.append(msg.status)
            if msg.status == Scheduler.NodeDiscovered:
                assert 0 <= msg.info.avail_info.cpu <= 100 and msg.info.avail_info.swap >= 0
            if msg.status == Scheduler.NodeInitialized:
                assert isinstance(msg.info, DispycosNodeInfo)
                info = msg.info
                print(info.addr, info.cpus, info.platform != "", isinstance(info.avail_info, DispycosNodeAvailInfo))
                print(info.avail_info.location == info.location, info.location.addr == info.addr)
            elif msg.status == Scheduler.TaskCreated:
                assert isinstance(msg.info, DispycosTaskInfo)
                started.append(msg.info.args)
        elif isinstance(msg, pycos.MonitorStatus):
            ended.append(msg.type.__name__)

def client_proc(task=None):
    client.status_task = pycos.Task(status_proc)
    print("scheduled", (yield client.schedule()))
    rtasks = []
    for i in range(6):
        rtask = yield client.rtask(compute, i)
        assert isinstance(rtask, pycos.Task), rtask
        rtasks.append(rtask)
    for rtask in rtasks:
        result = yield rtask()
        if isinstance(result, pycos.MonitorStatus):
            result = result.type, "three" in result.value
        print(result)
    print((yield client.rtask(plain, 1)), (yield client.rtask(compute)), (yield client.rtask(compute, sys.stdout)))
    print((yield client.rtask_at("127.0.0.9", compute, 1)), (yield client.run_async(compute, 9)).name)
    print((yield client.schedule()), (yield Client(compute).rtask(compute, 1)))
    print(len((yield client.servers())) in (1, 2), (yield client.nodes()), (yield client.tasks()) is not None)
    print((yield client.close()))
    yield task.sleep(0.1)
    print({Scheduler.NodeDiscovered, Scheduler.ServerInitialized, Scheduler.ServerClosed} <= set(seen))
    print(ended.count("StopIteration") >= 5, ended.count("ValueError"), ((5,) in started) or len(started))

seen, started, ended = [], [], []
client = Client([compute])
pycos.Task(client_proc).value()
"""
    lines = cluster.run(CLUSTER + source)
    shown = [line for line in lines if "rtask" not in line and not line.startswith(("  ", "E  "))]
    assert shown[0] == "scheduled 0"
    assert (
        shown[-13:]
        == [
            "0",
            "1",
            "4",
            "(<class 'ValueError'>, True)",
            "16",
            "25",
            "None None None",
            "None compute",
            "-1 None",
            "True ['127.0.0.1'] True",
            "None",
            "True",
            "True 1 True",
        ]
        or shown
    )
    assert "127.0.0.1 2 True True" in shown and "True True" in shown


def test_what_servers_find(cluster: Programs, node: Program) -> None:
    (cluster.folder / "lib").mkdir()
    (cluster.folder / "lib" / "helper.txt").write_text("a file")
    (cluster.folder / "helper.py").write_text(
        "import pycos\ndef old(task=None):\n    yield task.sleep(0)\n    raise StopIteration('old ' + pycos.__name__)\n"
    )
    lines = run(
        cluster,
        """
import helper

class C:
    def __init__(self, x):
        self.x = x

def look(task=None):
    import sys, os
    import pycos.asyncfile
    import pycos.netpycos
    yield
    names = [n for n in ("pycos", "dispycos_close_server", "dispycos_close_node", "time", "hashlib") if n in globals()]
    print(names)
    return (names, __name__, os.path.basename(os.getcwd()), open("../helper.txt").read(),
            sys.path[0] in (os.getcwd(), os.path.dirname(os.getcwd())), pycos.Pycos().location == task.location,
            pycos.Task is pycos.netpycos.Task, pycos.asyncfile.AsyncPipe.__name__)

def uses_helper(task=None):
    import helper
    return (yield helper.old(task=task))

def moves(c, task=None):
    yield
    c.x += 1
    raise StopIteration(c)

def makes_tasks(task=None):
    def inner(n, task=None):
        yield task.sleep(0.01)
        raise StopIteration(n)
    tasks = [pycos.Task(inner, i) for i in range(3)]
    got = []
    for each in tasks:
        got.append((yield each()))
    pycos.logger.info("made")
    return got

def main(task=None):
    yield client.schedule()
    result = yield (yield client.rtask(look))()
    print(*result, sep="\\n")
    print((yield (yield client.rtask(uses_helper))()))
    moved = yield (yield client.rtask(moves, C(1)))()
    print(type(moved) is C, moved.x, (yield (yield client.rtask(makes_tasks))()))
    yield client.close()

client = Client([look, C, helper, "lib/helper.txt"])
pycos.Task(main).value()
""",
    )
    assert lines[:2] == [
        "['pycos', 'dispycos_close_server', 'dispycos_close_node', 'time', 'hashlib']",
        "__main__",
    ]
    assert lines[2].startswith("parkcosproc-")
    assert lines[3:8] == ["a file", "True", "True", "True", "AsyncPipe"]
    assert lines[8:] == ["old parkcos.compat.pycos", "True 2 [0, 1, 2]"]
    node.wait_for("pycos - made")


def test_old_sources_of_all_kinds_at_servers(cluster: Programs) -> None:
    (cluster.folder / "old.py").write_text(
        "class Old:\n    def __init__(self, n):\n        self.n = n\n"
        "    def method(self, task=None):\n        yield task.sleep(0)\n        raise StopIteration(self.n)\n"
    )
    lines = run(
        cluster,
        """
import functools, old

def doubled(f):
    @functools.wraps(f)
    def inner(n, task=None):
        value = yield f(n, task=task)
        raise StopIteration(2 * value)
    return inner

@doubled
def decorated(n, task=None):
    yield task.sleep(0)
    raise StopIteration(n)

class Holder:
    def __init__(self, n):
        self.n = n
    def get(self, task=None):
        try:
            yield task.sleep(0)
            raise StopIteration(self.n)
        except Exception:
            raise StopIteration(-self.n)

def holds(holder, task=None):
    value = yield holder.get(task=task)
    raise StopIteration(value)

def fails(task=None):
    yield task.sleep(0)
    if task is None:
        raise StopIteration

    raise ValueError("here")

def uses_module(task=None):
    yield task.sleep(0)
    raise StopIteration((yield old.Old(5).method(task=task)))

def main(task=None):
    yield client.schedule()
    for call in (decorated, 4), (holds, Holder(3)), (uses_module,), (fails,):
        result = yield (yield client.rtask(*call))()
        if isinstance(result, pycos.MonitorStatus):
            print([line for line in result.value.splitlines() if "program.py" in line][-1].split(", ")[1:])
        else:
            print(result)
    yield client.close()

client = Client([decorated, Holder, holds, old])
pycos.Task(main).value()
""",
    )
    assert lines == ["8", "-3", "5", "['line 41', 'in fails']"]


def test_setups_of_nodes_and_servers_that_are_enabled(cluster: Programs) -> None:
    (cluster.folder / "numbers.txt").write_text("1 2 3")
    lines = run(
        cluster,
        """
def node_setup(name, task=None):
    global os, numbers
    import os
    assert pycos.Pycos() is pycos.Pycos.instance()  # there is no network yet, and this starts none
    with open(name) as file:
        numbers = [int(x) for x in file.read().split()]
    os.remove(name)
    ret = yield 0
    raise StopIteration(ret)

def server_setup(factor, task=None):
    global mine
    yield task.sleep(0.01)
    mine = factor
    raise StopIteration(0)

def total(task=None):
    yield
    return sum(numbers) * mine

def node_available(info, task=None):
    sent = yield pycos.Pycos().send_file(info.location, "numbers.txt", overwrite=True, timeout=10)
    print("sent", sent, (yield client.enable_node(info.location.addr, "numbers.txt")))

def status_proc(task=None):
    task.set_daemon()
    while 1:
        msg = yield task.receive()
        if not isinstance(msg, DispycosStatus):
            continue
        if msg.status == Scheduler.NodeDiscovered:
            pycos.Task(node_available, msg.info.avail_info)
        elif msg.status == Scheduler.ServerDiscovered:
            client.enable_server(msg.info, 10)

def main(task=None):
    yield client.schedule()
    print((yield (yield client.rtask(total))()))
    yield client.close()

client = Client([total], status_task=pycos.Task(status_proc), node_setup=node_setup, server_setup=server_setup,
                disable_nodes=True, disable_servers=True, nodes=[DispycosNodeAllocate("*", cpus=1)])
pycos.Task(main).value()
""",
    )
    assert lines == ["sent 0 None", "60"]


def test_servers_are_closed_and_restarted(cluster: Programs) -> None:
    lines = run(
        cluster,
        """
def work(task=None):
    global runs
    runs = globals().get("runs", 0) + 1
    yield
    dispycos_close_server()
    raise StopIteration(runs)

def again(task=None):
    global runs
    runs = globals().get("runs", 0) + 1
    yield
    return runs

def wait_for(status, task):
    while 1:
        msg = yield task.receive()
        if isinstance(msg, DispycosStatus) and msg.status == status:
            return msg.info

def main(task=None):
    client.status_task = task
    yield client.schedule()
    first = yield wait_for(Scheduler.ServerInitialized, task)
    print((yield (yield client.rtask_at(first, work))()))
    print((yield wait_for(Scheduler.ServerClosed, task)) == first)
    fresh = yield wait_for(Scheduler.ServerInitialized, task)
    print((yield (yield client.rtask_at(fresh, again))()))
    print((yield (yield client.rtask_at(fresh, again))()))
    print(client.restart_server(fresh))
    yield wait_for(Scheduler.ServerClosed, task)
    fresh = yield wait_for(Scheduler.ServerInitialized, task)
    print((yield (yield client.rtask_at(fresh, again))()))
    print(client.suspend_server(fresh), client.resume_server(fresh), client.suspend_node("127.0.0.1"))
    yield wait_for(Scheduler.NodeSuspended, task)
    print(client.resume_node("127.0.0.1"), client.close_server(pycos.Location("127.0.0.1", 1)))
    yield client.close()

client = Client([work], restart_servers=True, nodes=[DispycosNodeAllocate("*", cpus=1)])
pycos.Task(main).value()
""",
        "close_server()",
    )
    assert lines == ["1", "True", "1", "2", "None", "1", "None None None", "None None"]


def test_agents_and_streams(cluster: Programs) -> None:
    lines = run(
        cluster,
        """
def agent(client_task, task=None):
    task.register("agent")
    def meet(location, task=None):
        task.set_daemon()
        other = yield pycos.Task.locate("agent", location=location, timeout=15)
        if isinstance(other, pycos.Task):
            other.send(("met", None))
    def watch(task=None):
        task.set_daemon()
        while 1:
            status = yield task.receive()
            if status.status == pycos.PeerStatus.Online:
                pycos.Task(meet, status.location)
    pycos.Pycos.instance().peer_status(pycos.Task(watch))
    pycos.Pycos.instance().discover_peers()
    total = 0
    while 1:
        kind, n = yield task.receive()
        if kind == "met":
            client_task.send("met")
        elif n is None:
            break
        else:
            total += n
    client_task.send(total)

def status_proc(task=None):
    task.set_daemon()
    while 1:
        msg = yield task.receive()
        if isinstance(msg, DispycosStatus) and msg.status == Scheduler.ServerInitialized:
            rtask = yield client.rtask_at(msg.info, agent, client_task)
            print((yield pycos.Pycos.instance().peer(rtask.location, stream_send=True)))
            agents.append(rtask)

def main(task=None):
    client.status_task = pycos.Task(status_proc)
    yield client.schedule()
    print((yield task.receive()), (yield task.receive()))
    for i in range(1000):
        for a in agents:
            assert a.send(("n", i)) == 0
    for a in agents:
        a.send(("n", None))
    got = []
    while len(got) < 2:
        msg = yield task.receive()
        if msg != "met":
            got.append(msg)
    print(got)
    yield client.close()

agents = []
client = Client([agent])
client_task = pycos.Task(main)
client_task.value()
""",
    )
    assert lines == ["0", "0", "met met", "[499500, 499500]"]


def test_no_result_is_lost_and_clients_follow_each_other(cluster: Programs) -> None:
    lines = run(
        cluster,
        """
def compute(n, task=None):
    yield task.sleep(n)
    raise StopIteration(n)

def stubborn(task=None):
    try:
        yield task.sleep()
    except KeyboardInterrupt:
        yield task.sleep(0.05)
        raise StopIteration("graceful")

def main(task=None):
    for turn in range(2):
        client = Computation([compute])
        print((yield client.schedule()))
        rtasks = []
        for n in 0.05, 0.5:
            rtasks.append((yield client.rtask(compute, n)))
        yield client.close()
        print([t.outcome.value for t in rtasks])
    client = Client([stubborn], nodes=[DispycosNodeAllocate("127.0.0.1", NODE_PORT, cpus=1)])
    yield client.schedule()
    rtask = yield client.rtask(stubborn)
    print(len((yield client.servers())))
    yield client.close(terminate=True)
    print((yield rtask()))

pycos.Task(main).value()
""",
    )
    assert lines == ["0", "[0.05, 0.5]", "0", "[0.05, 0.5]", "1", "graceful"]


def test_node_is_left_out_and_asked_for_again(cluster: Programs) -> None:
    lines = run(
        cluster,
        """
def compute(task=None):
    yield
    return "done"

def main(task=None):
    yield client.schedule()
    call = pycos.Task(lambda task=None: (yield client.rtask(compute)))
    print((yield call.finish(1)))
    allocation = DispycosNodeAllocate("127.0.0.1", NODE_PORT)
    print(client.node_allocate(allocation), client.node_allocate("10.0.0.999"))
    rtask = yield call()
    print((yield rtask()))
    yield client.close()

client = Client([compute], nodes=[DispycosNodeAllocate("*", cpus=0)])
pycos.Task(main).value()
""",
        "rtask",
    )
    assert [line for line in lines if "waits" not in line and "node" not in line] == ["None", "0 -1", "done"]


def test_own_allocation_and_the_scheduler_of_the_program(cluster: Programs) -> None:
    lines = run(
        cluster,
        """
class NodeAllocate(DispycosNodeAllocate):
    def allocate(self, ip_addr, name, platform, cpus, memory, disk):
        print("Allocate", ip_addr, cpus)
        return cpus - 1

def compute(task=None):
    yield
    return 1

def waits(to, task=None):
    to.send("waits")
    yield task.receive()

def main(task=None):
    yield client.schedule()
    print((yield (yield client.rtask(compute))()), len((yield client.servers())))
    status = scheduler.status()
    print(sorted(status), status["Nodes"])
    waiting = (yield client.rtask(waits, task)), (yield client.io_rtask(waits, task))
    print((yield task.receive()), (yield task.receive()))
    status = scheduler.status()
    print(status["Client"] == task.location, status["Pending"], status["PendingCPU"])
    print(status["Servers"] == (yield client.servers()))
    scheduler.print_status()
    for rtask in waiting:
        rtask.send(None)
    yield client.close(await_io=True)
    print((yield scheduler.close()))

scheduler = Scheduler(pulse_interval=10, zombie_period=1000)
client = Client(compute, pulse_interval=10, zombie_period=51, nodes=[NodeAllocate(node="*")])
pycos.Task(main).value()
""",
    )
    shown = [line for line in lines if line != "Allocate 127.0.0.1 2"]
    assert len(shown) < len(lines)
    assert shown[:5] == [
        "1 1",
        "['Client', 'Nodes', 'Pending', 'PendingCPU', 'Servers'] ['127.0.0.1']",
        "waits waits",
        "True 2 1",
        "True",
    ]
    assert shown[5].startswith("  Client: 127.0.0.1:")
    assert shown[6:] == ["  Pending: 2", "  PendingCPU: 1", "  Nodes: 1", "  Servers: 1", "None"]


def test_io_tasks_and_channels(cluster: Programs) -> None:
    lines = run(
        cluster,
        """
def listens(channel, to, task=None):
    print((yield channel.subscribe(task)))
    total = 0
    while 1:
        n = yield task.receive()
        if n is None:
            break
        total += n
    to.send(total)

def waits(task=None):
    yield task.sleep(0.3)
    raise StopIteration("waited")

def main(task=None):
    yield client.schedule()
    channel = pycos.Channel("numbers")
    yield client.io_rtask(listens, channel, task)
    yield client.run_async_at((yield client.servers())[0], listens, channel, task)
    print((yield channel.deliver(1, n=2)))
    for n in range(2, 5):
        channel.send(n)
    channel.send(None)
    print((yield task.receive()), (yield task.receive()))
    waiting = yield client.io_rtask(waits)
    yield client.close(await_io=True)
    print((yield waiting()))
    again = Client([waits])
    yield again.schedule()
    waiting = yield again.io_rtask(waits)
    yield again.close()
    status = yield waiting()
    print(isinstance(status, pycos.MonitorStatus), status.type.__name__, status.info == waiting)

client = Client([listens])
pycos.Task(main).value()
""",
    )
    assert lines == ["2", "10 10", "waited", "True KeyboardInterrupt True"]


def test_nodes_are_restarted_closed_and_taken_again(cluster: Programs) -> None:
    lines = run(
        cluster,
        """
def node_setup(n=1, task=None):
    global number
    yield
    number = n
    raise StopIteration(0)

def tells(task=None):
    yield
    return number

def wait_for(status, task):
    while 1:
        msg = yield task.receive()
        if isinstance(msg, DispycosStatus) and msg.status == status:
            return msg.info

def main(task=None):
    client.status_task = task
    yield client.schedule()
    node = yield wait_for(Scheduler.NodeInitialized, task)
    print((yield (yield client.rtask(tells))()))
    print(client.restart_node(node.addr, 7))
    yield wait_for(Scheduler.ServerClosed, task)
    yield wait_for(Scheduler.ServerInitialized, task)
    print((yield (yield client.rtask_at(node.addr, tells))()))
    print(client.abandon_zombie(node.addr, True), client.abandon_zombie(None, False), client.close_node(node.addr))
    closed = yield wait_for(Scheduler.NodeClosed, task)
    print(closed.addr == node.addr, client.node_allocate(DispycosNodeAllocate(node.addr, port=NODE_PORT)))
    yield wait_for(Scheduler.ServerInitialized, task)
    print((yield (yield client.rtask(tells))()))
    yield client.close()

client = Client([tells], node_setup=node_setup, nodes=[DispycosNodeAllocate("*", cpus=1)])
pycos.Task(main).value()
""",
    )
    assert lines == ["1", "None", "7", "None None None", "True 0", "7"]


def test_dashboard(cluster: Programs) -> None:
    lines = run(
        cluster,
        """
import json, urllib.request
import pycos.httpd

def compute(n, task=None):
    yield task.sleep(n)
    raise StopIteration(n)

def status_proc(task=None):
    task.set_daemon()
    while 1:
        msg = yield task.receive()
        if isinstance(msg, DispycosStatus) and msg.status == Scheduler.ServerInitialized:
            main_task.send(msg.info)

def fetch(url):
    with urllib.request.urlopen(url) as page:
        return page.status, b"<html" in page.read().lower()

def status(url):
    address, _, token = url.partition("/?token=")
    request = urllib.request.Request(address + "/cluster_status", headers={"Authorization": "Bearer " + token})
    with urllib.request.urlopen(request) as answer:
        (node,) = json.load(answer)
    return node["addr"], node["servers"], node["tasks_submitted"], node["tasks_done"], sorted(node["avail_info"])

def main(task=None):
    http_server = pycos.httpd.HTTPServer(client, host="127.0.0.1", port=0, poll_sec=1)
    print(isinstance(http_server.status_task, pycos.Task))
    yield client.schedule()
    initialized = {(yield task.receive()), (yield task.receive())}
    print((yield (yield client.rtask(compute, 0.01))()), len(initialized))
    print((yield pycos.AsyncThreadPool(1).async_task(fetch, http_server.url)))
    print((yield pycos.AsyncThreadPool(1).async_task(status, http_server.url)))
    yield client.close()
    http_server.shutdown()

client = Client([compute], status_task=pycos.Task(status_proc), pulse_interval=pycos.dispycos.MinPulseInterval)
main_task = pycos.Task(main)
main_task.value()
""",
        "dashboard of",
    )
    status = "('127.0.0.1', 2, 1, 1, ['cpu', 'disk', 'memory', 'swap'])"
    assert lines == ["True", "0.01 2", "(200, True)", status]


def test_changed_import_lines_do_at_servers_too(local: Programs) -> None:
    (local.folder / "own.py").write_text("""
import parkcos
import parkcos.compat.netpycos as pycos
from parkcos.compat.dispycos import *

def compute(n, task=None):
    import pycos.asyncfile
    yield task.sleep(0.01)
    return n, pycos.Pycos().location == task.location

def main(task=None):
    yield client.schedule()
    print((yield (yield client.rtask(compute, 3))()))
    yield client.close()

with parkcos.LocalCluster(1):
    client = Client([compute])
    pycos.Task(main).value()
""")
    with Program("own.py", cwd=local.folder) as program:
        assert program.wait() == 0
        assert "(3, True)" in program.lines


def test_allocations(local: Programs) -> None:
    lines = local.run(
        "from pycos.dispycos import *\n"
        "def ask(*args, **kwargs):\n"
        "    return DispycosNodeAllocate(*args, **kwargs).allocate('10.0.0.1', 'host', 'Linux-x86', 4, 100, 100)\n"
        "print(ask('*'), ask('*', cpus=2), ask('*', cpus=9), ask('*', cpus=-1), ask('*', cpus=-9), ask('*', cpus=0))\n"
        "print(ask('10.0.0.1'), ask('10.0.0.2'), ask('10.0.*'), ask('10.0.0.12'), ask('ho*'))\n"
        "print(ask('*', platform='win'))\n"
        "print(ask('*', platform='LINUX.*x86'), ask('*', memory=101), ask('*', disk=100))\n"
        "for wrong in dict(pulse_interval=5), dict(pulse_interval=101), dict(ping_interval=1), dict(zombie_period=9):\n"
        "    try: Client([], **wrong)\n    except Exception as e: print(str(e).partition('=')[0])\n"
    )  # fmt: skip
    assert lines == [
        "4 2 0 3 0 0",
        "4 -1 4 -1 4",
        "-1",
        "4 0 4",
        "pulse_interval",
        "pulse_interval",
        "ping_interval",
        "zombie_period",
    ]


def test_a_cluster_of_the_program_s_own(local: Programs) -> None:
    source = """
from pycos.dispycos import *
def compute(n, task=None):
    yield task.sleep(0.01)
    raise StopIteration(n)
def main(task=None):
    yield client.schedule()
    print((yield (yield client.rtask(compute, 5))()))
    yield client.close()
client = Client([compute])
pycos.Task(main)
"""
    assert "5" in local.run(BEGINNING + source, options=("--local",))


def test_a_node_that_is_named_on_the_command_line(local: Programs, stack: contextlib.ExitStack) -> None:
    node, port = Ports().node(1, "--no_discovery")
    stack.enter_context(node)
    body = """
def compute(task=None):
    yield
    raise StopIteration(task.location.port)

def main(task=None):
    yield client.schedule()
    print("port", (yield (yield client.rtask(compute))()))
    yield client.close()

client = Client([compute])
pycos.Task(main).value()
"""
    options = ("-i", "127.0.0.1", "--no_discovery", "--secret_file", secret_file(), "--node", f"127.0.0.1:{port}")
    lines = local.run(CLUSTER + body, options=options)
    assert any(line.startswith("port ") for line in lines)


def test_a_computation_of_4_6(cluster: Programs) -> None:
    source = """
def compute(n, task=None):
    yield task.sleep(0.01)
    if n == 3:
        raise ValueError(n)
    raise StopIteration(n * n)

def main(task=None):
    computation = Computation([compute], node_allocations=[DispycosNodeAllocate("127.0.0.1", NODE_PORT)],
                              peers_communicate=True)
    server = pycos_httpd.HTTPServer(computation=computation, host="127.0.0.1", port=0)
    print((yield computation.schedule(20)))
    print((yield computation.run_results(compute, [1, (2,), [4]])), (yield computation.run_result(compute, 5)))
    print((yield computation.run_result_at("127.0.0.1", compute, 6)))
    failed = yield computation.run_result(compute, 3)
    print(isinstance(failed, pycos.MonitorException), failed.args[1][0])
    yield computation.close(await_async=True)
    server.shutdown(wait=False)

import pycos.httpd as pycos_httpd
pycos.Task(main).value()
try:
    Computation([compute], 20)
except Exception as error:
    print(str(error).splitlines()[-1].strip())
"""
    lines = run(cluster, source, "http://", "failed", "Traceback", "  ", "ValueError: 3")
    assert lines == ["0", "[1, 4, 16] 25", "36", "True <class 'ValueError'>", "write: pulse_interval=20"]


def test_a_program_of_discoro(cluster: Programs) -> None:
    lines = cluster.run(f"""
import asyncoro.disasyncoro as asyncoro
from asyncoro.discoro import *

def compute(n, client, coro=None):
    yield coro.sleep(0.01)
    yield client.deliver((n, isinstance(coro, asyncoro.Coro)), timeout=5)

def status(coro=None):
    coro.set_daemon()
    while True:
        message = yield coro.receive()
        if isinstance(message, DiscoroStatus) and message.status == Scheduler.CoroCreated:
            created.append(message.info.coro)

def main(coro=None):
    computation = Computation([compute], node_allocations=[DiscoroNodeAllocate("127.0.0.1", {cluster.node_port})],
                              status_coro=asyncoro.Coro(status))
    assert not (yield computation.schedule())
    rcoro = yield computation.run(compute, 7, coro)
    print(isinstance(rcoro, asyncoro.Coro), (yield coro.receive()))
    yield computation.close()
    print(created == [rcoro])

created = []
Scheduler()
asyncoro.Coro(main).value()
""")
    assert lines == ["True (7, True)", "True"]
