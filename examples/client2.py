#!/usr/bin/env python3
"""Computations at remote servers, and their results back to this program.

    parkcosnode.py             on one machine or more; then, on any machine:
    python client2.py          or, without any node:  python client2.py --local

From n, go to n/2 if n is even, else to 3n+1, until 1 is reached: which number below 100,000 takes the most steps?
"""

from _options import use_cluster

from parkcos import Client, run

LIMIT = 100_000
PIECE = 10_000


def steps(n):
    """Used by the function below, at the servers: a plain function."""
    count = 0
    while n != 1:
        n = 3 * n + 1 if n % 2 else n // 2
        count += 1
    return count


def longest(first, last):
    """Runs at a server: (steps, number) of the number that takes the most steps."""
    best = 0, first
    for n in range(first, last):
        best = max(best, (steps(n), n))
    yield  # what runs at a server is a generator function: it needs a yield somewhere (or be an `async def`)
    return best


def main():
    """Runs here, as a task beside others of this program."""
    # What is listed here travels once to each node, and all servers there have it.
    with Client([longest, steps]) as client:
        if (yield client.schedule()):
            raise SystemExit("the client could not be scheduled")

        rtasks = []
        for first in range(1, LIMIT, PIECE):
            # Waits until a server is free, and gives a reference to the task that has started there.
            rtask = yield client.rtask(longest, first, first + PIECE)
            print(f"{first:>6} to {first + PIECE - 1:>6} at server {rtask.location}", flush=True)
            rtasks.append(rtask)

        best = 0, 0
        for rtask in rtasks:
            # Raises here what the task has raised there, if it has.
            best = max(best, (yield rtask.result()))
        print(f"{best[1]} takes {best[0]} steps.")


if __name__ == "__main__":
    use_cluster(__doc__)
    run(main)
