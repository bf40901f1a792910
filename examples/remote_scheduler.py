#!/usr/bin/env python3
"""A shared scheduler, whose clients take turns, and a rule of one's own about which processors to use.

    parkcosnode.py             on one machine or more
    parkcos.py --daemon        on one machine; then, on any machine, and on several at once:
    python remote_scheduler.py                     on the scheduler's network, or anywhere:
    python remote_scheduler.py --scheduler HOST

All examples use a shared scheduler that they find on their network, and have one of their own otherwise, as this one
has with --local: then only the rule is to be seen.
"""

import sys

from _options import use_cluster

from parkcos import Client, Location, NodeAllocate, run

TASKS = 4


class HalfOfEach(NodeAllocate):
    """Half of each node's processors, and no node that is short of memory."""

    def allocate(self, ip_addr, name, platform, cpus, memory, disk):
        """Called here, for each node: how many of its processors this client is to use."""
        enough = memory is None or memory > 100_000_000
        wanted = max(1, cpus // 2) if enough else 0
        print(f"{name} at {ip_addr} has {cpus} processors; {wanted} of them shall be used", flush=True)
        return wanted


def compute(n):
    """Runs at a server."""
    yield
    return sum(i * i for i in range(n))


def main(scheduler):
    """Runs here: waits for its turn, then uses the nodes for itself until it closes."""
    with Client([compute], nodes=[HalfOfEach()]) as client:  # at its end it is the next one's turn
        if (yield client.schedule(scheduler, timeout=60)):
            return "It was not this program's turn within a minute."
        print("It is this program's turn.", flush=True)
        rtasks = []
        for n in range(TASKS):
            rtasks.append((yield client.rtask(compute, 10**n)))
        for rtask in rtasks:
            print(f"{(yield rtask.result())} from {rtask.location}", flush=True)


if __name__ == "__main__":
    (where,) = use_cluster(__doc__, scheduler="where the shared scheduler is: HOST, or HOST:PORT")
    sys.exit(run(main, Location.parse(where) if where and ":" in where else where))
