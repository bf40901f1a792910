#!/usr/bin/env python3
"""Each processor of the cluster as a server of its own, that holds data in memory and answers queries.

    parkcosnode.py             on one machine or more, with two processors together; then, on any machine:
    python mem_servers.py      or, without any node:  python mem_servers.py --local

Each holds the primes of a range of its own.  A query goes to all of them, and this program puts the answers together.
"""

from _options import use_cluster

from parkcos import Client, Task, run

SERVERS = 2
LIMIT = 100_000


def serve(first, last, task=None):
    """Runs at a server, and has it for itself: loads its part of the data, then answers queries, until None."""
    primes = [n for n in range(max(first, 2), last) if all(n % divisor for divisor in range(2, int(n**0.5) + 1))]
    while (query := (yield task.receive())) is not None:
        client_task, number, what, low, high = query
        if what == "how many":
            answer = sum(low <= prime < high for prime in primes)
        else:
            answer = max((prime for prime in primes if low <= prime < high), default=0)
        client_task.send((number, answer))
    return len(primes)


def ask(servers, *queries, task=None):
    """Runs here: sends each query to all servers, then takes their answers as they come.  Others may ask meanwhile."""
    for number, query in enumerate(queries):
        for server in servers:
            server.send((task, number, *query))
    answers = [[] for _ in queries]
    for _ in range(len(queries) * len(servers)):
        number, answer = yield task.receive()
        answers[number].append(answer)
    for (what, low, high), parts in zip(queries, answers, strict=True):
        result = sum(parts) if what == "how many" else max(parts)
        print(f"{what} primes from {low} to {high - 1}: {result}", flush=True)


def main():
    """Runs here."""
    with Client([serve]) as client:
        yield client.schedule()
        servers, step = [], LIMIT // SERVERS
        for first in range(0, LIMIT, step):
            servers.append((yield client.rtask(serve, first, first + step)))  # one at each processor
        everyday = Task(ask, servers, ("how many", 0, 100), ("how many", 49_000, 51_000), ("how many", 0, LIMIT))
        curious = Task(ask, servers, ("greatest of", 0, 50_000), ("greatest of", 0, LIMIT))
        yield everyday.result()
        yield curious.result()
        for server in servers:
            server.send(None)
            print(f"{server.location} held {(yield server.result())} primes", flush=True)


if __name__ == "__main__":
    use_cluster(__doc__, cpus=SERVERS)
    run(main)
