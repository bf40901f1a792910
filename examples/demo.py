#!/usr/bin/env python3
"""What ``make demo`` runs: a cluster on this machine counts the primes below a million, range by range.

Nothing needs to run elsewhere: LocalCluster brings a node with one server process for each processor.  With nodes on
other machines the program is the same, without LocalCluster; see client2.py.
"""

import math
import sys
import time

from parkcos import Client, LocalCluster, Task, run

LIMIT = 1_000_000
RANGES = 20


def count_primes(first, last):
    """Runs at a server: how many of the numbers from `first` to before `last` are primes."""
    primes = 0
    for n in range(max(first, 2), last):
        if n == 2 or (n % 2 and all(n % divisor for divisor in range(3, math.isqrt(n) + 1, 2))):
            primes += 1
        if n % 10_000 == 0:
            yield  # now and then, another task of this server may have a turn
    return primes


def one_range(client, first, last, results):
    """Runs here, once for each range: waits for a free server, then for the result."""
    rtask = yield client.rtask(count_primes, first, last)
    primes = yield rtask.result()
    results.append((primes, rtask.location))
    show(f"{first:>9,} to {last - 1:>9,}: {primes:>5,} primes, from server {rtask.location}", len(results))


def main():
    """Runs here: gets the servers, starts a task for each range, and waits for all of them."""
    with Client([count_primes]) as client:  # what the servers need to have
        yield client.schedule()
        begin, results, step = time.perf_counter(), [], LIMIT // RANGES
        tasks = [Task(one_range, client, first, first + step, results) for first in range(0, LIMIT, step)]
        for task in tasks:
            yield task.result()
        seconds = time.perf_counter() - begin
    total, servers = sum(primes for primes, _ in results), {location for _, location in results}
    print(f"{total:,} primes below {LIMIT:,}, counted by {len(servers)} server(s) in {seconds:.1f} s.")


def show(line, done):
    """A line for each result; on a terminal, a last line that says how far the whole is."""
    if sys.stdout.isatty():
        bar = f"[{'#' * done:.<{RANGES}}] {done} of {RANGES}" if done < RANGES else ""
        print(f"\r\033[K{line}\n{bar}", end="", flush=True)
    else:
        print(f"[{done:>2} of {RANGES}] {line}", flush=True)


if __name__ == "__main__":
    print("A cluster on this machine starts ...", flush=True)
    with LocalCluster():
        run(main)
