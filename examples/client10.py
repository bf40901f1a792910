#!/usr/bin/env python3
"""Each computation in a fresh server: what one leaves behind in its process, no other one meets.

    parkcosnode.py             on one machine or more; then, on any machine:
    python client10.py         or, without any node:  python client10.py --local

A task asks for the end of its server, `restart_servers` has a new process take its place.  That takes milliseconds.
"""

import os

from _options import use_cluster

from parkcos import Client, close_server, run

TASKS = 6

runs = 0  # each server has its own, which its tasks share


def compute(number, fresh):
    """Runs at a server: says which run of its process this is, and which process."""
    global runs
    runs += 1
    yield
    if fresh:
        close_server()  # when this task has ended, its result has been sent, too
    return runs, os.getpid(), number**2


def compute_some(fresh):
    """Runs here: some computations, one after the other, and what they say of their processes."""
    with Client([compute], restart_servers=True) as client:
        yield client.schedule()
        pids, most = set(), 0
        for number in range(TASKS):
            rtask = yield client.rtask(compute, number, fresh)
            count, pid, square = yield rtask.result()
            print(f"{number}² = {square}, run {count} of process {pid} at {rtask.location}", flush=True)
            pids.add(pid)
            most = max(most, count)
    return f"{TASKS} computations in {len(pids)} processes, at most {most} in one of them"


def main():
    """Runs here: first as usual, then in fresh servers."""
    usual = yield compute_some(fresh=False)
    fresh = yield compute_some(fresh=True)
    print(f"As usual: {usual}.\nIn fresh servers: {fresh}.")


if __name__ == "__main__":
    use_cluster(__doc__)
    run(main)
