"""Programs that find each other: tasks, channels, services, files, peers."""

from __future__ import annotations

import pytest

from tests.compat.conftest import NETWORKED, Programs
from tests.live.lib import Ports, free_ports
from tests.secret import secret_file

pytestmark = pytest.mark.live

SERVER = (
    NETWORKED
    + """
def echo(task=None):
    task.register("echo")
    while 1:
        message, reply = yield task.receive()
        if message == "end":
            break
        reply.send((message, task.location == pycos.Pycos.instance().location))
    raise StopIteration("over")

def collects(task=None):
    channel = pycos.Channel("news", lambda name, message: None if message == "drop" else message)
    channel.register()
    task.register("collects")
    yield channel.subscribe(task)
    while 1:
        print("news:", (yield task.receive()), flush=True)

def square(n, task=None):
    yield task.sleep(0.01)
    if n < 0:
        raise ValueError("below 0")
    raise StopIteration(n * n)

def forever(task=None):
    yield task.receive()

def main(task=None):
    task.set_daemon()
    pycos.Task(echo)
    pycos.Task(collects)
    print(pycos.RPS(square).register(), pycos.RPS(square).register(), pycos.RPS(forever, "for ever").register())
    print("dest", pycos.Pycos().dest_path, flush=True)
    yield

pycos.Pycos(name="the server", dest_path="files")
pycos.Task(main)
sys.stdin.read()
pycos.Pycos().terminate()
"""
)


def client(peers: Programs, body: str) -> list[str]:
    """What a program prints that meets the server; `body` is the inside of its task."""
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    server = peers.start(SERVER, name="server.py")
    server.wait_for("dest ")
    printed = peers.run(NETWORKED + "pycos.Pycos(name='the client')\n"
                        f"def main(task=None):\n{lines}\npycos.Task(main).value()\n")  # fmt: skip
    assert server.process.stdin is not None
    server.process.stdin.close()
    assert server.wait() == 0, server.text
    return printed + [line for line in server.lines if line.startswith("news:")]


def test_tasks(peers: Programs) -> None:
    assert client(
        peers,
        """
echo = yield pycos.Task.locate("echo", timeout=10)
print(isinstance(echo, pycos.Task), echo.name, repr(echo) == "echo/%s@%s" % (echo.id, echo.location))
print(echo.send(("hello", task)), (yield task.receive(timeout=10)))
print((yield echo.deliver(("again", task), timeout=10)), (yield task.receive()))
print((yield task.monitor(echo)), (yield pycos.Task.locate("nobody", echo.location, timeout=0.5)))
echo.send(("end", task))
status = yield task.receive()
print(status.info == echo, status.type, status.value)
print((yield echo.deliver(1, timeout=10)))
""",
    ) == [
        "True echo True",
        "0 ('hello', True)",
        "1 ('again', True)",
        "0 None",
        "True <class 'StopIteration'> over",
        "-1",
    ]


def test_a_task_is_found_though_another_peer_has_none(peers: Programs) -> None:
    idle = "pycos.Pycos(name='bystander')\nprint('there', flush=True)\nsys.stdin.read()\n"
    peers.start(NETWORKED + idle, name="bystander.py").wait_for("there")
    assert client(
        peers,
        """
p = pycos.Pycos.instance()
print((yield p.locate("bystander", timeout=10)) is not None, (yield p.locate("the server", timeout=10)) is not None)
for _ in range(5):
    print((yield pycos.Task.locate("echo")).name)
""",
    ) == ["True True", *["echo"] * 5]


def test_channels(peers: Programs) -> None:
    assert client(
        peers,
        """
yield pycos.Task.locate("collects", timeout=10)
news = yield pycos.Channel.locate("news", timeout=10)
print((yield news.subscribe(task)), news.name)
print((yield news.deliver("both", timeout=10, n=2)), (yield task.receive()))
print(news.send("drop"), (yield news.deliver("last", timeout=10)), (yield task.receive()))
print((yield news.unsubscribe(task)), (yield news.deliver("one", timeout=10)))
""",
    ) == ["0 news", "2 both", "0 2 last", "0 1", "news: both", "news: last", "news: one"]


def test_services(peers: Programs) -> None:
    lines = client(
        peers,
        """
rps = yield pycos.RTI.locate("square", timeout=10)
print(isinstance(rps, pycos.RPS), rps.name)
rtask = yield rps(7)
print(isinstance(rtask, pycos.Task), (yield rtask()))
failed = yield (yield rps(-1)).finish()
print(failed.type, "below 0" in failed.value)
print(rps.monitor(task), (yield rps(1, 2, 3)), (yield rps(n=3))() is not None)
status = yield task.receive(timeout=10)
print(status.value, (yield pycos.RPS.locate("no such", timeout=0.5)))
other = yield pycos.RPS.locate("for ever", rps.location, 10)
endless = yield other()
print((yield endless.finish(0.1)), endless.terminate(), (yield endless.finish(10)).type.__name__)
other.close()
""".replace("(yield rps(n=3))() is not None", "bool((yield rps(n=3)))"),
    )
    assert [line for line in lines if "RPS square" not in line and "write:" not in line] == [
        "True square",
        "True 49",
        "<class 'ValueError'> True",
        "0 None True",
        "9 None",
        "None 0 TaskTerminated",
    ]
    assert any("takes" in line or "too many" in line for line in lines)  # why the call with three arguments gave None


def test_peers_and_files(peers: Programs) -> None:
    (peers.folder / "data").write_text("data")
    lines = client(
        peers,
        """
p = pycos.Pycos.instance()
server = yield p.locate("the server", timeout=10)
print(p.name, isinstance(server, pycos.Location), server in p.peers(), p.location == p.locations[0])
p.peer_status(task)
while 1:
    status = yield task.receive(timeout=10)
    if status.location == server:
        break
print(isinstance(status, pycos.PeerStatus), status.status == pycos.PeerStatus.Online, status.name)
print((yield p.peer(server)), (yield p.peer(server, stream_send=True)), (yield p.peer(pycos.Location("127.0.0.1", 1))))
p.peer_status(None)
print((yield p.send_file(server, "data", dir="in", timeout=10)), (yield p.send_file(server, "data", dir="in")))
print(open("files/in/data").read())
open("data", "w").write("other")
print((yield p.send_file(server, "data", dir="in")), (yield p.send_file(server, "data", dir="in", overwrite=True)))
print(open("files/in/data").read(), (yield p.send_file(server, "data", dir="../out")))
print((yield p.del_file(server, "data", dir="in")), (yield p.del_file(server, "data", dir="in")))
print(p.host_ipaddr("127.0.0.1"), p.host_ipaddr("no.such.host.invalid"), p.host_addrinfo("127.0.0.1").ip)
""",
    )
    assert [line for line in lines if "cannot connect" not in line and "data" not in line[4:]] == [
        "the client True True True",
        "True True the server",
        "0 0 -1",
        "0 0",
        "data",
        "-1 0",
        "other -1",
        "0 -1",
        "127.0.0.1 None 127.0.0.1",
    ]


def test_a_peer_that_was_closed_comes_back_when_it_is_asked_for(peers: Programs) -> None:
    lines = client(
        peers,
        """
p = pycos.Pycos.instance()
server = yield p.locate("the server", timeout=10)
echo = yield pycos.Task.locate("echo", server, timeout=10)
p.peer_status(task)
while (yield task.receive(timeout=10)).location != server:
    pass
yield p.close_peer(server)
status = yield task.receive(timeout=10)
print(status.status == pycos.PeerStatus.Offline, status.location == server)
print(server in p.peers(), echo.send(("hello", task)), (yield echo.deliver(("hello", task))))
print((yield task.receive(timeout=0.5)))
print((yield p.peer(server)), server in p.peers())
""",
    )
    assert [line for line in lines if line.startswith(("True", "False", "None", "0"))] == [
        "True True",
        "False -1 -1",
        "None",
        "0 True",
    ]


def test_own_destination(peers: Programs) -> None:
    lines = peers.run(
        NETWORKED + "p = pycos.Pycos(dest_path='here')\nroot = p.dest_path\n"
        "print(os.path.isdir(root), root == os.path.abspath('here'))\n"
        "for path in os.path.join(root, 'below'), 'beside', '/elsewhere':\n"
        "    p.dest_path = path\n    print(os.path.relpath(p.dest_path, root), os.path.isdir(p.dest_path))\n"
        "print(p is pycos.Pycos(name='too late') is pycos.Pycos.instance(), p.ignore_peers)\n"
        "p.ignore_peers = True\nprint(p.ignore_peers)\np.ignore_peers = False\nprint(p.ignore_peers)\n"
    )
    assert lines == ["True True", "below True", "beside True", "elsewhere True", "True False", "True", "False"]


def test_peers_are_ignored(peers: Programs) -> None:
    first = peers.start(
        NETWORKED + "p = pycos.Pycos(name='silent', discover_peers=True)\np.ignore_peers = True\n"
        "print('ignores', p.ignore_peers, flush=True)\nsys.stdin.readline()\np.ignore_peers = False\n"
        "print('looks', flush=True)\np.discover_peers()\nsys.stdin.read()\n"
    )
    first.wait_for("ignores True")
    second = peers.start(
        NETWORKED + "p = pycos.Pycos(name='other')\n"
        "def main(task=None):\n    print((yield p.locate('silent', timeout=1)), flush=True)\n"
        "    print((yield p.locate('silent', timeout=10)) is not None, flush=True)\n"
        "pycos.Task(main).value()\n",
        name="other.py",
    )
    second.wait_for("^None$")
    first.say("\n")
    second.wait_for("^True$")
    assert second.wait() == 0
    assert first.wait() == 0


def test_a_host_is_asked_who_is_there(peers: Programs, ports: Ports) -> None:
    """Both know no port but that of UDP, and their broadcasts go to others."""
    server = NETWORKED + (
        f"p = pycos.Pycos(name='there', udp_port={ports.udp})\nprint('ready', flush=True)\nsys.stdin.read()\n"
    )
    lone = Programs(peers.folder, peers.stack)
    options = ("-i", "127.0.0.1", "--secret_file", secret_file())
    lone.start(server, options=options).wait_for("ready")
    other = free_ports(1)[0]
    source = NETWORKED + (
        f"p = pycos.Pycos(name='here', udp_port={other})\n"
        "def main(task=None):\n"
        f"    print((yield p.peer('no.such.host.invalid')), (yield p.peer('127.0.0.1', udp_port={ports.udp})))\n"
        "    print((yield p.locate('there', timeout=10)) in p.peers())\n"
        "pycos.Task(main).value()\n"
    )
    lines = lone.run(source, name="other.py", options=options)
    assert [line for line in lines if "'no.such.host.invalid' cannot be resolved" not in line] == ["-1 0", "True"]


def test_importing_netpycos_gives_tasks_a_location(peers: Programs) -> None:
    lines = peers.run(
        "import pycos\n"
        "import pycos.netpycos as netpycos\n"
        "def proc(task=None):\n    yield\n    return task.location\n"
        "location = pycos.Task(proc).value()\n"
        "print(location == pycos.Pycos.instance().location, location.addr, netpycos.Task is pycos.Task)\n"
    )
    assert lines == ["True 127.0.0.1 True"]


def test_a_short_secret_is_refused_and_said_how_to_make_one(peers: Programs, local: Programs) -> None:
    source = (
        "import pycos.netpycos as pycos\npycos.Pycos(node='127.0.0.1', secret='test', name='a')\n"
        "def main(task=None):\n    yield\n    print('runs')\n"
        "pycos.Task(main).value()\n"
    )
    program = local.start(source)
    assert program.wait() == 1
    assert "runs" not in program.lines
    program.wait_for("ConfigError: the secret that this program gives to Pycos.* is too short: .* 16 characters")
    program.wait_for(r"python -m parkcos[.]compat --secret_file FILE")
    program.wait_for("parkcos.py --make_secret$")
    assert "runs" in peers.run(source, name="second.py"), "the command line's takes the place of the program's"


def test_tasks_run_while_a_dead_name_server_is_asked(peers: Programs) -> None:
    lines = client(
        peers,
        """
import builtins
from tests.resolver import HOST, NOBODY, Resolver
class Patch:
    setattr = staticmethod(builtins.setattr)
resolver = Resolver(Patch)
p = pycos.Pycos.instance()
server = yield pycos.Task.locate("echo", timeout=10)
def asks(use, *where, task=None):
    result = yield use(*where)
    raise StopIteration(result)
for use, where in ((p.peer, HOST), (p.peer, pycos.Location(HOST, server.location.port)),
                   (p.close_peer, pycos.Location(HOST, 1))):
    resolver.asked.clear()
    resolver.answers.clear()
    asking = pycos.Task(asks, use, where)
    while not resolver.asked.is_set():
        yield task.sleep(0.005)
    resolver.answers.set()
    print("runs", (yield asking.finish()))
print((yield p.peer(NOBODY)), (yield p.peer(pycos.Location(NOBODY, 9705))))
""",
    )
    named = [line for line in lines if "'nobody-of-the-tests' cannot be resolved" in line]
    assert [line for line in lines if line not in named] == ["runs 0", "runs 0", "runs None", "-1 -1"]
    assert len(named) == 2
