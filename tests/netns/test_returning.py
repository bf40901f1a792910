"""A client that returns from another host, behind a cut, or with its scheduler started again."""

from __future__ import annotations

import re
import shutil
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab import Host, HostProcess, Lab
from tests.netns.conftest import PATIENCE_S, Site

pytestmark = [pytest.mark.netns, pytest.mark.slow]

PROGRAM = textwrap.dedent("""
    import logging, os, sys, time
    from parkcos import Client, Parkcos, Task, TaskAbandoned

    secret, addr, identity, folder = sys.argv[1:5]
    logging.basicConfig(level=logging.INFO)

    def note(folder, line):
        fd = os.open(os.path.join(folder, "runs"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, (line + "\\n").encode())
        os.close(fd)

    def work(n, folder):
        note(folder, f"begins {n}")
        while not os.path.exists(os.path.join(folder, "go")):
            time.sleep(0.02)
        return n * n

    def main(task=None):
        client = Client(identity=os.path.join(folder, identity), orphan_s=60, name=identity)
        yield client.schedule()
        print("SCHEDULED")
        handles = yield client.resumed()
        print("RESUMED", *sorted(f"{each.name}:{each.state}" for each in handles), "end")
        known = {each.name for each in handles}
        handles += [client.submit(work, n, folder, name=f"work-{n}") for n in range(4) if f"work-{n}" not in known]
        for each in handles:
            try:
                print("RESULT", each.name, (yield each))
                each.release()
            except TaskAbandoned as error:
                print("LOST", each.name, error)
        yield client.close()
        print("CLOSED")

    Parkcos(addr, 9800, secret_file=secret)
    Task(main)
""")
RESULTS = [f"work-{n} {n * n}" for n in range(4)]


def begun(folder: Path, count: int) -> None:
    """Wait until so many tasks run."""
    path, deadline = folder / "runs", time.monotonic() + PATIENCE_S
    while not path.exists() or len(path.read_text().splitlines()) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def results(site: Site, process: HostProcess) -> list[str]:
    return sorted(re.findall(r"^RESULT (.*)$", site.said(process), re.MULTILINE))


def start(site: Site, host: Host, identity: str = "me") -> HostProcess:
    return site.client(host, PROGRAM, host.ip, identity, str(site.folder))


def working(lab: Callable[..., Lab], site: Site) -> tuple[Lab, HostProcess, list[HostProcess], HostProcess]:
    """A lab, its scheduler, two nodes, and a program on the host "first" whose four tasks run."""
    net = lab({"a": ["n1", "n2", "s", "first", "second"]})
    scheduler, nodes = site.scheduler(net["s"]), [site.node(net[name]) for name in ("n1", "n2")]
    first = start(site, net["first"])
    site.wait_for(first, "RESUMED end")
    begun(site.folder, 4)
    return net, scheduler, nodes, first


def copy_of_identity(site: Site) -> str:
    """As on a machine that does not share the first one's disk."""
    for name in ("me", "me.tasks"):
        shutil.copy(site.folder / name, site.folder / name.replace("me", "copy"))
    return "copy"


def test_another_host_takes_the_place_of_one_that_is_cut_off(lab: Callable[..., Lab], site: Site) -> None:
    """The first program lives on, and hears of it when its cable is plugged in again."""
    net, scheduler, nodes, first = working(lab, site)
    net["first"].isolate()
    second = start(site, net["second"], copy_of_identity(site))
    said = site.wait_for(second, "RESUMED work-0")
    assert re.search(r"RESUMED work-0:\w+ work-1:\w+ work-2:\w+ work-3:\w+ end", said)
    (site.folder / "go").touch()
    site.wait_for(second, "CLOSED")
    site.finish(second)
    net["first"].rejoin()
    assert "LOST work-0" in site.finish(first, 100)
    assert results(site, second) == RESULTS
    assert results(site, first) == []
    assert len((site.folder / "runs").read_text().splitlines()) == 4, "each has run once"
    site.end(*nodes, scheduler)


def test_the_scheduler_is_started_again_at_the_same_time(lab: Callable[..., Lab], site: Site) -> None:
    net, scheduler, nodes, first = working(lab, site)
    first.kill()
    scheduler.kill()
    first.wait(PATIENCE_S)
    scheduler.wait(PATIENCE_S)
    scheduler = site.scheduler(net["s"])
    second = start(site, net["first"])
    site.wait_for(second, "RESUMED work-0:")
    (site.folder / "go").touch()
    site.finish(second)
    assert results(site, second) == RESULTS
    assert len((site.folder / "runs").read_text().splitlines()) == 4, "each has run once"
    site.end(*nodes, scheduler)


def test_a_node_is_started_again_meanwhile(lab: Callable[..., Lab], site: Site) -> None:
    net, scheduler, nodes, first = working(lab, site)
    first.kill()
    nodes[1].kill()
    nodes[1].wait(PATIENCE_S)
    nodes[1] = site.node(net["n2"])
    first.wait(PATIENCE_S)
    second = start(site, net["first"])
    said = site.wait_for(second, "RESUMED work-0:")
    assert len(re.findall(r"work-\d:lost", said)) == 2
    (site.folder / "go").touch()
    said = site.finish(second)
    assert len(re.findall(r"^LOST work-", said, re.MULTILINE)) == 2
    assert len(results(site, second)) == 2
    site.end(*nodes, scheduler)
