"""Client(requirements=...): nodes that lack something are not used, and the client is told what is missing there."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest

from tests.cluster.test_requirements import install
from tests.live.lib import Ports, Program, gone

pytestmark = pytest.mark.live

# It may use a package that it requires where its code is opened, which a node without it could not do.
NEEDS = """
def where(task=None):
    import parkcos_clay
    yield
    return parkcos_clay.NAME

def setup():
    yield
    print("node_setup has run", flush=True)
    return 0

def main(task=None):
    statuses = Task(watch)
    client = Client([where], node_setup=setup, status_task=statuses, requirements=%r)
    yield client.schedule()
    rtask = yield client.rtask(where)
    print("found:", (yield rtask.finish()), flush=True)
    print("nodes:", (yield client.nodes()), flush=True)
    if %r:
        yield task.receive()
    yield client.close()
    print("closed", flush=True)

def watch(task=None):
    task.set_daemon()
    while True:
        status = yield task.receive()
        if isinstance(status, Status) and status.reason:
            print("status:", status.reason, flush=True)

Task(main)
"""


def start_node(ports: Ports, name: str, site: Path, version: str, *options: str) -> Program:
    """A node whose Python has a version of the package."""
    site.mkdir()
    install(site, "parkcos-clay", version, "parkcos_clay.py")
    (site / "parkcos_clay.py").write_text(f"NAME = 'clay of {name}'\n")
    code = (
        f"import os, sys; os.environ['PYTHONPATH'] += os.pathsep + {str(site)!r}; "
        "from parkcos.commands.node import main; sys.exit(main())"
    )
    return ports.node(1, "-n", name, *options, command=("-c", code))[0]


def test_the_node_that_has_it_is_used_and_the_other_named(
    tmp_path: Path, ports: Ports, stack: contextlib.ExitStack
) -> None:
    poor = stack.enter_context(start_node(ports, "poor", tmp_path / "poor", "1.5", "--serve", "1"))
    client = stack.enter_context(ports.client(tmp_path, NEEDS % (["parkcos-clay>=2", "parkcos_clay", "json"], True)))
    lacks = "it lacks what the client requires: parkcos-clay>=2: version 1.5 is installed"
    client.wait_for(f"ERROR .*the node poor cannot be used: {re.escape(lacks)}")
    client.wait_for(f"^status: {re.escape(lacks)}")
    poor.wait_for("-> free")
    rich = stack.enter_context(start_node(ports, "rich", tmp_path / "rich", "2.0"))
    client.wait_for("^found: clay of rich")
    client.wait_for(r"^nodes: \['127.0.0.1'\]")
    assert len(client.find("cannot be used")) == 1
    assert len(poor.find("-> setup")) == 1, "it was asked once"
    assert not poor.find("node_setup has run")
    families = [process for program in (rich, client) for process in program.family()]
    client.end()
    # It has served nobody yet: none of the client's code has run there.
    other = stack.enter_context(ports.client(tmp_path, NEEDS % (["parkcos_clay<2"], False), "other.py"))
    other.wait_for("^found: clay of poor")
    assert other.wait() == 0
    assert poor.wait() == 0, "it serves one client"
    assert rich.end() == 0
    assert gone(families) == []


def test_what_is_nowhere_is_waited_for_in_words(tmp_path: Path, ports: Ports, stack: contextlib.ExitStack) -> None:
    stack.enter_context(start_node(ports, "poor", tmp_path / "poor", "1.5"))
    source = NEEDS % (["parkcos_nonesuch.inner", "parkcos-clay>2"], False)
    client = stack.enter_context(ports.client(tmp_path, source))
    client.wait_for(
        "has no node yet.*Seen, but not usable: poor .*parkcos_nonesuch.inner: it is not installed; "
        "parkcos-clay>2: version 1.5 is installed"
    )


def test_a_module_that_the_client_brings_is_there(tmp_path: Path, ports: Ports, stack: contextlib.ExitStack) -> None:
    stack.enter_context(ports.node(1)[0])
    (tmp_path / "parkcos_clay.py").write_text("NAME = 'clay of the client'\n")
    (tmp_path / "parkcos_slip.py").write_text("def thin():\n    return 'thin'\n")
    source = NEEDS.replace("Client([where]", "Client([where, parkcos_clay, parkcos_slip.thin]")
    source = "import parkcos_clay, parkcos_slip\n" + source % (["parkcos_clay", "parkcos_slip"], False)
    client = stack.enter_context(ports.client(tmp_path, source))
    client.wait_for("^found: clay of the client")
    assert client.wait() == 0
