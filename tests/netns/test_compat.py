"""Programs of pycos's on hosts of their own, with the ports and addresses that they have always had."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.lab import Host, HostProcess, Lab
from tests.netns.conftest import Site
from tests.secret import SECRET

pytestmark = [pytest.mark.netns, pytest.mark.slow]

CLIENT = """
import pycos.netpycos as pycos
from pycos.dispycos import *

def compute(n, task=None):
    yield task.sleep(0.01)
    raise StopIteration(n * n)

def main(task=None):
    print("scheduled", (yield client.schedule({where})), flush=True)
    rtask = yield client.rtask(compute, 7)
    print("result", (yield rtask()), flush=True)
    yield client.close()

pycos.Pycos(secret=SECRET)
client = Client([compute]{options})
pycos.Task(main).value()
""".replace("SECRET", repr(SECRET))
SERVER = """
import sys, time
import pycos.netpycos as pycos

def echo(task=None):
    task.register("echo")
    print("ready", flush=True)
    message, sender = yield task.receive()
    sender.send(message)

pycos.Pycos(name="server", secret=SECRET)
pycos.Task(echo).value()
""".replace("SECRET", repr(SECRET))
ASKING = """
import pycos.netpycos as pycos

def main(task=None):
    print((yield pycos.Task.locate("echo", timeout=1)))
    print((yield pycos.Pycos.instance().peer("{host}")))
    echo = yield pycos.Task.locate("echo", timeout=15)
    print(echo.send(("hello", task)), (yield task.receive(timeout=15)))

pycos.Pycos(name="client", secret=SECRET)
pycos.Task(main).value()
""".replace("SECRET", repr(SECRET))


def start(site: Site, host: Host, source: str) -> HostProcess:
    path = site.folder / f"program-{host.name}.py"
    path.write_text(source)
    return site.start(host, "-m", "parkcos.compat", str(path))


def own(site: Site, host: Host, program: str, *options: str) -> HostProcess:
    """One of pycos's own programs, with a secret and options of which parkcos's know nothing."""
    folder = str(site.folder / f"dest-{host.name}")
    process = site.start(
        host, "-m", "parkcos.compat", program, "--daemon", "--secret", SECRET, "--dest_path", folder, *options
    )
    site.wait_for(process, "uses address")
    return process


def test_node_and_scheduler_with_the_secret_that_the_program_has(lab: Callable[..., Lab], site: Site) -> None:
    net = lab({"a": ["client", "sched", "node"]})
    node = own(site, net["node"], "dispycosnode.py", "-c", "1", "--msg_timeout", "20", "--ping_interval", "60")
    assert "list of processes" in site.said(node)
    said = site.finish(start(site, net["client"], CLIENT.format(where="", options="")))
    assert "scheduled 0\nresult 49" in said
    scheduler = own(site, net["sched"], "/usr/bin/dispycos.py", "--relay_nodes", "--ping_interval", "60")
    said = site.finish(start(site, net["client"], CLIENT.format(where=repr(net["sched"].ip), options="")))
    assert "scheduled 0\nresult 49" in said
    site.end(scheduler, node)


def test_a_node_that_no_broadcast_reaches_is_named(lab: Callable[..., Lab], site: Site) -> None:
    """It is asked at 9706, also if it is only named as what is wanted of it."""
    net = lab({"a": ["client"], "b": ["node"]}, routers={"r": ["a", "b"]})
    node = own(site, net["node"], "dispycosnode.py", "-c", "1")
    for nodes in f"[{net['node'].ip!r}]", f"[DispycosNodeAllocate({net['node'].ip!r}, cpus=1)]":
        said = site.finish(start(site, net["client"], CLIENT.format(where="", options=f", nodes={nodes}")))
        assert "result 49" in said
    site.end(node)


def test_schedulers_and_nodes_at_another_port(lab: Callable[..., Lab], site: Site) -> None:
    net = lab({"a": ["client", "sched", "node"]})
    ports = ["--scheduler_port", "9800"]
    node = own(site, net["node"], "dispycosnode.py", "-c", "1", *ports)
    scheduler = own(site, net["sched"], "dispycos.py", *ports, "--node_port", "9801")
    where = f"pycos.Location({net['sched'].ip!r}, 9800)"
    assert "result 49" in site.finish(start(site, net["client"], CLIENT.format(where=where, options="")))
    site.end(scheduler, node)


def test_a_peer_that_no_broadcast_reaches_is_asked_by_its_host(lab: Callable[..., Lab], site: Site) -> None:
    net = lab({"a": ["client"], "b": ["server"]}, routers={"r": ["a", "b"]})
    server = start(site, net["server"], SERVER)
    site.wait_for(server, "ready")
    said = site.finish(start(site, net["client"], ASKING.format(host=net["server"].ip)))
    assert [line for line in said.splitlines() if line in ("None", "0", "0 hello")] == ["None", "0", "0 hello"]
    site.finish(server)
