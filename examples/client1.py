#!/usr/bin/env python3
"""Remote tasks that tell how far they are, and a status task that is told what the cluster does.

    parkcosnode.py             on one machine or more; then, on any machine:
    python client1.py          or, without any node:  python client1.py --local

Each remote task estimates pi by throwing darts at a square, and sends messages on its way to a task of this program.
"""

import random

from _options import use_cluster

from parkcos import Client, MonitorStatus, Scheduler, Task, run

TASKS = 4
ROUNDS = 4
DARTS = 50_000  # in each round


def estimate_pi(number, observer):
    """Runs at a server.  `observer` is a task of the client program; here it is a reference to it."""
    chance = random.Random(number)
    hits = 0
    for done in range(1, ROUNDS + 1):
        hits += sum(chance.random() ** 2 + chance.random() ** 2 < 1 for _ in range(DARTS))
        observer.send((number, done / ROUNDS, 4 * hits / (done * DARTS)))
        yield  # other tasks of this server may have a turn
    return 4 * hits / (ROUNDS * DARTS)


def observe(task=None):
    """Runs here: prints what the remote tasks say."""
    task.set_daemon()  # the program does not wait for this task
    while True:
        number, share, estimate = yield task.receive()
        print(f"task {number}: {share:4.0%}, pi is about {estimate:.4f}", flush=True)


def status(task=None):
    """Runs here: is told of nodes, servers and remote tasks, until the client is closed."""
    while True:
        message = yield task.receive()
        if isinstance(message, MonitorStatus):  # a remote task has ended; .type says how
            how = "returned" if message.type is StopIteration else message.type.__name__
            print(f"    {message.info} {how} {message.value}", flush=True)
        elif message.status == Scheduler.ServerInitialized:
            print(f"    server {message.info} is ready", flush=True)
        elif message.status == Scheduler.TaskStarted:
            print(f"    {message.info.task} has started with {message.info.args[0]}", flush=True)
        elif message.status == Scheduler.ClientClosed:
            return


def main():
    """Runs here: starts the remote tasks, as servers become free, and takes the mean of their results."""
    with Client([estimate_pi], status_task=Task(status)) as client:
        yield client.schedule()
        observer = Task(observe)
        rtasks = []
        for number in range(1, TASKS + 1):
            rtasks.append((yield client.rtask(estimate_pi, number, observer)))
        results = []
        for rtask in rtasks:
            results.append((yield rtask.result()))
    print(f"The mean of {len(results)} tasks is {sum(results) / len(results):.4f}.")


if __name__ == "__main__":
    use_cluster(__doc__)
    run(main)
