#!/usr/bin/env python3
"""A task that is to end is told so by KeyboardInterrupt, and has five seconds to save what it has.

    parkcosnode.py             on one machine or more; then, on any machine:
    python kbd_int.py          or, without any node:  python kbd_int.py --local

Two tasks would compute for ever.  One sees to what it has found before it ends; the other one does not care, and
what it knew is lost.
"""

import random

from _options import use_cluster

from parkcos import Client, MonitorStatus, Scheduler, Task, run


def careful(home):
    """Runs at a server: estimates pi, for as long as it is let."""
    hits = darts = 0
    home.send("careful: begins")
    try:
        while True:
            darts += 1
            hits += random.random() ** 2 + random.random() ** 2 < 1
            if darts % 1000 == 0:
                yield  # it need not: the exception comes wherever the task is
    except KeyboardInterrupt:
        yield home.deliver(f"careful: pi is about {4 * hits / darts:.2f}", timeout=3)
        return "its work is saved"


def careless(home):
    """Runs at a server: waits, and computes something now and then."""
    home.send("careless: begins")
    while True:
        yield
        sum(range(10_000))


def status(task=None):
    """Runs here: is told how the remote tasks have ended."""
    while True:
        message = yield task.receive()
        if isinstance(message, MonitorStatus):
            print(f"{message.info.name} ended with {message.type.__name__}: {message.value}", flush=True)
        elif message.status == Scheduler.ClientClosed:
            return


def main(task=None):
    """Runs here: lets both begin, and ends them."""
    client = Client([careful, careless], status_task=Task(status))
    yield client.schedule()
    for function in (careful, careless):
        yield client.io_rtask(function, task)  # beside each other, should there be one server only
    for _ in range(2):
        print((yield task.receive()), flush=True)
    yield task.sleep(0.2)
    yield client.close(terminate=True)
    print((yield task.receive()))


if __name__ == "__main__":
    use_cluster(__doc__)
    run(main)
