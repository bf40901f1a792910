#!/usr/bin/env python3
"""Remote tasks that are scheduled by this program itself, as it is told that servers are ready and tasks have ended.

    parkcosnode.py             on one machine or more; then, on any machine:
    python client7.py          or, without any node:  python client7.py --local

The same computation as in client1.py.  There `client.rtask` chooses the server and waits until it is free; here the
status task does so, and could keep to rules of its own.
"""

import random

from _options import use_cluster

from parkcos import Client, MonitorStatus, Scheduler, Task, run

TASKS = 6
DARTS = 100_000


def estimate_pi(number):
    """Runs at a server."""
    chance = random.Random(number)
    hits = sum(chance.random() ** 2 + chance.random() ** 2 < 1 for _ in range(DARTS))
    yield  # other tasks of this server may have a turn
    return 4 * hits / DARTS


def schedule(task=None):
    """Runs here, as the client's status task: gives each server that is free the next number."""
    client = yield task.receive()
    waiting, running, results = list(range(1, TASKS + 1)), {}, []
    while len(results) < TASKS:
        message = yield task.receive()
        if isinstance(message, MonitorStatus):  # a remote task has ended
            number = running.pop(message.info)
            if message.type is not StopIteration:  # not by itself: with its server, say, which then is not used again
                print(f"task {number} {message.type.__name__}: is started again", flush=True)
                waiting.append(number)
                continue
            results.append(message.value)
            server = message.info.location
            print(f"task {number} at {server}: pi is about {message.value:.4f}", flush=True)
        elif message.status == Scheduler.ServerInitialized:
            server = message.info
            print(f"server {server} is ready", flush=True)
        else:
            continue
        if waiting:
            number = waiting.pop(0)
            rtask = yield client.rtask_at(server, estimate_pi, number)
            running[rtask] = number
    return sum(results) / TASKS


def main():
    """Runs here."""
    scheduler = Task(schedule)
    with Client([estimate_pi], status_task=scheduler) as client:
        scheduler.send(client)
        yield client.schedule()
        mean = yield scheduler.result()
    print(f"The mean of {TASKS} tasks is {mean:.4f}.")


if __name__ == "__main__":
    use_cluster(__doc__)
    run(main)
