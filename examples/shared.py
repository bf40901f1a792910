#!/usr/bin/env python3
"""A table that all tasks use: it travels once to each node, however many tasks there are.

    parkcosnode.py             on one machine or more; then, on any machine:
    python shared.py           or, without any node:  python shared.py --local

In how many ways is an even number the sum of two primes?  The table says of each number whether it is prime.  With
numpy it would be an array, which all servers of a node read in one place, none with a copy of its own.
"""

import itertools

from _options import use_cluster

from parkcos import Client, run

LIMIT = 100_000
NUMBERS = range(LIMIT - 200, LIMIT, 2)


def sieve(limit):
    """Used here: for each number below the limit, 1 if it is prime, else 0."""
    table = bytearray([0, 0]) + bytearray([1]) * (limit - 2)
    for n in range(2, int(limit**0.5) + 1):
        if table[n]:
            table[n * n :: n] = bytes(len(range(n * n, limit, n)))
    return bytes(table)


def ways(table, n):
    """Runs at a server: the table is there."""
    return sum(table[p] & table[n - p] for p in range(2, n // 2 + 1))


def main():
    """Runs here."""
    with Client([ways]) as client:
        yield client.schedule()
        shared = client.share(sieve(LIMIT))
        print(f"shared: {shared}", flush=True)
        # A task gets the table where `shared` is among its arguments; so does each call of this map.
        found = yield client.map(ways, itertools.repeat(shared), NUMBERS)
        print("used by", *(yield client.servers()), flush=True)
        most = max(found)
        print(f"{NUMBERS[found.index(most)]} is the sum of two primes in {most} ways.")


if __name__ == "__main__":
    use_cluster(__doc__)
    run(main)
