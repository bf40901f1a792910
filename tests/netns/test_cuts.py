"""Links that are cut: what was under way arrives, once and in order, as soon as the path heals."""

from __future__ import annotations

import re
import textwrap
import threading
import time
from collections.abc import Callable

import pytest

from tests.conftest import need_namespaces
from tests.lab import Host, HostProcess, Lab
from tests.netns.conftest import Site
from tests.wan import Path, Wan

pytestmark = [pytest.mark.netns, pytest.mark.slow]

STREAMS = textwrap.dedent("""
    import logging, sys, time
    from parkcos import Location, Parkcos, Task

    secret, own, other, seconds = sys.argv[1:5]
    seconds, COUNT = float(seconds), 10_000
    logging.basicConfig(level=logging.INFO)

    def sink(task=None):
        task.register("sink")
        said = 0.0
        for expected in range(COUNT):
            number, _ = yield task.receive()
            assert number == expected, (number, expected)
            now = time.monotonic()
            if now - said > 0.1:
                print("COMES at", now)
                said = now
        print("ALL", COUNT)

    def end_of(there, task=None):  # asked for early: the other program may end first
        return (yield there.finish())

    def main(task=None):
        mine = Task(sink)
        there = yield Task.locate("sink", Location(other, 9800), timeout=20)
        theirs = Task(end_of, there)
        print("FLOWS")
        began = time.monotonic()
        for number in range(COUNT):
            while time.monotonic() - began < number / COUNT * seconds:
                yield task.sleep(0.01)
            yield there.send((number, b"x" * (number % 2000)))
        assert (yield theirs.finish()) is None
        assert (yield mine.finish()) is None
        print("DONE")

    Parkcos(own.split(","), 9800, secret_file=secret, discover_peers=False)
    Task(main)
""")
"""Ten thousand numbered messages to the other side, evenly over some seconds, and as many from there."""


def streams(site: Site, one: Host, two: Host, seconds: float) -> tuple[HostProcess, HostProcess]:
    """Both sides of two streams, which flow; each uses all the addresses of its host."""
    own = [",".join(address for _, address in host.interfaces.values()) for host in (one, two)]
    here = site.client(one, STREAMS, own[0], two.ip, str(seconds))
    there = site.client(two, STREAMS, own[1], one.ip, str(seconds))
    for process in (here, there):
        site.wait_for(process, "FLOWS")
    return here, there


def finish(site: Site, *processes: HostProcess, patience_s: float = 60.0) -> None:
    for process in processes:
        said = site.finish(process, patience_s)
        assert "DONE" in said
        assert "ALL 10000" in said
        assert "is gone" not in said.partition("DONE")[0]


def resumed(site: Site, process: HostProcess, since: float) -> float:
    """When the first message came after `since`, in seconds after it; to a tenth of a second."""
    times = [float(found) for found in re.findall(r"COMES at ([\d.]+)", site.said(process))]
    return min(at for at in times if at > since) - since


@pytest.mark.timeout(150)
def test_cuts_of_1_10_and_40_seconds(lab: Callable[..., Lab], site: Site) -> None:
    cuts_s = (1, 10, 40)
    net = lab({"a": [f"{side}{cut}" for cut in cuts_s for side in "lr"]})
    # They all flow for the longest cut and more: however slowly the last pair starts, the first one still flows then.
    seconds = max(cuts_s) + 3.0
    pairs = {cut: streams(site, net[f"l{cut}"], net[f"r{cut}"], seconds) for cut in cuts_s}
    healed: dict[int, float] = {}
    lock = threading.Lock()

    def cut_and_heal(cut: int) -> None:
        net[f"l{cut}"].isolate()
        time.sleep(cut)
        with lock:
            healed[cut] = time.monotonic()  # a message may come before this thread goes on
            net[f"l{cut}"].rejoin()

    threads = [threading.Thread(target=cut_and_heal, args=(cut,)) for cut in cuts_s]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for cut, pair in pairs.items():
        finish(site, *pair)
        for process in pair:
            after_s = resumed(site, process, healed[cut])
            print(f"cut for {cut} s: on {after_s:.2f} s after it had healed")
            # The kernel's own backoff would take up to the length of the cut; a loaded machine is forgiven.
            assert cut < 10 or after_s < 5


def test_a_cut_in_one_direction(lab: Callable[..., Lab], site: Site) -> None:
    net = lab({"a": ["left", "right"]})
    pair = streams(site, net["left"], net["right"], 6.0)
    net.oneway("left", "right")
    time.sleep(3)
    net.mend()
    finish(site, *pair)


def test_the_other_address_is_used_when_one_is_cut_off(lab: Callable[..., Lab], site: Site) -> None:
    """Each host has a cable to two networks; the one that carries the streams is cut, and stays so."""
    net = lab({"a": ["left", "right"], "b": ["left", "right"]})
    pair = streams(site, net["left"], net["right"], 6.0)
    net["left"]._switch.net("ip", "link", "set", "dev", net["left"].ports[0], "nomaster")
    finish(site, *pair)


def test_loss_delay_jitter_doubles_and_reordering(site: Site) -> None:
    need_namespaces()
    with Wan(["left", "right"]) as wan:
        wan.set_all(Path(delay_s=0.05, jitter_s=0.02, loss=0.05, twice=0.01))
        pair = streams(site, wan["left"], wan["right"], 6.0)
        finish(site, *pair)
        assert wan.lost > 20


WAITERS = textwrap.dedent("""
    import logging, sys
    from parkcos import Channel, Location, MonitorStatus, Parkcos, PeerStatus, Task

    secret, other = sys.argv[1:3]
    logging.basicConfig(level=logging.INFO)

    def statuses(task=None):
        while True:
            status = yield task.receive()
            if status.location.addr == other:
                print("STATUS", "online" if status.status else "offline", flush=True)

    def waits(what, operation, task=None):
        result = yield operation()
        print("ENDED", what, result, flush=True)

    def monitors(rtask, task=None):
        yield task.monitor(rtask)
        status = yield task.receive()
        print("ENDED monitor", status.type.__name__, flush=True)

    def stays(task=None):
        yield task.receive()

    def main(task=None):
        runtime.peer_status(Task(statuses))
        where = Location(other, 9800)
        rtask = yield Task.locate("echo", where, timeout=20)
        channel = yield Channel.locate("news", where, timeout=20)
        yield rtask.deliver((task, "warm up"))
        yield task.receive()
        print("READY", flush=True)
        yield task.receive(timeout=1)
        subscriber = Task(stays)
        for what, operation in {
            "deliver": lambda: rtask.deliver((None, 1)),
            "finish": rtask.finish,
            "subscribe": lambda: channel.subscribe(subscriber),
            "locate": lambda: Task.locate("echo", where, timeout=6),
        }.items():
            Task(waits, what, operation)
        Task(monitors, rtask)
        n = 0
        while n >= 0:
            if rtask.send((task, n)) < 0:
                found = yield Task.locate("echo", where, timeout=1)
                rtask = found or rtask
            answer = yield task.receive(timeout=1)
            if n and answer is not None:
                print("ANSWER", answer, flush=True)
            n += 1

    def echo(task=None):
        task.register("echo")
        Channel("news").register()
        while True:
            sender, message = yield task.receive()
            if sender is not None:
                sender.send(message)

    runtime = Parkcos(tcp_port=9800, secret_file=secret, discover_peers=False, pulse_s=0.2)
    Task(main if other != "-" else echo)
""")
"""One side waits for the other in every way that there is, and asks it for echoes."""


def test_a_host_that_is_switched_off(lab: Callable[..., Lab], site: Site) -> None:
    net = lab({"a": ["here", "there"]})
    echo = site.client(net["there"], WAITERS, "-")
    site.wait_for(echo, "uses address")
    waiting = site.client(net["here"], WAITERS, net["there"].ip)
    site.wait_for(waiting, "READY")
    net["there"].crash()
    for end in ("deliver -1", "finish", "subscribe -1", "locate None", "monitor TaskAbandoned"):
        site.wait_for(waiting, f"ENDED {end}")
    said = site.wait_for(waiting, "STATUS offline")
    assert "nothing was heard of it" in said
    assert said.count("STATUS offline") == said.count("STATUS online") == 1


def test_a_process_that_is_stopped_for_long_and_goes_on(lab: Callable[..., Lab], site: Site) -> None:
    net = lab({"a": ["here", "there"]})
    echo = site.client(net["there"], WAITERS, "-")
    site.wait_for(echo, "uses address")
    waiting = site.client(net["here"], WAITERS, net["there"].ip)
    site.wait_for(waiting, "READY")
    net["there"].pause()
    site.wait_for(waiting, "STATUS offline")
    said = site.wait_for(waiting, "ENDED deliver -1")
    answers = said.count("ANSWER")
    net["there"].resume()
    site.wait_for(waiting, "STATUS online\nSTATUS offline\nSTATUS online", lines="STATUS")
    while site.said(waiting).count("ANSWER") <= answers + 1:
        assert waiting.poll() is None
        time.sleep(0.05)
